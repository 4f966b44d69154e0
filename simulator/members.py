"""Jobs of a virtual host: started when they are wanted, ended after a drawn time or when nobody wants them any more."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from orquanta.v1 import job_pb2, node_link_pb2
from simulator.draws import Duration, dice_of
from simulator.stamps import stamp

START_SECONDS: Final = Duration.parse("uniform:0.2,1.5")
_STOP_SECONDS_MAX: Final = 1.0
_LINES_EVERY_SECONDS: Final = 10.0
_LINES_MAX: Final = 50
"""Lines that one member prints; a job of days must not fill the control plane's disk."""
DONE_MAX: Final = 256
"""Members of one host that are remembered after their end was acknowledged."""
_FAILED_CODE: Final = 1
_ABORTED: Final = 6
_WHOLE_MILLI: Final = 1_000

Key = tuple[str, int]
"""Allocation and rank."""


@dataclass(frozen=True, slots=True)
class JobTerms:
    """How jobs go: how long they run, and how many in a thousand fail at their end. The seed makes it repeatable."""

    seconds: Duration
    failures_per_thousand: int = 0
    seed: int = 0


@dataclass(slots=True)
class Member:
    """One member of an allocation on this host. Times are seconds since the epoch."""

    wish: node_link_pb2.MemberAssignment
    state: job_pb2.AllocationState.ValueType
    starts_at: float
    ends_at: float
    exit_code: int | None
    exit_reason: job_pb2.ExitReason.ValueType
    signal: int | None = None
    message: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    lines: int = 0
    line_at: float = 0.0
    offset: int = 0
    """Bytes of output so far."""

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state == job_pb2.ALLOCATION_STATE_ENDED

    @property
    def running(self) -> bool:
        """Whether it uses its GPUs."""
        return self.state in (job_pb2.ALLOCATION_STATE_RUNNING, job_pb2.ALLOCATION_STATE_STOPPING)

    @property
    def due_at(self) -> float:
        """When something happens to it next; infinity if nothing does by itself."""
        if self.ended:
            return float("inf")
        if self.state == job_pb2.ALLOCATION_STATE_STARTING:
            return min(self.starts_at, self.ends_at)
        return min(self.ends_at, self.line_at if self.lines < _LINES_MAX else float("inf"))

    def report(self) -> node_link_pb2.MemberReport:
        """Return its state for the wire."""
        wish = self.wish
        made = node_link_pb2.MemberReport(
            allocation_id=wish.allocation_id,
            job_id=wish.job_id,
            epoch=wish.epoch,
            rank=wish.rank,
            state=self.state,
            gpu_uuids=wish.gpu_uuids,
        )
        if self.started_at:
            made.started_at.CopyFrom(stamp(self.started_at))
        if self.ended:
            made.exit_reason = self.exit_reason
            if self.exit_code is not None:
                made.exit_code = self.exit_code
            if self.signal is not None:
                made.signal = self.signal
            made.message = self.message
            made.ended_at.CopyFrom(stamp(self.ended_at))
            if self.started_at:
                gpus = len(wish.gpu_uuids) * (wish.gpu_milli or _WHOLE_MILLI) / _WHOLE_MILLI
                made.gpu_seconds = max(0.0, self.ended_at - self.started_at) * gpus
        return made


@dataclass(frozen=True, slots=True)
class Line:
    """Something that a member printed: `end` says that nothing follows."""

    member: Member
    offset: int
    data: bytes
    end: bool = False


