"""Whose turn it is, of nodes about which something has changed. Pure.

Where many fail at once, all of them are taken out of service before the first is ordered its repair, and each has its
order before the end of another's repair is followed. Nobody waits for ever for others.
"""

from collections.abc import Iterable
from enum import Enum, auto
from itertools import islice
from typing import Final

from control_plane.model.ids import NodeId
from control_plane.model.memory import Memory
from control_plane.urgency import STORM

_TAKEN_OUT_TOGETHER: Final = 256
_TREATED_TOGETHER: Final = 128
"""Nodes that are dealt with in one transaction: others wait so long for the one thread that writes."""
_PATIENCE_SECONDS: Final = 3.0
"""So long those that are followed wait for those that have failed."""
_GATHERING_SECONDS: Final = 1.0
"""So long those that are out of service wait for others that still have to be taken out."""


class Turn(Enum):
    """What is to be done next."""

    TAKE_OUT = auto()
    TREAT = auto()
    """Order the repairs of those that are out of service."""
    LOOK = auto()
    """See whether there is anything to do, and do it."""
    WAIT = auto()
    """Others that have failed are just being written down."""


class Turns:
    """Nodes that wait for their turn. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._failed: dict[NodeId, None] = {}
        self._out: dict[NodeId, tuple[Memory, ...]] = {}
        self._followed: dict[NodeId, None] = {}
        self._waiting_since = 0.0
        self._gathering_since = 0.0

    def __bool__(self) -> bool:
        return bool(self._failed or self._out or self._followed)

    def failed(self, node_id: NodeId) -> None:
        """Have a node treated about which nothing was open."""
        self._failed[node_id] = None

    def follow(self, node_ids: Iterable[NodeId]) -> None:
        """Have nodes looked at."""
        self._followed.update(dict.fromkeys(node_ids))

    def is_out(self, node_id: NodeId) -> bool:
        """Return whether a node waits to be treated that was taken out of service: what happens to it is seen then."""
        return node_id in self._out

    def taken_out(self, node_id: NodeId, remembered: tuple[Memory, ...], now: float) -> None:
        """Have a node treated that takes no more jobs; `remembered`: what memory knows of such a fault."""
        self._failed.pop(node_id, None)
        if not self._out:
            self._gathering_since = now
        self._out[node_id] = remembered

    def next(self, now: float, *, more_to_come: bool = False) -> tuple[Turn, list[NodeId]]:
        """Return what is to be done next, and about which nodes. `more_to_come`: more failures are being written."""
        if not self._followed:
            self._waiting_since = now
        if self._followed and (now - self._waiting_since >= _PATIENCE_SECONDS or not (self._failed or self._out)):
            self._waiting_since = now
            return Turn.LOOK, list(islice(self._followed, _TREATED_TOGETHER))
        gathering = bool(self._out) and now - self._gathering_since < _GATHERING_SECONDS
        if len(self._failed) >= STORM or (self._failed and gathering):
            return Turn.TAKE_OUT, list(islice(self._failed, _TAKEN_OUT_TOGETHER))
        if self._out and gathering and more_to_come:
            return Turn.WAIT, []
        if self._out:
            self._gathering_since = now
            return Turn.TREAT, list(islice(self._out, _TREATED_TOGETHER))
        return Turn.LOOK, list(self._failed)

    def begin(self, node_ids: Iterable[NodeId]) -> dict[NodeId, tuple[Memory, ...]]:
        """Take nodes out of line; return what is remembered of the faults of those that are out of service."""
        remembered: dict[NodeId, tuple[Memory, ...]] = {}
        for node_id in node_ids:
            self._failed.pop(node_id, None)
            self._followed.pop(node_id, None)
            if node_id in self._out:
                remembered[node_id] = self._out.pop(node_id)
        return remembered
