"""What changes in a fleet, a line for each change: as long as a person could read them, and then in figures."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from orquanta.cli.formats import now, one_line, words

LINES_MAX: Final = 20
"""Lines of single changes in one period; what is beyond is counted, and said in one line at its end."""

PERIOD_SECONDS: Final = 1.0


class ChangeLines:
    """Says changes with the time of day. Belongs to the event loop that runs when the first change comes."""

    def __init__(self, say: Callable[[str], object], *, period_seconds: float = PERIOD_SECONDS) -> None:
        self._say = say
        self._period_seconds = period_seconds
        self._period: asyncio.TimerHandle | None = None
        self._left = LINES_MAX
        self._counted: Counter[tuple[str, str]] = Counter()

    def add(self, noun: str, name: str, state: str, reason: str) -> None:
        """Say that a node or a job changed, or count it."""
        if self._period is None:
            self._period = asyncio.get_running_loop().call_later(self._period_seconds, self._end_period)
        if self._left > 0:
            self._left -= 1
            self._tell(f"{noun} {name} {words(state)}{': ' if reason else ''}{one_line(reason)}")
        else:
            self._counted[noun, words(state)] += 1

    def flush(self) -> None:
        """Say what was counted."""
        if self._counted:
            counts = (f"{number} {noun}{'s' * (number > 1)} {state}" for (noun, state), number in self._counted.items())
            self._tell(f"and more: {', '.join(counts)}")
            self._counted.clear()

    def _end_period(self) -> None:
        self._period = None
        # While changes come faster than they can be read, each period is one line.
        self._left = 0 if self._counted else LINES_MAX
        if self._counted:
            self._period = asyncio.get_running_loop().call_later(self._period_seconds, self._end_period)
        self.flush()

    def _tell(self, text: str) -> None:
        self._say(f"{now().astimezone():%H:%M:%S} {text}")
