"""Memory of the recent past, each of a fixed size."""

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from node_agent.health.rules import Hold

MAXIMUM_POINTS: Final = 32
"""Points that a rate keeps of a counter."""

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping of bounded size; the entry that was set longest ago is forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the entry, if it is remembered."""
        return self._entries.get(key)

    def set(self, key: K, value: V) -> V:
        """Remember an entry as the newest one; return it."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)
        return value

    def pop(self, key: K) -> V | None:
        """Forget an entry; return it."""
        return self._entries.pop(key, None)

    def values(self) -> tuple[V, ...]:
        """Return the entries that are remembered, oldest first."""
        return tuple(self._entries.values())

    def items(self) -> tuple[tuple[K, V], ...]:
        """Return what is remembered, oldest first; a copy, so that entries may be forgotten on the way."""
        return tuple(self._entries.items())


class Times:
    """When something happened, the newest `limit` times within a window."""

    def __init__(self, limit: int) -> None:
        self._times: deque[float] = deque(maxlen=limit)

    def add(self, now: float, window_seconds: float) -> int:
        """Note that it happened now; return how often within the window, at most the limit."""
        self._times.append(now)
        return self.count(now, window_seconds)

    def count(self, now: float, window_seconds: float) -> int:
        """Return how often it happened within the window."""
        while self._times and now - self._times[0] > window_seconds:
            self._times.popleft()
        return len(self._times)

    @property
    def span_seconds(self) -> float:
        """From the oldest time that is remembered to the newest."""
        return self._times[-1] - self._times[0] if self._times else 0.0


class Growth:
    """How much a counter grew within a window, from at most `MAXIMUM_POINTS` points.

    A counter that falls starts anew.
    """

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque(maxlen=MAXIMUM_POINTS)
        self._newest: int | None = None

    def add(self, value: int, now: float, window_seconds: float) -> int:
        """Note the counter's value now; return its growth over the window, or since it is known."""
        if self._newest is None or value < self._newest:
            self._points.clear()
        self._newest = value
        points = self._points
        if not points or now - points[-1][0] >= window_seconds / (MAXIMUM_POINTS - 2):
            points.append((now, value))
        while len(points) > 1 and now - points[1][0] >= window_seconds:
            points.popleft()
        return value - points[0][1]


@dataclass(slots=True)
class Level:
    """How long a state has been bad or good."""

    bad: bool
    since: float


class Levels:
    """Hysteresis for states that are read again and again, by condition id; at most `limit` are in motion."""

    def __init__(self, limit: int) -> None:
        self._levels: Recent[str, Level] = Recent(limit)

    def __len__(self) -> int:
        return len(self._levels)

    def should_last(self, condition_id: str, *, bad: bool, lasts: bool, now: float, hold: Hold) -> bool:
        """Return whether the condition should last after this reading, given whether it lasts now."""
        level = self._levels.get(condition_id)
        if level is None or level.bad is not bad:
            if not bad and not lasts:
                if level is not None:
                    self._levels.pop(condition_id)
                return False
            level = self._levels.set(condition_id, Level(bad, now))
        held = now - level.since
        if bad:
            return lasts or held >= hold.for_seconds
        if held >= hold.clear_after_seconds:
            self._levels.pop(condition_id)
            return False
        return lasts

    def bad_for(self, condition_id: str, now: float) -> float:
        """Return for how many seconds the state has been bad without a break."""
        level = self._levels.get(condition_id)
        return now - level.since if level is not None and level.bad else 0.0

    def forget(self, condition_id: str) -> None:
        """Begin anew with the next reading."""
        self._levels.pop(condition_id)
