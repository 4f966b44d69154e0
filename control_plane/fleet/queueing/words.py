"""The words in which the queue speaks of resources, limits and times."""

from datetime import datetime

from control_plane.model.job import ResourceRequest

MOST_NAMES = 3
"""Jobs or hosts named in one sentence."""


def kind(wanted: ResourceRequest) -> str:
    """Return what kind of GPU a job asks for, such as "H100 or A100 with 80 GB"."""
    types = " or ".join(wanted.gpu_types) or "GPUs"
    text = f"MIG {wanted.mig_profile} devices" if wanted.mig_profile else types
    if wanted.min_gpu_memory_bytes:
        text += f" with {wanted.min_gpu_memory_bytes / 10**9:g} GB"
    return text


def asked(wanted: ResourceRequest) -> str:
    """Return how much a job asks for, such as "8 H100 on each of 2 hosts"."""
    if wanted.gpu_milli:
        return f"{wanted.gpu_milli / 10:g} % of a GPU" + (f" ({kind(wanted)})" if wanted.gpu_types else "")
    if not wanted.gpu_count:
        return of_host(wanted) + (f" on each of {wanted.node_count} hosts" if wanted.node_count > 1 else " on one host")
    if wanted.node_count > 1:
        return f"{wanted.gpu_count // wanted.node_count} {kind(wanted)} on each of {wanted.node_count} hosts"
    return f"{wanted.gpu_count} {kind(wanted)}" + (" on one host" if wanted.node_count == 1 else "")


def of_host(wanted: ResourceRequest) -> str:
    """Return what a job asks for of the host itself."""
    parts = []
    if wanted.cpu_milli:
        parts.append(f"{wanted.cpu_milli / 1000:g} CPU cores")
    if wanted.memory_bytes:
        parts.append(f"{wanted.memory_bytes / 10**9:g} GB of memory")
    return " and ".join(parts) or "a place"


def clock(at: datetime, now: datetime) -> str:
    """Return a time of day in UTC, with the day if it is another one."""
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"


def gpus(milli: int) -> str:
    """Return GPUs, parts as parts."""
    return f"{milli / 1000:g}"


def names(items: list[str]) -> str:
    """Return names with commas, and how many more there are."""
    shown = ", ".join(items[:MOST_NAMES])
    return f"{shown} and {len(items) - MOST_NAMES} more" if len(items) > MOST_NAMES else shown
