"""By which lease silence is judged: the longest that any control plane has told a host and may still go by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LEASES_UNTOLD: Final = 2.0
"""What was not told again for so many of its own leases is over: its teller acknowledges nothing beyond the first."""


@dataclass(frozen=True, slots=True)
class ToldLease:
    """The longest lease that one control plane has told a host, and how often it has said so."""

    seconds: float
    times: int


class ToldLeases:
    """What one judge has seen of the books, counted on its own monotonic clock."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[ToldLease, float]] = {}
        self.seconds = 0.0
        """The longest lease; 0 if none is known."""

    def look(self, told: Mapping[str, ToldLease], now: float) -> float:
        """Take over what each teller has in the books; return by how many seconds the longest lease has fallen."""
        known = {teller: (one, now) for teller, one in told.items()}
        known.update({teller: at for teller, at in self._known.items() if told.get(teller) == at[0]})
        before, self._known = self.seconds, known
        self.seconds = max((one.seconds for one in told.values()), default=0.0)
        return max(0.0, before - self.seconds)

    def over(self, now: float) -> dict[str, ToldLease]:
        """Return what was not told again for so long that nobody goes by it any more."""
        return {teller: one for teller, (one, at) in self._known.items() if now - at > LEASES_UNTOLD * one.seconds}
