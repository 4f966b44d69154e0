"""How long to wait before trying again."""

import random

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 5.0
_STEADY_SECONDS = 10.0
_CHANCE = random.Random()  # noqa: S311 - spreads load, hides nothing


class Backoff:
    """Doubles from 0.1 s to 5 s, with half of it left to chance so that a fleet does not knock in step."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance or _CHANCE  # one for all: to seed one takes longer than to send a line of a log
        self._failures = 0

    def next_seconds(self, lived_seconds: float = 0.0) -> float:
        """Return the next pause; what lived for 10 s or more counts as a success, so the count starts anew."""
        if lived_seconds >= _STEADY_SECONDS:
            self._failures = 0
        ceiling = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return ceiling * self._chance.uniform(0.5, 1.0)
