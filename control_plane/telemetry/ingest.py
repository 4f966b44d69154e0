"""Telemetry from the broker into the windows. Loss is tolerated; a node's word is checked before it is kept.

Batches are put aside as they come and taken in slices, between which everything else has its turn: what hosts say about
their health never waits behind telemetry for longer than one slice. When more comes than can be taken, raw telemetry is
what is given up first: batches that a newer one of the same host supersedes, then everything for some seconds, so that
it is the broker that drops it: to read and drop it here would cost what everything else needs. The same while many
hosts have failed at once: what thousands of others measure in these seconds can wait less than their repairs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Self

import structlog
from google.protobuf.message import DecodeError

from control_plane.bus.client import Bus, Message, Subscription
from control_plane.bus.subjects import ALL_TELEMETRY, parse_node_subject
from control_plane.clock import Clock, SystemClock
from control_plane.errors import InvalidArgument, Unavailable
from control_plane.model.ids import NodeId
from control_plane.telemetry.reading import read_batch
from control_plane.telemetry.windows import NODES_MAX, TelemetryWindows
from control_plane.urgency import Urgency

log = structlog.get_logger()

SLICE_SECONDS: Final = 0.004
"""How long batches are taken at a stretch, about 400 of them; the check comes after each `_CHECK_EVERY`."""

LONGEST_SLICE_SECONDS: Final = 0.02
"""Where this process gets its turn late, on a busy machine, it makes more of it."""

WAITING_MAX: Final = 16_384
"""Batches that wait to be taken, about 13 MB; beyond, those go that a newer one supersedes, then the oldest."""

_CHECK_EVERY: Final = 32
_TURN_EVERY: Final = 512
_PAUSE_BETWEEN_SECONDS: Final = 0.02
"""Batches gather for this long: fifty wake-ups a second, however many hosts send."""

_LATE_SECONDS: Final = 0.25
_LATE_ROUNDS: Final = 3
_BUSY_BATCHES: Final = 1_000
"""So late, so often in a row, with so many batches taken meanwhile: telemetry is what this process is busy with."""

_AWAY_SECONDS: Final = 1.0
_LONGEST_AWAY_SECONDS: Final = 8.0
_LOOK_SECONDS: Final = 0.1
_STEADY_SECONDS: Final = 10.0
"""A pause that follows another one sooner than this is twice as long."""

_GIVES_WAY_FROM: Final = 1_000
"""Batches a second from which on telemetry stays away while something is urgent; fewer are in nobody's way."""
_GIVES_WAY_SECONDS: Final = 10.0
"""For so long at most; then it does not give way again for `_STEADY_SECONDS`, however long something is urgent."""

_LOG_EVERY: Final = 1000  # refused batches
_SHED_LOG_EVERY: Final = 10_000


