"""Simulates the queue: the rules of the product on a clock that jumps from event to event."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from heapq import heappop, heappush
from typing import Final

from control_plane.errors import InvalidArgument
from control_plane.fleet.placement.history import History
from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.room import Claim
from control_plane.fleet.queueing.model import QueueDecision, WaitingJob
from control_plane.fleet.queueing.queue import Queue
from control_plane.fleet.queueing.round import MOST_PLACEMENTS
from control_plane.fleet.queueing.simulate_model import (
    MOST_JOBS,
    MOST_POINTS,
    SimulatedJob,
    Simulation,
    SimulationFigures,
    UsagePoint,
)
from control_plane.model.ids import AllocationId, JobId, UserId

Progress = Callable[[int, int], None]
"""Told how many jobs have ended, and how many there are. What it raises ends the simulation."""

_MOST_DECISIONS: Final = 2_000  # about; what happens between two of them waits for the later one
_MOST_EVENTS: Final = 20  # for each job; more, and jobs make way for each other without end
_REPORTS: Final = 100
_KEPT: Final = 1  # jobs that room is kept for
_REFRESH_STEPS: Final = 10  # decisions after which an earlier time is looked for
_SECONDS_OF_HOUR: Final = 3600


def simulate(simulation: Simulation, progress: Progress | None = None) -> SimulationFigures:
    """Let the jobs arrive, wait and run, and return what came of it. The same simulation gives the same figures.

    Decisions are taken a second of simulated time apart at least, and further apart if there would be more than about
    2,000 of them; a wait is longer by that much at most.

    Raises:
        InvalidArgument: SIMULATION_TOO_LARGE or SIMULATION_INVALID.
    """
    if len(simulation.jobs) > MOST_JOBS:
        raise InvalidArgument(
            f"a simulation takes at most {MOST_JOBS:,} jobs, these are {len(simulation.jobs):,}; give fewer",
            reason="SIMULATION_TOO_LARGE",
        )
    for job in simulation.jobs:
        if not (0 <= job.arrives_seconds < float("inf") and 0 <= job.runs_seconds < float("inf")):
            raise InvalidArgument(
                f"job {job.name[:100]!a} has a negative or endless time; give seconds from the start and its length",
                reason="SIMULATION_INVALID",
            )
    return _Run(simulation, progress).figures()


@dataclass(slots=True)
class _Attempt:
    """An attempt that runs."""

    claim: Claim
    number: int
    started: float
    ends: float
    price_usd_per_gpu_hour: Decimal


class _Run:
    """One simulation while it goes on. Times are seconds from its start."""

    def __init__(self, simulation: Simulation, progress: Progress | None) -> None:
        self._given = simulation
        self._progress = progress
        self._history = History()
        self._room = Hosts(simulation.hosts, policy=simulation.packing, history=self._history, seed=simulation.seed)
        self._total = float(sum(len(host.slots) for host in simulation.hosts))
        self._step = _step(simulation, self._total)
        refresh = timedelta(seconds=_REFRESH_STEPS * self._step)
        self._queue = Queue(simulation.terms, most_kept=_KEPT, refresh=refresh)
        self._queue.see(simulation.hosts)
        self._room.expect(lambda: (job.resources for job in self._queue.jobs().values()))
        self._waiting: list[WaitingJob] = [
            _waiting(number, job, simulation.starts_at) for number, job in enumerate(simulation.jobs)
        ]
        self._events: list[tuple[float, int, str]] = []  # when, which job arrives or whose attempt ends
        self._running: dict[AllocationId, _Attempt] = {}
        self._numbers = {job.job_id: number for number, job in enumerate(self._waiting)}
        self._hosts = {host.node_id: host for host in simulation.hosts}
        self._awaited = _awaited(simulation.jobs)
        self._followers: dict[int, list[int]] = {}
        for number, others in self._awaited.items():
            for other in others:
                self._followers.setdefault(other, []).append(number)
        self._waits: dict[int, float] = {}
        self._wakes: set[float] = set()
        self._used = 0.0
        self._gpu_seconds = 0.0
        self._lost = 0.0
        self._cost_usd = Decimal(0)
        self._finished = 0
        self._preemptions = 0
        self._points: list[UsagePoint] = []
        self._spacing = 0.0

    def figures(self) -> SimulationFigures:
        """Run it."""
        for number, job in enumerate(self._given.jobs):
            if number not in self._awaited:
                heappush(self._events, (job.arrives_seconds, number, ""))
        first = min((job.arrives_seconds for job in self._given.jobs), default=0.0)
        step, last, events = self._step, first, 0
        self._spacing, until = step, first - step
        most = _MOST_EVENTS * len(self._given.jobs) + MOST_PLACEMENTS
        while self._events and events < most:
            at = self._events[0][0]
            until = max(at, until + step)
            while self._events and self._events[0][0] <= until:
                when, number, allocation_id = heappop(self._events)
                events += 1
                if number >= 0 and not allocation_id:
                    self._arrive(number, when)
                elif allocation_id and self._end(AllocationId(allocation_id), when):
                    last = when
            self._decide(until)
            self._note(until)
        makespan = max(0.0, last - first)
        waits = sorted(self._waits.values())
        return SimulationFigures(
            jobs_finished=self._finished,
            jobs_unsatisfiable=len(self._given.jobs) - len(self._waits),
            makespan_seconds=makespan,
            utilization=self._gpu_seconds / (self._total * makespan) if self._total and makespan else 0.0,
            wait_mean_seconds=sum(waits) / len(waits) if waits else 0.0,
            wait_p50_seconds=_quantile(waits, 50),
            wait_p95_seconds=_quantile(waits, 95),
            wait_max_seconds=waits[-1] if waits else 0.0,
            cost_usd=self._cost_usd.quantize(Decimal("0.000001")),
            preemptions=self._preemptions,
            lost_gpu_seconds=self._lost,
            points=tuple(_thinned(self._points, MOST_POINTS)),
        )

    def _arrive(self, number: int, at: float) -> None:
        job, claim = self._waiting[number], self._given.jobs[number].running
        self._history.note(job.resources)
        if claim is None or any(one.node_id not in self._hosts for one in claim.placements):
            self._queue.put(job)
            return
        claim = replace(claim, allocation_id=AllocationId(f"{job.job_id}-0"), job_id=job.job_id)
        self._room.adopt(claim)
        attempt = self._begin(number, claim, at)
        if claim.protected_until is not None:
            self._wake((claim.protected_until - self._given.starts_at).total_seconds(), [attempt])

    def _end(self, allocation_id: AllocationId, at: float) -> bool:
        """An attempt ends, unless it made way and ended earlier; one that made way is queued again."""
        attempt = self._running.pop(allocation_id, None)
        if attempt is None:
            return False
        gpus = attempt.claim.gpus
        self._room.drop(allocation_id)
        self._used -= gpus
        seconds = at - attempt.started
        self._gpu_seconds += gpus * seconds
        self._cost_usd += attempt.price_usd_per_gpu_hour * Decimal(gpus * seconds) / _SECONDS_OF_HOUR
        if at < attempt.ends:
            self._lost += gpus * seconds
            again = self._waiting[attempt.number]
            self._waiting[attempt.number] = replace(again, epoch=again.epoch + 1)
            self._queue.put(self._waiting[attempt.number])
            return False
        self._finished += 1
        self._let_follow(attempt.number, at)
        if self._progress is not None and self._finished % max(1, len(self._given.jobs) // _REPORTS) == 0:
            self._progress(self._finished, len(self._given.jobs))
        return True

    def _let_follow(self, number: int, at: float) -> None:
        """Let the jobs arrive that waited for this one alone."""
        for other in self._followers.pop(number, ()):
            self._awaited[other].discard(number)
            if not self._awaited[other]:
                heappush(self._events, (max(at, self._given.jobs[other].arrives_seconds), other, ""))

    def _decide(self, at: float) -> None:
        """Decide until nothing more can start, and carry it out."""
        while self._queue.jobs():
            now = self._given.starts_at + timedelta(seconds=at)
            decision = self._queue.decide(self._room, self._given.teams, self._given.user_limits, now=now)
            self._carry_out(decision, at, now)
            if len(decision.placements) < MOST_PLACEMENTS:
                return

    def _carry_out(self, decision: QueueDecision, at: float, now: datetime) -> None:
        terms = self._given.terms
        started: list[_Attempt] = []
        for placed in decision.placements:
            number = self._numbers[placed.job_id]
            job = self._waiting[number]
            limit = job.max_runtime_seconds
            claim = Claim(
                AllocationId(f"{placed.job_id}-{placed.epoch}"),
                job.job_id,
                job.user_id,
                job.team,
                job.priority,
                job.resources,
                placed.placements,
                started_at=now,
                ends_by=now + timedelta(seconds=limit) if limit else None,
                protected_until=now + timedelta(seconds=terms.min_runtime_seconds),
            )
            self._queue.drop(job.job_id)
            self._room.put(claim)
            started.append(self._begin(number, claim, at))
        self._wake(at + terms.min_runtime_seconds, started)
        for one in decision.preemptions:
            attempt = self._running[one.allocation_id]
            attempt.claim = replace(attempt.claim, stopping=True)
            self._room.adopt(attempt.claim)
            self._preemptions += 1
            heappush(self._events, (at + self._given.stop_seconds, attempt.number, one.allocation_id))

    def _begin(self, number: int, claim: Claim, at: float) -> _Attempt:
        """Have an attempt run that holds what it claims."""
        given, limit = self._given.jobs[number], self._waiting[number].max_runtime_seconds
        runs = min(given.runs_seconds, limit) if limit else given.runs_seconds
        attempt = _Attempt(claim, number, at, at + runs, self._given.prices.get(self._model_of(claim), Decimal(0)))
        self._running[claim.allocation_id] = attempt
        self._used += claim.gpus
        self._waits.setdefault(number, at - given.arrives_seconds)
        heappush(self._events, (at + runs, number, claim.allocation_id))
        return attempt

    def _model_of(self, claim: Claim) -> str:
        """Return the model of the GPUs that are held, empty for none."""
        held = ((self._hosts[one.node_id], one.gpu_uuids) for one in claim.placements)
        return next((slot.gpu_type for host, uuids in held for slot in host.slots if slot.uuid in uuids), "")

    def _wake(self, when: float, started: Sequence[_Attempt]) -> None:
        """Look again once those that started may be made to make way, if they still run then."""
        if self._given.terms.preemption and when not in self._wakes and any(one.ends > when for one in started):
            self._wakes.add(when)
            heappush(self._events, (when, -1, ""))

    def _note(self, at: float) -> None:
        """Note a point; when there are twice as many as are wanted, every other one goes and fewer come."""
        if self._points and at < self._points[-1].at_seconds + self._spacing:
            self._points.pop()
        self._points.append(UsagePoint(at, max(0.0, self._used), self._total, len(self._queue.jobs())))
        if len(self._points) >= 2 * MOST_POINTS:
            self._points = self._points[::2]
            self._spacing *= 2


def _step(simulation: Simulation, gpus: float) -> float:
    """Return how far decisions are apart at least: a second, or more if the whole takes long."""
    jobs = simulation.jobs
    work = sum(job.runs_seconds * (job.resources.gpu_milli / 1000 or job.resources.gpu_count) for job in jobs)
    times = [job.arrives_seconds for job in jobs]
    arriving = max(times, default=0.0) - min(times, default=0.0)
    longest = max((job.runs_seconds for job in jobs), default=0.0)
    return max(1.0, (max(arriving, work / max(1.0, gpus)) + longest) / _MOST_DECISIONS)


def _awaited(jobs: Sequence[SimulatedJob]) -> dict[int, set[int]]:
    """Return which jobs each one waits for that waits for any, by their numbers."""
    numbers = {job.name: number for number, job in enumerate(jobs)} if any(job.after for job in jobs) else {}
    found = {number: {numbers[name] for name in job.after if name in numbers} for number, job in enumerate(jobs)}
    return {number: others for number, others in found.items() if others}


def _waiting(number: int, job: SimulatedJob, starts_at: datetime) -> WaitingJob:
    return WaitingJob(
        JobId(f"{number:06}"),
        UserId(job.user),
        job.user,
        job.team,
        job.priority,
        job.resources,
        starts_at + timedelta(seconds=job.arrives_seconds - job.waited_seconds),
        0,
        job.max_runtime_seconds,
    )


def _quantile(ordered: Sequence[float], percent: int) -> float:
    """Return the value that so many percent do not exceed (nearest rank)."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0.0


def _thinned(points: Sequence[UsagePoint], most: int) -> Sequence[UsagePoint]:
    every = -(-len(points) // most) or 1
    return points[::every]
