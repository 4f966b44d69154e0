"""The words in which placement speaks of what a job asks for."""

from dataclasses import replace

from control_plane.fleet.executors import LABEL as EXECUTOR
from control_plane.model.job import ResourceRequest, TopologyDomain

MOST_NAMES = 3
"""Jobs, hosts or labels named in one sentence."""

GB = 10**9
DOMAIN = {
    TopologyDomain.NVLINK: "NVLink island",
    TopologyDomain.NODE: "host",
    TopologyDomain.RACK: "rack",
    TopologyDomain.ZONE: "zone",
}
NEAR = {domain: f"{'on' if word == 'host' else 'in'} one {word}" for domain, word in DOMAIN.items()}


def what_of(request: ResourceRequest) -> str:
    """Return what kind of GPU a request wants, such as "H100 or A100 with 80 GB"."""
    types = " or ".join(request.gpu_types)
    if request.mig_profile:
        return f"MIG {request.mig_profile}{' of ' + types if types else ''}"
    words = types or ("GPU" if request.gpu_milli or request.gpu_count == 1 else "GPUs")
    if request.exclude_gpu_types:
        words += f" other than {' or '.join(request.exclude_gpu_types)}"
    if request.min_gpu_memory_bytes:
        words += f" with {request.min_gpu_memory_bytes / GB:.4g} GB"
    return words


def amount_of(request: ResourceRequest) -> str:
    """Return how many GPUs of which kind a request wants in all, such as "16 H100"; for who wants any."""
    if request.gpu_milli:
        return f"{request.gpu_milli / 10:g} % of one {what_of(request)}"
    return f"{request.gpu_count} {what_of(request)}"


def spread_of(request: ResourceRequest) -> str:
    """Return the same with the hosts that it names, such as "8 H100 on each of 2 hosts"."""
    if request.node_count > 1:
        each = replace(request, gpu_count=request.gpu_count // request.node_count)
        return f"{amount_of(each)} on each of {request.node_count} hosts"
    return amount_of(request) + (" on one host" if request.node_count and request.gpu_count > 1 else "")


def of_host(request: ResourceRequest) -> str:
    """Return what a request wants of each host itself, such as "40 cores and 64 GB of memory"."""
    parts = []
    if request.cpu_milli:
        parts.append(f"{request.cpu_milli / 1_000:g} cores")
    if request.memory_bytes:
        parts.append(f"{request.memory_bytes / GB:.4g} GB of memory")
    return " and ".join(parts) or "room"


def labels_of(request: ResourceRequest) -> list[str]:
    """Return the labels that a request asks for; what runs a job is none that a person gives."""
    return [f"{name}={value}" for name, value in request.node_labels if name != EXECUTOR]


def names(items: list[str]) -> str:
    """Return names with commas, and how many more there are."""
    shown = ", ".join(items[:MOST_NAMES])
    return f"{shown} and {len(items) - MOST_NAMES} more" if len(items) > MOST_NAMES else shown
