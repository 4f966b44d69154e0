"""Spans on their way out: bounded, and the oldest go first when a collector is away."""

from collections import deque
from typing import Final

from control_plane.tracing.span import Span

SPANS_MAX: Final = 8_192
BATCH: Final = 512


class Outbox:
    """Spans that wait to be sent. `lost` counts those that had to go; appending is safe from any thread."""

    def __init__(self) -> None:
        self._spans: deque[Span] = deque()
        self.lost = 0

    def put(self, span: Span) -> None:
        """Add a span; one of a trace that its caller does not want recorded is left out."""
        if not span.context.sampled:
            return
        if len(self._spans) >= SPANS_MAX:
            self._spans.popleft()
            self.lost += 1
        self._spans.append(span)

    def take(self) -> list[Span]:
        """Take the oldest, at most a batch."""
        return [self._spans.popleft() for _ in range(min(BATCH, len(self._spans)))]

    def give_back(self, spans: list[Span]) -> None:
        """Put back what could not be sent, as far as there is room."""
        room = SPANS_MAX - len(self._spans)
        self.lost += max(0, len(spans) - room)
        self._spans.extendleft(reversed(spans[max(0, len(spans) - room) :] if room else []))

    def __len__(self) -> int:
        return len(self._spans)
