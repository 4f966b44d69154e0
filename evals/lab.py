"""A control plane in one process: a real store, governor, tools, orchestrator and runs. Only models are scripted."""

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path

from control_plane.agents.orchestrator.orchestrator import Orchestrator
from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.agents.orchestrator.runs.driver import Driver
from control_plane.agents.orchestrator.runs.effects import Effects
from control_plane.memory.contract import MemoryStore
from control_plane.model.action import Action, ActionState
from control_plane.model.goal import Goal
from control_plane.model.identity import CredentialKind, Principal, Role
from control_plane.model.ids import ActionId, GoalId, RunId
from control_plane.model.job import Job
from control_plane.model.node import Node
from control_plane.model.run import Run
from control_plane.model.run_step import RunStep
from control_plane.model.tool import ToolCall, ToolContext, ToolResult
from control_plane.reasoning.contract import Reasoner
from control_plane.reasoning.rules_only import NO_MODELS
from control_plane.run_terms import diagnoser
from control_plane.store import actions, goals, nodes, run_steps, runs
from control_plane.store.actions import ActionFilter
from control_plane.store.database import Store
from control_plane.store.engine import migrate, open_engine
from control_plane.store.pages import PageRequest
from control_plane.telemetry.log_file import LogChunk, LogRecord, LogStream
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.imported.server import ForeignTools
from control_plane.tools.toolbox import Toolbox
from tests.control_plane.world import DEFAULTS, World
from tests.fake_clock import FakeClock

MOVES_MAX = 200
"""A run that takes more moves than this does not come to an end."""

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - folders of their own with random names are made in it
_FOLDER = str(_IN_MEMORY) if os.access(_IN_MEMORY, os.W_OK) else None
"""Where databases are kept that nobody needs after a crash: in memory, where writing waits for no disk."""

START = datetime(2026, 11, 23, 9, tzinfo=UTC)

TOOK_EFFECT = (ActionState.APPROVED, ActionState.EXECUTING, ActionState.DONE, ActionState.UNDONE)
"""States of an action that has changed something, or is about to."""


class EndlessRunError(AssertionError):
    """A run that does not come to rest."""


