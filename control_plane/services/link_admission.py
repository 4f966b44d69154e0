"""How many hosts are taken up at once. A host beyond that is told at once when to come back, and is not lost meanwhile.

A greeting costs a transaction of several milliseconds, and one thread writes them all. Ten thousand hosts that call in
the same second would each wait for minutes, give up after ten seconds and call again, while the work of their first
call still went on. So a few greetings are in progress, some wait for their turn, and each of the rest gets an
appointment: the moment at which, at the pace of the greetings before, its turn has come.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog

from control_plane.clock import Clock
from control_plane.model.ids import NodeId
from control_plane.services.link_greeting import PutOff

log = structlog.get_logger()

GREETINGS_AT_ONCE: Final = 12
"""More would be no faster, one thread writes them; and what hosts say about their health waits behind them."""

GREETINGS_WAITING_MAX: Final = 256
_WAIT_SECONDS: Final = 3.0
"""How long a host may wait on its stream for its turn; it gives up after 10 s."""

_SOONEST_SECONDS: Final = 1.0
LATEST_SECONDS: Final = 60.0
_CHANCE: Final = 0.25
"""This share of a pause is left to chance."""

_LATENESS: Final = 1.25
"""Hosts wait up to a fifth longer than they were told, by chance, and then have to get through."""

_FIRST_PACE_SECONDS: Final = 0.02
_SLOWEST_PACE_SECONDS: Final = 1.0
_PACE_WEIGHT: Final = 0.05
_LOG_SECONDS: Final = 5.0
_PUT_OFF_MAX: Final = 20_000
"""Hosts put off whose standing was not looked up yet; of those beyond, nobody knows that they were heard."""


class LinkAdmission:
    """Lets hosts in a few at a time; belongs to one event loop."""

    def __init__(
        self,
        clock: Clock,
        *,
        at_once: int = GREETINGS_AT_ONCE,
        waiting: int = GREETINGS_WAITING_MAX,
        chance: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._turns = asyncio.Semaphore(at_once)
        self._at_once = at_once
        self._waiting_max = waiting
        self._chance = chance or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._inside = 0
        self._pace_seconds = _FIRST_PACE_SECONDS
        self._done_at = clock.monotonic()
        self._next_at = 0.0
        self._put_off: dict[NodeId, float] = {}
        self._log_at = 0.0
        self._refused = 0

    @property
    def greetings(self) -> int:
        """How many greetings are in progress or wait for their turn."""
        return self._inside

    @asynccontextmanager
    async def turn(self, node_id: NodeId) -> AsyncIterator[None]:
        """Wait for the host's turn and keep it while the block runs. Raises PutOff if that would take too long.

        A host that goes away while it waits costs nothing more.
        """
        ahead = self._inside - self._at_once
        if ahead >= self._waiting_max or ahead * self._pace_seconds > _WAIT_SECONDS:
            raise self._appointment(node_id)
        self._inside += 1
        others_full = self._turns.locked()
        try:
            async with self._turns:
                was_full = self._turns.locked()
                if was_full and not others_full:
                    self._done_at = self._clock.monotonic()  # the quiet before says nothing of the pace
                yield
                self._note_done(was_full=was_full)
        finally:
            self._inside -= 1

    def take_put_off(self) -> dict[NodeId, float]:
        """Return the hosts put off since the last call, each with the monotonic time by which it is to come back."""
        taken, self._put_off = self._put_off, {}
        return taken

    def give_back(self, put_off: Mapping[NodeId, float]) -> None:
        """Return hosts whose standing could not be looked up; what they were told since counts."""
        for node_id, by in put_off.items():
            if len(self._put_off) < _PUT_OFF_MAX:
                self._put_off.setdefault(node_id, by)

    def _note_done(self, *, was_full: bool) -> None:
        """Learn the pace from greetings that had others waiting behind them."""
        now = self._clock.monotonic()
        if was_full and self._turns.locked():
            took = min(now - self._done_at, _SLOWEST_PACE_SECONDS)
            self._pace_seconds += _PACE_WEIGHT * (took - self._pace_seconds)
        self._done_at = now

    def _appointment(self, node_id: NodeId) -> PutOff:
        now = self._clock.monotonic()
        self._next_at = max(self._next_at, now + _SOONEST_SECONDS) + self._pace_seconds
        # Beyond the latest one nobody can tell how long it takes: those hosts ask again.
        seconds = min(self._next_at - now, LATEST_SECONDS) * self._chance.uniform(1.0 - _CHANCE, 1.0)
        self._next_at = min(self._next_at, now + LATEST_SECONDS)
        if len(self._put_off) < _PUT_OFF_MAX:
            self._put_off[node_id] = now + _LATENESS * seconds
        self._refused += 1
        if now >= self._log_at:
            self._log_at = now + _LOG_SECONDS
            log.warning(
                "link.busy", put_off=self._refused, greetings=self._inside, per_second=round(1 / self._pace_seconds)
            )
        return PutOff(
            f"the control plane is taking up other hosts, about {1 / self._pace_seconds:.0f} a second: come back in "
            f"{seconds:.1f} s",
            retry_after_seconds=seconds,
        )
