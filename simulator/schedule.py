"""When each host has something to do next: the work grows with what happens, not with the hosts."""

import heapq
from dataclasses import dataclass, field


@dataclass(slots=True)
class Schedule:
    """Due times by index of the host. Belongs to one event loop."""

    _heap: list[tuple[float, int]] = field(default_factory=list)
    _known: dict[int, float] = field(default_factory=dict)

    def put(self, index: int, at: float) -> None:
        """Have a host looked at; an earlier time that was put before stays."""
        if at < self._known.get(index, float("inf")):
            self._known[index] = at
            heapq.heappush(self._heap, (at, index))

    def take(self, now: float) -> list[int]:
        """Return the hosts whose time has come, and forget their times."""
        found: list[int] = []
        while self._heap and self._heap[0][0] <= now:
            at, index = heapq.heappop(self._heap)
            if self._known.get(index) == at:
                del self._known[index]
                found.append(index)
        return found
