"""Which hosts a job may use at all: labels, hosts left out, hosts that jobs like it are on, and memory of the host."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from control_plane.fleet.executors import LABEL as EXECUTOR
from control_plane.fleet.placement.grid import Grid
from control_plane.fleet.placement.packing.state import Bools
from control_plane.fleet.placement.room import Asked, Claim
from control_plane.model.ids import NodeId

_MAX_MASKS = 256  # of labels, kept at once; the oldest goes first


class Apart:
    """Where jobs are that others of their team must not sit beside."""

    def __init__(self) -> None:
        self._on: dict[tuple[str, str], Counter[NodeId]] = {}

    def change(self, claim: Claim, sign: int) -> None:
        """Count a claim in (1) or out (-1)."""
        if not claim.resources.anti_affinity:
            return
        key = (claim.team, claim.resources.anti_affinity)
        nodes = self._on.setdefault(key, Counter())
        for placement in claim.placements:
            nodes[placement.node_id] += sign
            if not nodes[placement.node_id]:
                del nodes[placement.node_id]
        if not nodes:
            del self._on[key]

    def nodes(self, asked: Asked) -> Mapping[NodeId, int]:
        """Return the nodes that the job must not use for that."""
        return self._on.get((asked.team, asked.resources.anti_affinity), {}) if asked.resources.anti_affinity else {}


class Admission:
    """Says for each row whether a job may use it."""

    def __init__(self, grid: Grid, apart: Apart) -> None:
        self._grid = grid
        self._apart = apart
        self._labelled: dict[tuple[tuple[str, str], ...], tuple[int, Bools]] = {}

    def rows(self, asked: Asked) -> Bools | None:
        """Return the rows that the job may use; None for all."""
        grid, request = self._grid, asked.resources
        found: Bools | None = None
        if request.memory_bytes:
            found = grid.memory_free[: grid.count] >= request.memory_bytes
        if grid.elsewhere[: grid.count].any() and all(name != EXECUTOR for name, _ in request.node_labels):
            ours = ~grid.elsewhere[: grid.count]
            found = ours if found is None else found & ours
        if request.node_labels:
            mask = self._with_labels(request.node_labels)
            found = mask.copy() if found is None else found & mask
        if request.exclude_nodes or request.anti_affinity:
            if found is None:
                found = np.ones(grid.count, dtype=np.bool_)
            for text in request.exclude_nodes:
                for row in grid.named(text):
                    found[row] = False
            for node_id in self._apart.nodes(asked):
                row_or_none = grid.rows.get(node_id)
                if row_or_none is not None:
                    found[row_or_none] = False
        return found

    def _with_labels(self, labels: tuple[tuple[str, str], ...]) -> Bools:
        version, mask = self._labelled.pop(labels, (-1, None))
        if mask is None or version != self._grid.hosts_version:
            mask = np.array([host is not None and has_labels(host.labels, labels) for host in self._grid.hosts])
        while len(self._labelled) >= _MAX_MASKS:
            del self._labelled[next(iter(self._labelled))]
        self._labelled[labels] = (self._grid.hosts_version, mask)
        return mask


def has_labels(labels: Mapping[str, str], wanted: tuple[tuple[str, str], ...]) -> bool:
    """Whether all that is wanted is there."""
    return all(labels.get(name) == value for name, value in wanted)