@dataclass
class Lab:
    """A fleet, somebody who asks for things, and what works on them. Time stands still until it is moved."""

    world: World
    logs: LogStore
    telemetry: TelemetryWindows
    model: Reasoner | None = None
    policy: RunPolicy = field(default_factory=RunPolicy)
    _numbers: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        self.equip()
        self.build()

    def equip(
        self,
        *,
        memory: MemoryStore | None = None,
        foreign: ForeignTools | None = None,
        reasoner: Reasoner = NO_MODELS,
    ) -> None:
        """Make the tools, with what they reach; `reasoner` is asked about causes."""
        world = self.world
        self.toolbox = Toolbox(
            world.store,
            world.governor,
            logs=self.logs,
            telemetry=self.telemetry,
            memory=memory,
            prices=world.governor.prices,
            clock=world.clock,
            foreign=foreign,
            reasoner=reasoner,
        )

    def build(self) -> None:
        """Put the parts together anew, as a restart does."""
        world = self.world
        self.orchestrator = Orchestrator(
            world.store,
            world.governor,
            defaults=DEFAULTS,
            clock=world.clock,
            reasoner=self.model,
            run_limits=self.policy.limits,
        )
        self.driver = Driver(
            world.store,
            Effects(self.toolbox, self.model, policy=self.policy, clock=world.clock),
            self.orchestrator.pursuit,
            policy=self.policy,
            diagnose=diagnoser(self.toolbox.diagnoses),
        )

    async def person(self, name: str = "ada", role: Role = Role.USER) -> Principal:
        """Add somebody."""
        user = await self.world.user(name, role=role)
        return Principal(user.id, user.email, user.role, CredentialKind.PASSWORD, "credential")

    async def node(self, name: str = "gpu-a-17", *, gpu: int = 8, gpu_type: str = "H100") -> Node:
        """Add a host that is connected and ready."""
        node = await self.world.node(name, gpu=gpu, gpu_type=gpu_type)
        return await self.world.store.write(lambda tx: nodes.update(tx, node.id, connected=True))

    async def wrote(self, name: str, text: str, *, rank: int = 0, delay_seconds: float = 0.0) -> None:
        """Let a member of a job's newest attempt have written this, line by line, ten milliseconds apart."""
        await self.wrote_by(await self.world.job(name), text, rank=rank, delay_seconds=delay_seconds)

    async def wrote_by(self, job: Job, text: str, *, rank: int = 0, delay_seconds: float = 0.0) -> None:
        """Do the same for a job whose id is not that of its name."""
        attempt = job.allocations[-1]
        records, size = [], 0
        for number, line in enumerate(text.splitlines(keepends=True)):
            data = line.encode()
            at = self.world.clock.now() + timedelta(seconds=delay_seconds + number / 100)
            records.append(LogRecord(LogStream.STDERR, data, at))
            size += len(data)
        chunk = LogChunk(job.id, attempt.id, attempt.epoch, rank, 0, size, tuple(records), end=True)
        await self.logs.append([(chunk, False)])

    async def ask(self, who: Principal, text: str) -> Goal:
        """Ask for something, and let the run go as far as it can."""
        goal = await self.orchestrator.create_goal(
            who, text=text, request_id=f"r-{next(self._numbers)}", budget_usd=None, timezone=""
        )
        await self.settle()
        return await self.world.store.read(lambda tx: goals.require(tx, goal.id))

    async def settle(self) -> None:
        """Take every move that can be taken now. Raises EndlessRunError."""
        for run_id in await self.world.store.read(runs.unended):
            await self._drive(run_id)

    async def _drive(self, run_id: RunId) -> None:
        for _ in range(MOVES_MAX):
            if not await self.driver.advance(run_id):
                return
        raise EndlessRunError(f"{run_id} takes more than {MOVES_MAX} moves")

    async def call(self, who: Principal, tool: str, *, tainted: bool = False, **arguments: object) -> ToolResult:
        """Call a tool as another agent does."""
        context = ToolContext(who, "another_agent", step_key=f"eval/{next(self._numbers)}", tainted=tainted)
        return await self.toolbox.call(ToolCall(tool, json.dumps(arguments)), context)

    # What the store says.

    async def actions(self, *, goal_id: GoalId | None = None) -> tuple[Action, ...]:
        """Return the newest 500 actions, or those of a goal."""
        wanted = ActionFilter() if goal_id is None else ActionFilter(goal_id=goal_id)
        page = await self.world.store.read(lambda tx: actions.page(tx, wanted, PageRequest(500)))
        return page.items

    async def effects_since(self, before: Sequence[ActionId]) -> tuple[Action, ...]:
        """Return the actions that took effect and were not there before."""
        return tuple(one for one in await self.actions() if one.id not in before and one.state in TOOK_EFFECT)

    async def run_of(self, goal: Goal) -> Run | None:
        """Return the run that works on a goal, if it has one."""
        return await self.world.store.read(lambda tx: runs.of_goal(tx, goal.id))

    async def steps_of(self, run: Run) -> tuple[RunStep, ...]:
        """Return a run's steps."""
        return await self.world.store.read(lambda tx: run_steps.of_run(tx, run.id))


@cache
def _template() -> Path:
    """Return a database that has every table, to be copied; it is made once for the process."""
    path = Path(tempfile.mkdtemp(prefix="orquanta-evals-", dir=_FOLDER)) / "template.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


def forget_template() -> None:
    """Delete the database that labs are copied from."""
    if _template.cache_info().currsize:
        shutil.rmtree(_template().parent, ignore_errors=True)
        _template.cache_clear()


@asynccontextmanager
async def open_lab(*, start: datetime = START) -> AsyncIterator[Lab]:
    """Give a lab of its own to each case, and leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="orquanta-eval-", dir=_FOLDER, ignore_cleanup_errors=True) as folder:
        database = Path(folder) / "orquanta.db"
        shutil.copy(_template(), database)
        clock = FakeClock(start)
        store = await Store.open(f"sqlite:///{database}", clock=clock)
        try:
            logs = LogStore(Path(folder) / "logs", poll_seconds=0.01, drain_seconds=0.01)
            await logs.start()
            yield Lab(World.on(store, clock), logs, TelemetryWindows(clock=clock))
        finally:
            await store.close()
