"""The queue over the class of production: 100,000 jobs wait, the fleet fills, and then some end and others start."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from bench.figures import percentile
from bench.packing_hosts import host_of
from control_plane.fleet.placement.history import History
from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.packing.model import Node
from control_plane.fleet.placement.room import Claim
from control_plane.fleet.queueing.model import QueueTerms, WaitingJob
from control_plane.fleet.queueing.queue import Queue
from control_plane.model.action import PlaceJob
from control_plane.model.ids import AllocationId, JobId, UserId
from control_plane.model.job import JobPriority, ResourceRequest

USERS = 100
ROUNDS = 50
ENDS_EACH_ROUND = 50
_START = datetime(2023, 1, 1, tzinfo=UTC)
_HOURS = (1, 4, 24)  # time limits of jobs
_MAX_FILLING_ROUNDS = 1_000


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """What was measured. A round is one decision on the whole queue, with its placements taken."""

    hosts: int
    queued: int
    put_per_second: float
    filled: int  # placements until the fleet was full
    filled_per_second: float
    waiting: int  # then
    ends_each_round: int
    placed_each_round: float
    round_p50_ms: float
    round_max_ms: float
    idle_round_ms: float  # nothing has changed since the last one


class Filled:
    """A fleet and its queue; what is decided is carried out."""

    def __init__(
        self,
        nodes: Sequence[Node],
        requests: Sequence[ResourceRequest],
        queued: int,
        seed: int,
        users: int = USERS,
    ) -> None:
        self.history = History()
        hosts = [host_of(node) for node in nodes]
        self.room, self.queue = Hosts(hosts, history=self.history), Queue(QueueTerms())
        self.queue.see(hosts)
        self.now = _START + timedelta(days=1)
        self.jobs = {job.job_id: job for job in waiting(requests, queued, seed, users)}
        self._chance = np.random.default_rng(seed)

    def submit(self) -> None:
        """Let all jobs wait."""
        for job in self.jobs.values():
            self.history.note(job.resources)
            self.queue.put(job)

    def round(self) -> int:
        """Decide once and carry it out; returns how many jobs started."""
        self.now += timedelta(seconds=1)
        decision = self.queue.decide(self.room, (), {}, now=self.now)
        for placed in decision.placements:
            self._start(placed)
        return len(decision.placements)

    def _start(self, placed: PlaceJob) -> None:
        job = self.jobs[placed.job_id]
        self.queue.drop(job.job_id)
        self.room.put(
            Claim(
                AllocationId(job.job_id),
                job.job_id,
                job.user_id,
                job.team,
                job.priority,
                job.resources,
                placed.placements,
                self.now,
                self.now + timedelta(seconds=job.max_runtime_seconds),
            )
        )

    def end(self, number: int) -> None:
        """End so many jobs, drawn from all that run."""
        running = list(self.room.claims())
        for at in self._chance.choice(len(running), size=number, replace=False).tolist():
            self.room.drop(running[at])


def waiting(requests: Sequence[ResourceRequest], number: int, seed: int, users: int) -> Iterator[WaitingJob]:
    """Jobs of the trace's mix, of many users, each a moment after the one before."""
    chance = np.random.default_rng(seed)
    drawn = chance.integers(len(requests), size=number).tolist()
    for at, request in enumerate(drawn):
        user = f"user-{int(chance.integers(users))}"
        yield WaitingJob(
            JobId(f"j-{at}"),
            UserId(user),
            f"{user}@example.com",
            "",
            JobPriority.NORMAL,
            requests[request],
            _START + timedelta(milliseconds=at),
            0,
            3_600 * _HOURS[int(chance.integers(len(_HOURS)))],
        )


def measure_queue(nodes: Sequence[Node], requests: Sequence[ResourceRequest], queued: int, seed: int) -> QueueFigures:
    """Let the jobs wait, fill the fleet, then let some end and others start. Times are of one core."""
    filled = Filled(nodes, requests, queued, seed)
    began = time.process_time()
    filled.submit()
    put = time.process_time() - began
    began, started = time.process_time(), 0
    for _ in range(_MAX_FILLING_ROUNDS):
        more = filled.round()
        started += more
        if not more:
            break
    filling = time.process_time() - began
    left = len(filled.queue.jobs())
    began = time.process_time()
    filled.round()
    idle, rounds, placed = time.process_time() - began, list[float](), 0
    for _ in range(ROUNDS):
        filled.end(ENDS_EACH_ROUND)
        began = time.process_time()
        placed += filled.round()
        rounds.append(time.process_time() - began)
    return QueueFigures(
        hosts=len(nodes),
        queued=queued,
        put_per_second=round(queued / put),
        filled=started,
        filled_per_second=round(started / filling),
        waiting=left,
        ends_each_round=ENDS_EACH_ROUND,
        placed_each_round=round(placed / ROUNDS, 1),
        round_p50_ms=round(1_000 * percentile(rounds, 0.5), 1),
        round_max_ms=round(1_000 * max(rounds), 1),
        idle_round_ms=round(1_000 * idle, 1),
    )