@dataclass(slots=True)
class Members:
    """All members that the host knows: those that run, and those whose end was not acknowledged yet.

    Of the others the newest are remembered: an order that was written before their end was in the books may come after
    its acknowledgement, and they must not run a second time.
    """

    terms: JobTerms
    known: dict[Key, Member] = field(default_factory=dict)
    done: dict[Key, Member] = field(default_factory=dict)

    def converge(self, wanted: Iterable[node_link_pb2.MemberAssignment], now: float) -> list[Member]:
        """Start what is wanted and not known, stop what is not wanted any more; return those that changed."""
        wishes = {(wish.allocation_id, wish.rank): wish for wish in wanted}
        changed: list[Member] = []
        for key, wish in wishes.items():
            if key not in self.known:
                known = self.done.pop(key) if key in self.done else self._begin(wish, now)
                self.known[key] = known
                changed.append(known)
        for key, member in self.known.items():
            if key not in wishes and not member.ended and member.state != job_pb2.ALLOCATION_STATE_STOPPING:
                self._stop(member, now)
                changed.append(member)
        return changed

    def acknowledge(self, allocation_id: str, rank: int) -> Member | None:
        """Forget a member whose end is in the books, and return it."""
        member = self.known.get((allocation_id, rank))
        if member is None or not member.ended:
            return None
        del self.known[allocation_id, rank]
        self.done[allocation_id, rank] = member
        while len(self.done) > DONE_MAX:
            del self.done[next(iter(self.done))]
        return member

    def advance(self, now: float) -> tuple[list[Member], list[Line]]:
        """Let time pass; return the members whose state changed, and what was printed."""
        changed: list[Member] = []
        lines: list[Line] = []
        for member in self.known.values():
            if member.due_at > now:
                continue
            if member.state == job_pb2.ALLOCATION_STATE_STARTING and member.starts_at <= now:
                member.state = job_pb2.ALLOCATION_STATE_RUNNING
                member.started_at = member.line_at = now
                changed.append(member)
            if member.state == job_pb2.ALLOCATION_STATE_RUNNING and member.line_at <= now and member.lines < _LINES_MAX:
                lines.append(_print(member, f"step {member.lines * 10}: loss {2.0 / (1 + member.lines):.3f}\n"))
                member.line_at = now + _LINES_EVERY_SECONDS
            if member.ends_at <= now:
                member.state = job_pb2.ALLOCATION_STATE_ENDED
                member.ended_at = now
                changed.append(member)
                lines.append(_print(member, f"{member.message or 'done'}\n"))
                lines.append(Line(member, member.offset, b"", end=True))
        return changed, lines

    def end_now(
        self, now: float, reason: job_pb2.ExitReason.ValueType, message: str, *, gpus: Collection[str] | None = None
    ) -> None:
        """Have members end with the next advance: all, or those on some GPUs."""
        for member in self.known.values():
            if not member.ended and (gpus is None or not set(gpus).isdisjoint(member.wish.gpu_uuids)):
                member.ends_at = now
                member.exit_code, member.exit_reason, member.message = None, reason, message
                member.signal = _ABORTED if reason == job_pb2.EXIT_REASON_SIGNALED else None

    def busy_gpus(self) -> set[str]:
        """Return the UUIDs of the GPUs that compute."""
        return {uuid for member in self.known.values() if member.running for uuid in member.wish.gpu_uuids}

    def due_at(self) -> float:
        """Return when something happens next."""
        return min((member.due_at for member in self.known.values()), default=float("inf"))

    def _begin(self, wish: node_link_pb2.MemberAssignment, now: float) -> Member:
        # Members of a gang wait for each other, so they run for the same time; one of them is the one that fails.
        job = dice_of(self.terms.seed, wish.job_id, wish.epoch)
        seconds = self.terms.seconds.draw(job)
        fails = job.randrange(1000) < self.terms.failures_per_thousand and (
            job.randrange(max(1, wish.world_size)) == wish.rank
        )
        start = START_SECONDS.draw(dice_of(self.terms.seed, wish.allocation_id, wish.rank))
        limit = wish.max_runtime.seconds
        timed_out = bool(limit) and seconds > limit
        reason = job_pb2.EXIT_REASON_TIMED_OUT if timed_out else job_pb2.EXIT_REASON_EXITED
        return Member(
            wish=wish,
            state=job_pb2.ALLOCATION_STATE_STARTING,
            starts_at=now + start,
            ends_at=now + start + (limit if timed_out else seconds),
            exit_code=None if timed_out else _FAILED_CODE if fails else 0,
            exit_reason=reason,
            message="RuntimeError: drawn to fail" if fails and not timed_out else "",
        )

    def _stop(self, member: Member, now: float) -> None:
        member.state = job_pb2.ALLOCATION_STATE_STOPPING
        grace = member.wish.stop_grace.seconds
        member.ends_at = min(member.ends_at, now + min(grace, _STOP_SECONDS_MAX) / 2)
        member.exit_code, member.signal = None, None
        member.exit_reason, member.message = job_pb2.EXIT_REASON_STOPPED, "stopped"


def _print(member: Member, text: str) -> Line:
    line = Line(member, member.offset, text.encode())
    member.offset += len(line.data)
    member.lines += 1
    return line
