"""The governor and the books under random fire: whatever happens in whatever order, money and GPUs add up."""

import asyncio
import atexit
import functools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from control_plane.agents.scheduler import Scheduler
from control_plane.errors import PreconditionFailed
from control_plane.governor import books, hosts, verdicts
from control_plane.governor.rules import Limits
from control_plane.model.account import User
from control_plane.model.action import LaunchJobs, NewJob, PlaceJob, Placement, RequeueJob, StopJob
from control_plane.model.goal import Goal, GoalState
from control_plane.model.identity import Principal, Role
from control_plane.model.job import Allocation, AllocationState, ExitReason, Job
from control_plane.model.node import Node
from control_plane.model.report import MemberReport
from control_plane.store import actions, audit, conditions, events, goals, gpu_holds, jobs, users
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.engine import migrate, open_engine
from control_plane.store.goals import GoalFilter
from control_plane.store.jobs import JobFilter
from control_plane.store.pages import PageRequest
from tests.control_plane.clinic import condition
from tests.control_plane.world import World, gpus, inventory, job_id, principal, spec
from tests.fake_clock import FakeClock

T = TypeVar("T")

LIMITS = Limits(approval_above_usd=Decimal(20), max_gpus_per_user=6)
FLEET = {"alpha": ("H100", 4), "beta": ("H100", 4), "gamma": ("A100", 2)}
EVERYTHING = PageRequest(500)
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
ENDS = frozenset({"job.succeeded", "job.failed", "job.cancelled"})


@functools.cache
def template() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="orquanta-invariants-", dir=MEMORY))
    atexit.register(shutil.rmtree, directory)
    path = directory / "template.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


