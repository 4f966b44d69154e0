"""What a pack of cases is, and what comes of a case."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field


class InfrastructureError(Exception):
    """Something other than the product did not work: a server that is away, a time-out. It says nothing of a case."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case went.

    `score` is 0 to 1, and a case is right at 1. `broken` says what happened that must never happen, whatever the
    score; `detail` tells why the score is not 1. `figures` are added up over a pack, by name.
    """

    score: float
    broken: tuple[str, ...] = ()
    detail: str = ""
    figures: tuple[tuple[str, float], ...] = ()

    @property
    def right(self) -> bool:
        """Whether nothing is missing and nothing forbidden has happened."""
        return self.score >= 1 and not self.broken


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to try. `attempt` raises InfrastructureError if it could not be tried."""

    id: str
    attempt: Callable[[], Awaitable[Verdict]]
    seconds_max: float = 60.0


@dataclass(frozen=True, slots=True)
class Pack:
    """Cases of one kind. `floor` is the mean score below which the pack fails.

    `seconds` bounds a pack that takes long: attempts that were not begun by then are left out and counted.
    `at_once` are tried at the same time. `once` says that a repeat would prove nothing. `skipped` says why there are no
    cases. `close` ends what the cases share. `waits` says that it waits for
    another program most of its time, so that other packs may run meanwhile.
    """

    name: str
    title: str
    cases: Sequence[Case] = field(default=())
    floor: float = 1.0
    seconds: float = 600.0
    once: bool = False
    at_once: int = 4
    close: Callable[[], Awaitable[None]] | None = None
    waits: bool = False
    skipped: str = ""
