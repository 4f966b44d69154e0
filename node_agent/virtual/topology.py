"""Which NVLink of a virtual GPU leads where."""

from collections.abc import Sequence
from typing import Final

from node_agent.virtual.gpu_model import GpuModel, Wiring

SWITCH: Final = -1
"""The far end of a link that goes to an NVSwitch rather than to a GPU."""

# Links between each pair of GPUs in a DGX-1 with V100 (hybrid cube mesh), row by GPU index.
_CUBE_MESH: Final = (
    (0, 1, 1, 2, 2, 0, 0, 0),
    (1, 0, 2, 1, 0, 2, 0, 0),
    (1, 2, 0, 2, 0, 0, 1, 0),
    (2, 1, 2, 0, 0, 0, 0, 1),
    (2, 0, 0, 0, 0, 1, 1, 2),
    (0, 2, 0, 0, 1, 0, 2, 1),
    (0, 0, 1, 0, 1, 2, 0, 2),
    (0, 0, 0, 1, 2, 1, 2, 0),
)


def link_ends(models: Sequence[GpuModel], index: int) -> tuple[int, ...]:
    """Return the far end of each NVLink of one GPU: the index of a GPU, or SWITCH."""
    model = models[index]
    if model.wiring is Wiring.SWITCH:
        return (SWITCH,) * model.nvlink_count
    if model.wiring is Wiring.NONE:
        return ()
    board, row = divmod(index, len(_CUBE_MESH))
    ends: list[int] = []
    for column, links in enumerate(_CUBE_MESH[row]):
        peer = board * len(_CUBE_MESH) + column
        if peer < len(models) and models[peer].key == model.key:
            ends.extend([peer] * links)
    return tuple(ends)


def nvlink_connected(models: Sequence[GpuModel], first: int, second: int) -> bool:
    """Return whether two GPUs reach each other over NVLink, through a switch or directly."""
    if first == second or models[first].key != models[second].key:
        return False
    if models[first].wiring is Wiring.SWITCH:
        return True
    return second in link_ends(models, first)