class _Rate:
    """How many batches a second are taken, over the last second that is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()
        self._count = 0
        self.per_second = 0.0

    def add(self, count: int) -> None:
        """Count batches."""
        self._count += count
        seconds = self._clock.monotonic() - self._since
        if seconds >= 1.0:
            self.per_second = self._count / seconds
            self._since += seconds
            self._count = 0


class TelemetryIngest:
    """Feeds the windows while it is entered (async context manager)."""

    def __init__(
        self,
        bus: Bus,
        windows: TelemetryWindows,
        *,
        clock: Clock | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        urgency: Urgency | None = None,
    ) -> None:
        self._urgency = urgency or Urgency()
        self._bus = bus
        self._windows = windows
        self._clock = clock or SystemClock()
        self._pause = pause
        self._subscription: Subscription | None = None
        self._waiting: list[tuple[str, bytes]] = []
        self._arrived = asyncio.Event()
        self._known: dict[str, NodeId] = {}
        self._late_rounds = 0
        self._taken_while_late = 0
        self._overrun = False
        self._away_seconds = _AWAY_SECONDS
        self._back_at = -_STEADY_SECONDS
        self._rate = _Rate(self._clock)
        self._loop: asyncio.Task[None] | None = None
        self.counts = windows.counts

    async def __aenter__(self) -> Self:
        """Subscribe. Raises Unavailable."""
        self._subscription = await self._bus.subscribe(ALL_TELEMETRY, self.take)
        self._loop = asyncio.create_task(self._run(), name="telemetry")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        if self._subscription is not None:
            await self._subscription.close()

    async def take(self, message: Message) -> None:
        """Put one message aside; the node is the one in its subject, for which the broker vouches."""
        self._waiting.append((message.subject, message.data))
        if len(self._waiting) > WAITING_MAX:
            self._shed()
        self._arrived.set()
        if not len(self._waiting) % _TURN_EVERY:
            await asyncio.sleep(0)  # a backlog is handed over without a break, and would let nobody else have a turn

    def work(self, seconds: float) -> int:
        """Take what waits, oldest first, for so long; return how many batches were looked at."""
        waiting, self._waiting = self._waiting, []
        end = self._clock.monotonic() + seconds
        done = 0
        for done, (subject, data) in enumerate(waiting, 1):
            self._add(subject, data)
            if not done % _CHECK_EVERY and self._clock.monotonic() >= end:
                break
        self._waiting = waiting[done:]
        return done

    async def _run(self) -> None:
        seconds = SLICE_SECONDS
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                looked_at = self._work_safely(seconds)
                # As long as was worked at least: half of this process is always left to everything else.
                wanted = self._clock.monotonic() + (seconds if self._waiting else _PAUSE_BETWEEN_SECONDS)
                await self._pause(wanted - self._clock.monotonic())
                late_seconds = self._clock.monotonic() - wanted
                seconds = min(max(SLICE_SECONDS, late_seconds / 2), LONGEST_SLICE_SECONDS)
                self._rate.add(looked_at)
                if self._is_behind(late_seconds, looked_at) or self._overrun:
                    await self._stay_away()
                elif self._gives_way():
                    await self._give_way()

    def _work_safely(self, seconds: float) -> int:
        """A batch that nobody foresaw costs those that wait with it, not telemetry as a whole."""
        try:
            return self.work(seconds)
        except Exception:
            log.exception("telemetry.failed", shed=len(self._waiting))
            return 0

    def _is_behind(self, late_seconds: float, batches: int) -> bool:
        """Return whether this process has not had its turn in time for a while, and telemetry is what it does."""
        if late_seconds < _LATE_SECONDS:
            self._late_rounds = self._taken_while_late = 0
            return False
        self._late_rounds += 1
        self._taken_while_late += batches
        return self._late_rounds >= _LATE_ROUNDS and self._taken_while_late >= _BUSY_BATCHES

    def _gives_way(self) -> bool:
        """Return whether there is so much telemetry that something urgent is better off without it."""
        steady = self._clock.monotonic() - self._back_at >= _STEADY_SECONDS
        return self._urgency.is_urgent and steady and self._rate.per_second >= _GIVES_WAY_FROM

    async def _give_way(self) -> None:
        """Have the broker drop telemetry while something is urgent."""
        await self._leave("hosts that have failed come first", _GIVES_WAY_SECONDS)
        until = self._clock.monotonic() + _GIVES_WAY_SECONDS
        while self._urgency.is_urgent and self._clock.monotonic() < until:
            await self._pause(_LOOK_SECONDS)
        await self._come_back()

    async def _stay_away(self) -> None:
        """Have the broker drop telemetry for a moment."""
        self._late_rounds = self._taken_while_late = 0
        self._overrun = False
        again = self._clock.monotonic() - self._back_at < _STEADY_SECONDS
        self._away_seconds = min(2 * self._away_seconds, _LONGEST_AWAY_SECONDS) if again else _AWAY_SECONDS
        await self._leave("more comes than can be taken", self._away_seconds)
        await self._pause(self._away_seconds)
        await self._come_back()

    async def _leave(self, why: str, seconds: float) -> None:
        """Take no more telemetry. What waits already is given up."""
        self.counts.pauses += 1
        self.counts.shed += len(self._waiting)
        log.warning("telemetry.paused", why=why, seconds=seconds, shed=self.counts.shed, pauses=self.counts.pauses)
        self._waiting = []
        if self._subscription is not None:
            await self._subscription.close()
            self._subscription = None

    async def _come_back(self) -> None:
        while self._subscription is None:
            try:
                self._subscription = await self._bus.subscribe(ALL_TELEMETRY, self.take)
            except Unavailable as error:
                log.warning("telemetry.still_away", why=error.message)
                await self._pause(self._away_seconds)
        self._back_at = self._clock.monotonic()

    def _shed(self) -> None:
        """Give up what a newer batch of the same host supersedes; if that is not enough, the oldest."""
        before = len(self._waiting)
        newest = list(dict(self._waiting).items())
        self._waiting = newest[-(WAITING_MAX // 2) :]  # half, so that the next walk is far away
        shed = before - len(self._waiting)
        if (self.counts.shed + shed) // _SHED_LOG_EVERY > self.counts.shed // _SHED_LOG_EVERY or not self.counts.shed:
            log.warning("telemetry.shed", shed=self.counts.shed + shed, waiting=len(self._waiting))
        self.counts.shed += shed
        self._overrun = True

    def _add(self, subject: str, data: bytes) -> None:
        try:
            node_id = self._known.get(subject) or self._learn(subject)
            reading = read_batch(data, self._windows.gpus(node_id))
        except (InvalidArgument, DecodeError, ValueError) as error:
            self.counts.garbage += 1
            if self.counts.garbage % _LOG_EVERY == 1:
                log.warning("telemetry.refused", subject=subject, why=str(error), refused=self.counts.garbage)
            return
        if self._windows.add(node_id, reading):
            self.counts.batches += 1
        else:
            self.counts.no_room += 1

    def _learn(self, subject: str) -> NodeId:
        """Return the node of a subject; parsing it costs more than all the rest of a batch."""
        node_id = parse_node_subject(subject).node_id
        if len(self._known) >= NODES_MAX:
            self._known.clear()
        self._known[subject] = node_id
        return node_id
