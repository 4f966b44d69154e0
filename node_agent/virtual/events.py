"""NVML's event sets: who waits for events of which virtual GPU, and what has come."""

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Final

MAXIMUM_EVENTS: Final = 1000
"""The bound on events that wait in one set; of more, the oldest are dropped."""


@dataclass(frozen=True, slots=True)
class VirtualEvent:
    """One event, with NVML's numbers."""

    gpu_uuid: str
    kind: int
    """One of pynvml's `nvmlEventType*`."""
    data: int
    """The XID."""


@dataclass(slots=True)
class EventSet:
    """The events that one caller has asked for, and those that have come."""

    kinds: dict[str, int] = field(default_factory=dict)
    """By GPU UUID, as a bit mask."""
    waiting: deque[VirtualEvent] = field(default_factory=lambda: deque(maxlen=MAXIMUM_EVENTS))
    freed: bool = False


class EventHub:
    """All event sets of one host. Safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sets: list[EventSet] = []

    def create(self) -> EventSet:
        """Return an empty set."""
        created = EventSet()
        with self._changed:
            self._sets.append(created)
        return created

    def register(self, chosen: EventSet, gpu_uuid: str, kinds: int) -> None:
        """Have events of these kinds of one GPU put into a set."""
        with self._changed:
            chosen.kinds[gpu_uuid] = chosen.kinds.get(gpu_uuid, 0) | kinds

    def free(self, chosen: EventSet) -> None:
        """Forget a set; whoever waits on it is let go."""
        with self._changed:
            chosen.freed = True
            self._sets.remove(chosen)
            self._changed.notify_all()

    def wait(self, chosen: EventSet, seconds: float) -> VirtualEvent | None:
        """Return the next event of a set, or None if none came in time."""
        with self._changed:
            self._changed.wait_for(lambda: chosen.waiting or chosen.freed, seconds)
            return chosen.waiting.popleft() if chosen.waiting else None

    def post(self, event: VirtualEvent) -> None:
        """Put an event into every set that has asked for it."""
        with self._changed:
            for one in self._sets:
                if one.kinds.get(event.gpu_uuid, 0) & event.kind:
                    one.waiting.append(event)
            self._changed.notify_all()
