"""Whether the GPUs of a gang are as near to each other as its job demands. Pure."""

from collections.abc import Mapping, Sequence

from control_plane.fleet.placement.room import GpuSlot
from control_plane.model.job import TopologyDomain


def too_far(domain: TopologyDomain, labels: Sequence[Mapping[str, str]], slots: Sequence[GpuSlot]) -> str:
    """Return what is wrong, or an empty text. `labels` are those of each node, `slots` what is held on all of them."""
    if domain is TopologyDomain.ANY:
        return ""
    if domain in (TopologyDomain.NODE, TopologyDomain.NVLINK):
        if len(labels) != 1:
            return f"its GPUs must be on one node, not on {len(labels)}"
        if domain is TopologyDomain.NVLINK and len({slot.island for slot in slots}) > 1:
            return "its GPUs must be joined by NVLink"
        return ""
    values = {one.get(domain.value, "") for one in labels}
    if values == {""} or len(values) > 1:
        return f"its nodes must have one label {domain.value} in common"
    return ""
