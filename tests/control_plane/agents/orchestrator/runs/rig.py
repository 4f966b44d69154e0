"""An orchestrator with runs on a real store, a real governor and the real tools; only the model is scripted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from typing import Any

from control_plane.agents.orchestrator.orchestrator import Orchestrator
from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.agents.orchestrator.runs.driver import Driver
from control_plane.agents.orchestrator.runs.effects import Effects
from control_plane.agents.orchestrator.runs.ports import Tools
from control_plane.model.action import Action
from control_plane.model.goal import Goal
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import GoalId, RunId
from control_plane.model.job import Job
from control_plane.model.node import Node
from control_plane.model.run import ReasoningEvent, Run
from control_plane.model.run_step import RunStep
from control_plane.reasoning.contract import ModelToolCall
from control_plane.reasoning.scripted import ScriptedModel, ScriptedReply
from control_plane.run_terms import diagnoser
from control_plane.store import actions, goals, jobs, nodes, run_events, run_steps, runs
from control_plane.store.actions import ActionFilter
from control_plane.store.pages import PageRequest
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.toolbox import Toolbox
from tests.control_plane.world import DEFAULTS, World, principal

MOVES_MAX = 200
"""A run that takes more moves than this does not end."""


def said(intent: str, quote: str | None, **more: object) -> Mapping[str, object]:
    """What a model reads in a goal."""
    return {
        "intent": intent,
        "intent_quote": quote,
        "jobs": [],
        "budget_quote": None,
        "deadline_quote": None,
        "refuse_code": None,
        "refuse_quote": None,
        "questions": [],
        **more,
    }


def call(name: str, call_id: str = "c-1", **arguments: object) -> ModelToolCall:
    return ModelToolCall(call_id, name, json.dumps(arguments))


def calls(*made: ModelToolCall, text: str = "", cost_usd: str = "0.001") -> ScriptedReply:
    return ScriptedReply(text=text, calls=made, cost_usd=Decimal(cost_usd))


@dataclass
class Rig:
    """Somebody who asks for things, and what works on them."""

    world: World
    logs: LogStore
    telemetry: TelemetryWindows
    ada: Principal
    model: ScriptedModel | None = None
    policy: RunPolicy = field(default_factory=RunPolicy)
    tools: Tools | None = None
    _numbers: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        world = self.world
        self.toolbox = Toolbox(
            world.store,
            world.governor,
            logs=self.logs,
            telemetry=self.telemetry,
            memory=None,
            prices=world.governor.prices,
            clock=world.clock,
        )
        self.build()

    def build(self) -> None:
        """Make the orchestrator anew, as a restarted control plane does: nothing but the store is kept."""
        world = self.world
        self.orchestrator = Orchestrator(
            world.store,
            world.governor,
            defaults=DEFAULTS,
            clock=world.clock,
            reasoner=self.model,
            run_limits=self.policy.limits,
        )
        toolbox = self.tools or self.toolbox  # it keeps nothing that a run needs
        self.driver = Driver(
            world.store,
            Effects(toolbox, self.model, policy=self.policy, clock=world.clock),
            self.orchestrator.pursuit,
            policy=self.policy,
            diagnose=diagnoser(self.toolbox.diagnoses),
        )

    def think(self, *script: Any, policy: RunPolicy | None = None) -> ScriptedModel:  # Any: what a script may hold
        """Give the orchestrator a model that says this."""
        only = script[0] if len(script) == 1 and callable(script[0]) else list(script)
        self.model = ScriptedModel(only)
        self.policy = policy or self.policy
        self.build()
        return self.model

    async def ask(self, text: str, *, who: Principal | None = None) -> Goal:
        """Ask for something, and let the run go as far as it can."""
        goal = await self.orchestrator.create_goal(
            who or self.ada, text=text, request_id=f"r-{next(self._numbers)}", budget_usd=None, timezone=""
        )
        await self.settle()
        return await self.goal(goal.id)

    async def settle(self) -> None:
        """Take every move that can be taken now."""
        for run_id in await self.world.store.read(runs.unended):
            await self.drive(run_id)

    async def drive(self, run_id: RunId) -> int:
        """Take one run's moves until it waits; return how many."""
        for moves in range(MOVES_MAX):
            if not await self.driver.advance(run_id):
                return moves + 1
        raise AssertionError(f"{run_id} does not come to rest")

    async def node(self, name: str = "gpu-a-17", **made_of: Any) -> Node:  # Any: what World.node takes
        node = await self.world.node(name, **made_of)
        return await self.world.store.write(lambda tx: nodes.update(tx, node.id, connected=True))

    async def operator(self, name: str = "olga") -> Principal:
        return principal(await self.world.user(name, role=Role.OPERATOR))

    # What the store says.

    async def goal(self, goal_id: GoalId) -> Goal:
        return await self.world.store.read(lambda tx: goals.require(tx, goal_id))

    async def run(self, goal: Goal) -> Run:
        found = await self.world.store.read(lambda tx: runs.of_goal(tx, goal.id))
        assert found is not None
        return found

    async def steps(self, goal: Goal) -> tuple[RunStep, ...]:
        run = await self.run(goal)
        return await self.world.store.read(lambda tx: run_steps.of_run(tx, run.id))

    async def events(self, goal: Goal) -> tuple[ReasoningEvent, ...]:
        run = await self.run(goal)
        return await self.world.store.read(lambda tx: run_events.of_run(tx, run.id))

    async def jobs(self, goal: Goal) -> tuple[Job, ...]:
        return await self.world.store.read(lambda tx: jobs.of_goal(tx, goal.id))

    async def actions(self) -> tuple[Action, ...]:
        page = await self.world.store.read(lambda tx: actions.page(tx, ActionFilter(), PageRequest(500)))
        return page.items


def limited(policy: RunPolicy, **limits: Any) -> RunPolicy:  # Any: fields of the limits
    return replace(policy, limits=replace(policy.limits, **limits))
