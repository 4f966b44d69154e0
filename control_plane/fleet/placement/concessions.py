"""What of its wishes a request could do without, in words: why it is impossible, and what would help."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

from control_plane.fleet.executors import LABEL as EXECUTOR
from control_plane.fleet.placement.needs import slots_of
from control_plane.fleet.placement.phrases import DOMAIN, GB, amount_of, labels_of, names, of_host, spread_of, what_of
from control_plane.model.job import ResourceRequest, TopologyDomain

Changes: TypeAlias = dict[str, object]
"""Fields of a request by their names, with what they would be without a wish."""


def leave_out(request: ResourceRequest) -> Iterator[tuple[str, Changes]]:
    """Yield what may make a request impossible: in words, and the request without it."""
    hosts = f"fewer than {request.node_count} hosts have" if request.node_count > 1 else "no host has"
    if labels_of(request):
        yield f"no host with the label {names(labels_of(request))} has room enough, even empty", no_labels(request)
    if request.exclude_nodes:
        yield "only hosts that it leaves out have room enough for it", {"exclude_nodes": ()}
    if request.topology is not TopologyDomain.ANY:
        what = spread_of(request) if slots_of(request) else f"{request.node_count} such hosts"
        yield f"no {DOMAIN[request.topology]} could hold {what}, even empty", {"topology": TopologyDomain.ANY}
    if request.cpu_milli or request.memory_bytes:
        what = f"{_gpus_on_each(request)}{of_host(request)}"
        yield f"{hosts} {what}, even empty", {"cpu_milli": 0, "memory_bytes": 0}
    if request.share_memory_bytes:
        yield f"no GPU has {request.share_memory_bytes / GB:.4g} GB of memory", {"share_memory_bytes": 0}
    if request.gpu_milli:
        text = f"no host with {what_of(replace(request, gpu_count=2, gpu_milli=0))} lets jobs share a GPU"
        yield text, {"gpu_milli": 0, "share_memory_bytes": 0}


def _gpus_on_each(request: ResourceRequest) -> str:
    if not slots_of(request):
        return ""
    if request.gpu_milli or request.gpu_count == 1:
        return f"{amount_of(request)} and "
    if not request.node_count:
        return f"enough {what_of(request)} and "
    return f"{amount_of(replace(request, gpu_count=request.gpu_count // request.node_count))} and "


def could_give_up(request: ResourceRequest) -> Iterator[tuple[str, Changes, bool]]:
    """Yield what a person could give up, and whether the model may be another one then; the least comes first."""
    label = f"leave out the label {names(labels_of(request))} (without --label)"
    wishes: tuple[tuple[object, str, Changes, bool], ...] = (
        (
            request.topology is not TopologyDomain.ANY,
            "let its GPUs be further apart (without --near)",
            {"topology": TopologyDomain.ANY},
            False,
        ),
        (
            request.node_count and slots_of(request) > 1,
            "leave open on how many hosts it runs (without --nodes)",
            {"node_count": 0},
            False,
        ),
        (request.gpu_types, "take another model too (another --gpu-type)", {"gpu_types": ()}, True),
        (
            request.exclude_gpu_types,
            "rule out no model (without --exclude-gpu-type)",
            {"exclude_gpu_types": ()},
            True,
        ),
        (
            request.min_gpu_memory_bytes,
            "ask for less GPU memory (a smaller --gpu-memory)",
            {"min_gpu_memory_bytes": 0},
            True,
        ),
        (
            request.share_memory_bytes,
            "take GPU memory in proportion to its part (without --share-memory)",
            {"share_memory_bytes": 0},
            False,
        ),
        (
            request.gpu_milli,
            "take a whole GPU (--gpus 1, without --gpu-share)",
            {"gpu_milli": 0, "share_memory_bytes": 0, "gpu_count": 1},
            False,
        ),
        (labels_of(request), label, no_labels(request), False),
        (request.exclude_nodes, "leave out fewer hosts (fewer --not-on)", {"exclude_nodes": ()}, False),
        (
            request.anti_affinity,
            "let it run beside your team's jobs of the same word (without --apart)",
            {"anti_affinity": ""},
            False,
        ),
        (
            request.exclusive_nodes,
            "let it share its hosts with other jobs (without --exclusive)",
            {"exclusive_nodes": False},
            False,
        ),
        (
            request.cpu_milli or request.memory_bytes,
            "ask for less CPU or memory on each host (smaller --cpus, --memory)",
            {"cpu_milli": 0, "memory_bytes": 0},
            False,
        ),
    )
    for is_wish, text, changes, model_matters in wishes:
        if is_wish:
            yield text, changes, model_matters


def no_labels(request: ResourceRequest) -> Changes:
    """Return a request's labels without those that people give."""
    return {"node_labels": tuple(one for one in request.node_labels if one[0] == EXECUTOR)}
