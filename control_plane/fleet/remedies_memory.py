"""Which hosts could give a failed job more memory: those that it may use, with as many GPUs as it needs. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from control_plane.fleet.executors import LABEL as EXECUTOR
from control_plane.model.job import ResourceRequest

_MORE: Final = 1.1
"""Memory counts as more from a tenth on: cards of one model differ by less."""


@dataclass(frozen=True, slots=True)
class HostGpus:
    """Healthy GPUs of one kind in one host, and the host that they are in; `host` are its name and its id."""

    gpu_type: str
    memory_bytes: int
    count: int
    host_memory_bytes: int = 0
    host: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


def larger_gpus(hosts: Sequence[HostGpus], wanted: ResourceRequest, had_bytes: int) -> dict[str, int]:
    """Return the models with more memory than a job had, and the least of it with which there are enough GPUs."""
    if not had_bytes or not wanted.gpu_count or wanted.gpu_milli or wanted.mig_profile:
        return {}  # a part of a GPU was asked for by its size
    larger = [one for one in _admitted(hosts, wanted) if one.memory_bytes >= had_bytes * _MORE]
    found = {one: _least(one, larger, wanted) for one in {one.gpu_type for one in larger}}
    return {gpu_type: memory for gpu_type, memory in found.items() if memory}


def _least(gpu_type: str, hosts: Sequence[HostGpus], wanted: ResourceRequest) -> int:
    of_type = [one for one in hosts if one.gpu_type == gpu_type]
    sizes = sorted({one.memory_bytes for one in of_type})
    return next((size for size in sizes if _enough([one for one in of_type if one.memory_bytes >= size], wanted)), 0)


def more_host_memory(hosts: Sequence[HostGpus], largest_bytes: int, wanted: ResourceRequest) -> int:
    """Return twice a job's limit, or the most with which it could still be placed; 0 if that is hardly more.

    `largest_bytes` is of the largest host: what a job without GPUs could get.
    """
    limit = wanted.memory_bytes
    most = largest_bytes
    if wanted.gpu_count:
        fitting = [
            one
            for one in _admitted(hosts, wanted)
            if (not wanted.gpu_types or one.gpu_type in wanted.gpu_types)
            and one.memory_bytes >= wanted.min_gpu_memory_bytes
        ]
        whole = replace(wanted, gpu_count=1, node_count=0) if wanted.mig_profile else wanted
        sizes = sorted({one.host_memory_bytes for one in fitting}, reverse=True)
        enough = (size for size in sizes if _enough([one for one in fitting if one.host_memory_bytes >= size], whole))
        most = next(enough, 0)
    more = min(2 * limit, most)
    return more if limit and more >= limit * _MORE else 0


def _admitted(hosts: Sequence[HostGpus], wanted: ResourceRequest) -> list[HostGpus]:
    """Return what is in hosts that the job may be placed on."""
    labels = set(wanted.node_labels)
    names = {name for name, _ in labels}
    return [
        one
        for one in hosts
        if one.gpu_type not in wanted.exclude_gpu_types
        and labels <= set(one.labels)
        and (EXECUTOR in names or all(name != EXECUTOR for name, _ in one.labels))
        and not set(one.host) & set(wanted.exclude_nodes)
    ]


def _enough(hosts: Sequence[HostGpus], wanted: ResourceRequest) -> bool:
    counts = [one.count for one in hosts]
    each = wanted.gpu_count // wanted.node_count if wanted.node_count else 0
    spread = sum(count >= each for count in counts) >= wanted.node_count if each else True
    return spread and sum(counts) >= wanted.gpu_count