class Machine(RuleBasedStateMachine):
    """People, agents and hosts who do as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="orquanta-invariants-", dir=MEMORY))
        shutil.copy(template(), self.directory / "orquanta.db")
        self.clock = FakeClock()
        self.launched = 0
        self.deeds: list[Callable[[st.DataObject], None]] = [
            *[self.report] * 8,
            *[self.schedule] * 5,
            *[self.launch] * 4,
            *[self.come_back] * 3,
            *[self.give_up] * 2,
            *[self.decide] * 2,
            *[self.verdict] * 3,
            self.breaks,
            self.lose,
            self.stop,
            self.place_somewhere,
            self.time_passes,
            self.kill_switch,
        ]

    def do(self, work: Coroutine[Any, Any, T]) -> T:  # Any: what coroutines yield to the loop
        return self.runner.run(work)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.do(self.world.store.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    @initialize()
    def open(self) -> None:
        store = self.do(Store.open(f"sqlite:///{self.directory}/orquanta.db", clock=self.clock))
        self.world = World.on(store, self.clock, limits=LIMITS)
        self.scheduler = Scheduler(store, self.world.governor, max_gpus_per_user=LIMITS.max_gpus_per_user)
        self.people: list[User] = [
            self.do(self.world.user("ada", budget_usd=60)),
            self.do(self.world.user("bob", budget_usd=25, max_gpus=3)),
        ]
        self.approver: Principal = principal(self.do(self.world.user("olga", role=Role.ADMIN)))
        self.nodes: list[Node] = [
            self.do(self.world.node(name, gpu=number, gpu_type=gpu_type)) for name, (gpu_type, number) in FLEET.items()
        ]

    # What there is.

    def jobs(self) -> Sequence[Job]:
        return self.do(self.world.store.read(lambda tx: jobs.page(tx, JobFilter(), EVERYTHING))).items

    def attempts(self, data: st.DataObject) -> list[Allocation]:
        """Return the attempts that have not ended, or now and then all."""
        every = [attempt for job in self.jobs() for attempt in job.allocations]
        live = [attempt for attempt in every if attempt.state is not AllocationState.ENDED]
        return every if data.draw(st.integers(0, 5)) == 0 else live

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        # One rule with weights: most of what happens should move work forward, so that it meets the trouble half way.
        data.draw(st.sampled_from(self.deeds))(data)

    # What people do.

    def launch(self, data: st.DataObject) -> None:
        user = data.draw(st.sampled_from(self.people))
        goal = self.do(self.world.goal(user)) if data.draw(st.booleans()) else None
        types = data.draw(st.sampled_from([("H100",), ("A100",), ("A100", "H100"), ()]))
        new: list[NewJob] = []
        for _ in range(data.draw(st.integers(1, 4))):
            name = f"job-{self.launched}"
            self.launched += 1
            gpu, nodes = data.draw(st.sampled_from([(0, 0), (1, 0), (1, 0), (2, 0), (2, 2), (4, 2)]))
            # Each may need any before it, so that failures meet diamonds and chains.
            needs = tuple(one.id for one in new if data.draw(st.booleans()))
            seconds = data.draw(st.sampled_from([600, 3600, 7200]))
            one = spec(name, gpu=gpu, types=types, nodes=nodes, seconds=seconds, needs=needs)
            new.append(NewJob(job_id(name), one))
        budget = data.draw(st.sampled_from([None, None, Decimal(5), Decimal(30)]))
        self.do(self.world.propose(LaunchJobs(tuple(new), None if goal is None else goal.id, budget), user=user))

    def decide(self, data: st.DataObject) -> None:
        waiting = self.do(self.world.store.read(actions.awaiting))
        if not waiting:
            return
        action = data.draw(st.sampled_from(waiting))
        governor = self.world.governor
        try:
            if data.draw(st.booleans()):
                self.do(governor.approve(action.id, approver=self.approver, hash=action.hash, reason=""))
            else:
                self.do(governor.reject(action.id, approver=self.approver, reason=""))
        except PreconditionFailed as refused:
            if refused.reason != "APPROVAL_EXPIRED":
                raise

    def stop(self, data: st.DataObject) -> None:
        if every := self.jobs():
            job = data.draw(st.sampled_from(every))
            person = data.draw(st.booleans())
            self.do(self.world.propose(StopJob(job.id, "enough"), user=self.people[0], person=person))

    def kill_switch(self, data: st.DataObject) -> None:
        engaged = data.draw(st.sampled_from([True, False, False]))
        self.do(self.world.governor.set_kill_switch(engaged=engaged, principal=self.approver, reason="a test"))

    def time_passes(self, data: st.DataObject) -> None:
        self.clock.advance(data.draw(st.sampled_from([1, 60, 1900])))
        self.do(self.world.store.write(self.world.governor.expire))

    # What agents do.

    def schedule(self, _data: st.DataObject) -> None:
        self.do(self.scheduler.round())

    def place_somewhere(self, data: st.DataObject) -> None:
        every = self.jobs()
        if not every:
            return
        job = data.draw(st.sampled_from(every))
        nodes = data.draw(st.lists(st.sampled_from(self.nodes), min_size=1, max_size=2))
        placements = tuple(
            Placement(
                rank,
                node.id,
                tuple(f"GPU-{node.name}-{index}" for index in data.draw(st.lists(st.integers(0, 4), max_size=2))),
            )
            for rank, node in enumerate(nodes)
        )
        gpu_type = data.draw(st.sampled_from(["H100", "A100", ""]))
        epoch = job.epoch + data.draw(st.integers(0, 1))
        self.do(self.world.propose(PlaceJob(job.id, epoch, gpu_type, placements, "why not")))

    def give_up(self, data: st.DataObject) -> None:
        if attempts := self.attempts(data):
            attempt = data.draw(st.sampled_from(attempts))
            self.do(self.world.propose(RequeueJob(attempt.job_id, attempt.id, "lost")))

    # What hosts do.

    def report(self, data: st.DataObject) -> None:
        attempts = self.attempts(data)
        if not attempts:
            return
        attempt = data.draw(st.sampled_from(attempts))
        member = data.draw(st.sampled_from(attempt.members))
        ended = data.draw(st.booleans())
        state = AllocationState.ENDED if ended else data.draw(st.sampled_from(list(AllocationState)[1:-1]))
        reason = data.draw(st.sampled_from([*[ExitReason.EXITED] * 6, *ExitReason])) if ended else None
        said = MemberReport(
            allocation_id=attempt.id,
            job_id=attempt.job_id,
            epoch=attempt.epoch,
            rank=member.rank,
            state=state,
            exit_reason=reason,
            exit_code=data.draw(st.sampled_from([0, 0, 1])) if reason is ExitReason.EXITED else None,
            gpu_seconds=data.draw(st.sampled_from([0.0, 100.0, 1e7])),
            ended_at=self.clock.now() if ended else None,
        )
        self.do(self.world.store.write(lambda tx: books.apply_report(tx, member.node_id, said)))

    def verdict(self, _data: st.DataObject) -> None:
        for doubt in self.do(self.world.store.read(verdicts.doubts)):
            self.do(self.world.store.write(partial(verdicts.conclude, allocation_id=doubt.allocation_id)))

    def breaks(self, data: st.DataObject) -> None:
        """A GPU fails, by itself or under a job."""
        node = data.draw(st.sampled_from(self.nodes))
        one = condition("gpu/xid-79", self.clock.now(), gpu_uuid=f"GPU-{node.name}-0")
        if data.draw(st.booleans()):
            self.do(self.world.store.write(lambda tx: conditions.put(tx, node.id, one)))
        else:
            self.do(self.world.store.write(lambda tx: conditions.remove(tx, node.id, one.id)))

    def lose(self, data: st.DataObject) -> None:
        self.do(self.world.lose(data.draw(st.sampled_from(self.nodes))))

    def come_back(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.nodes))
        gpu_type, number = FLEET[node.name]

        def write(tx: Tx) -> None:
            hosts.node_connected(tx, node.id, inventory(node.name, gpus(node.name, number, gpu_type)), zombies=0)
            withdrawn = [(one.allocation.id, one.member.rank) for one in books.of_node(tx, node.id).withdrawn]
            books.never_started(tx, node.id, withdrawn)

        self.do(self.world.store.write(write))

    # What must hold.

    @invariant()
    def everything_adds_up(self) -> None:
        if hasattr(self, "world"):
            self.do(self.world.store.read(self.check))

    def check(self, tx: Tx) -> None:
        every = jobs.page(tx, JobFilter(), EVERYTHING).items
        for user in self.people:
            self.check_money(users.require(tx, user.id), [job for job in every if job.user_id == user.id])
        self.check_gpus(tx, every)
        ends = Counter(event.id for event in events.after(tx, 0, limit=100_000) if event.kind in ENDS)
        records = Counter(
            record.job_id
            for record in audit.page(tx, AuditFilter(), PageRequest(100_000)).items
            if record.action in ENDS
        )
        for job in every:
            assert ends[job.id] == records[job.id] == int(job.state.ended), f"{job.id} ended {ends[job.id]} times"
            assert (job.finished_at is not None) == job.state.ended
        for goal in goals.page(tx, GoalFilter(), EVERYTHING).items:
            self.check_goal(goal, [job for job in every if job.goal_id == goal.id])

    def check_money(self, user: User, mine: list[Job]) -> None:
        attempts = [attempt for job in mine for attempt in job.allocations]
        assert user.reserved_usd == sum((job.reserved_usd for job in mine), Decimal(0))
        assert user.spent_usd == sum((attempt.cost_usd for attempt in attempts), Decimal(0))
        assert user.budget_usd is not None
        assert user.spent_usd + user.reserved_usd <= user.budget_usd
        for job in mine:
            assert job.reserved_usd == 0 if job.state.ended else job.reserved_usd >= 0
            assert job.cost_usd == sum((attempt.cost_usd for attempt in job.allocations), Decimal(0))
            assert all(attempt.cost_usd == 0 for attempt in job.allocations if attempt.waived)

    def check_gpus(self, tx: Tx, every: Sequence[Job]) -> None:
        live = [
            (gpu_uuid, attempt.id)
            for job in every
            for attempt in job.allocations
            for member in attempt.members
            if member.state is not AllocationState.ENDED
            for gpu_uuid in member.gpu_uuids
        ]
        holds = gpu_holds.holds(tx)
        assert len(live) == len(dict(live)), "a GPU is given twice"
        assert dict(live) == {gpu_uuid: hold.allocation_id for gpu_uuid, hold in holds.items()}
        held = Counter(hold.user_id for hold in holds.values())
        assert held[self.people[0].id] <= LIMITS.max_gpus_per_user
        assert held[self.people[1].id] <= 3
        for job in every:
            unended = [attempt for attempt in job.allocations if attempt.state is not AllocationState.ENDED]
            assert len(unended) <= int(not job.state.ended), f"{job.id} has several attempts at once"
            assert [attempt.epoch for attempt in job.allocations] == list(range(1, job.epoch + 1))

    def check_goal(self, goal: Goal, mine: list[Job]) -> None:
        if mine:
            assert goal.state.ended == all(job.state.ended for job in mine)
            assert goal.state is not GoalState.REFUSED
        else:
            assert goal.state in (GoalState.AWAITING_APPROVAL, GoalState.REFUSED, GoalState.FAILED)


TestSmallFleet = pytest.mark.timeout(600)(Machine.TestCase)
TestSmallFleet.settings = settings(max_examples=20, stateful_step_count=50)
