"""What the next move of a run is decided from: rows, read in one transaction."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from control_plane.agents.orchestrator.jobs import budget_of
from control_plane.agents.orchestrator.runs.means import Means, load_means
from control_plane.fleet import attempts
from control_plane.fleet.prices import PriceTable
from control_plane.model.account import User
from control_plane.model.action import Action
from control_plane.model.goal import Goal
from control_plane.model.identity import CredentialKind, Principal
from control_plane.model.ids import ActionId, JobId, NodeId, RunId
from control_plane.model.incident import Incident
from control_plane.model.job import Job, JobState
from control_plane.model.money import from_micros
from control_plane.model.node import Node
from control_plane.model.plan import Plan
from control_plane.model.repair import Repair
from control_plane.model.run import Run
from control_plane.model.run_replan import Replan
from control_plane.model.run_step import Outcome, RunBook, RunStep, StepKind
from control_plane.model.tool import ToolEffect, ToolStatus
from control_plane.store import actions, goals, incidents, jobs, model_usage, nodes, repairs, run_steps, runs, users
from control_plane.store.database import Tx

Json = Mapping[str, Any]  # Any: JSON of any shape


FOR_AGENT = "for_agent"
"""The note of a run that an agent's credential asked for: what it stops is no person's own act."""

_TELLING = (ToolStatus.OK.value, ToolStatus.NO_DATA.value)


@dataclass(frozen=True, slots=True)
class Patient:
    """A node that a run watches, with the trouble that is being treated."""

    node: Node
    incident: Incident | None
    repair: Repair | None


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it is now, with everything that its next move depends on.

    `tools` may be called. `means` is what the fleet has, known while a job of the goal has failed.
    """

    book: RunBook
    steps: tuple[RunStep, ...]
    goal: Goal | None
    jobs: tuple[Job, ...]
    owner: User | None
    actions: Mapping[ActionId, Action]
    patients: tuple[Patient, ...]
    now: datetime
    tools: frozenset[str] = frozenset()
    means: Means = field(default_factory=Means)
    prices: PriceTable = field(default_factory=PriceTable)

    @property
    def run(self) -> Run:
        """The run itself."""
        return self.book.run

    @property
    def plan(self) -> Plan:
        """The goal's plan. Raises LookupError before there is one."""
        if self.goal is None or self.goal.plan is None:
            raise LookupError(f"run {self.run.id} has no plan")
        return self.goal.plan

    @property
    def principal(self) -> Principal:
        """On whose behalf it acts, with the role that they have now. Raises LookupError if they are gone."""
        if self.owner is None:
            raise LookupError(f"run {self.run.id} belongs to nobody")
        for_agent = bool(self.book.notes.get(FOR_AGENT))
        return Principal(
            self.owner.id, self.owner.email, self.owner.role, CredentialKind.LOCAL, self.run.id, for_agent=for_agent
        )

    @property
    def number(self) -> int:
        """The number of the next step."""
        return len(self.steps) + 1

    @property
    def unfinished(self) -> RunStep | None:
        """The step that was begun and of which no outcome is known."""
        return self.steps[-1] if self.steps and self.steps[-1].outcome is None else None

    def calls(self) -> list[tuple[RunStep, Outcome]]:
        """Return the finished calls of tools, in their order."""
        return [
            (step, step.outcome)
            for step in self.steps
            if step.intent.kind is StepKind.TOOL and step.outcome is not None
        ]

    def look(self, tool: str, arguments: Json) -> Outcome | None:
        """Return what came of this very call, if it was made; the newest time counts."""
        wanted = canonical(arguments)
        for step, outcome in reversed(self.calls()):
            if step.intent.name == tool and canonical(load(step.intent.arguments_json)) == wanted:
                return outcome
        return None

    def decision(self, action_id: ActionId) -> Outcome | None:
        """Return what became of an action that this run waited for, once that is written down."""
        for step in self.steps:
            if step.intent.kind is StepKind.DECISION and step.intent.name == action_id:
                return step.outcome
        return None

    def evidence(self) -> tuple[str, ...]:
        """Return the ids of everything that was read or done with success, in order, each once."""
        found = (outcome.evidence_id for _, outcome in self.calls() if outcome.status in _TELLING)
        return tuple(dict.fromkeys(one for one in found if one))

    @property
    def answers(self) -> Mapping[str, str]:
        """What the person has answered, by the field of the question."""
        return {} if self.goal is None else dict(self.goal.answers)

    @property
    def budget_left_usd(self) -> Decimal | None:
        """What is left of the goal's budget beside all that its jobs have spent and reserved; None without one."""
        budget = None if self.goal is None or self.goal.plan is None else budget_of(self.goal.plan, self.goal)
        if budget is None:
            return None
        return budget - sum((job.cost_usd + job.reserved_usd for job in self.jobs), Decimal(0))

    @property
    def replans(self) -> tuple[Replan, ...]:
        """What was planned in the places of failed jobs, in its order."""
        return attempts.replans(self.steps)

    @property
    def places(self) -> Mapping[JobId, JobId]:
        """Which job has taken the place of which."""
        return attempts.replaced(self.jobs, self.replans)

    @property
    def current_jobs(self) -> tuple[Job, ...]:
        """The jobs whose places no other took: the goal is done if all of them succeeded."""
        return attempts.current(self.jobs, self.places)

    def wrote(self) -> bool:
        """Tell whether the run has called a tool that changes something."""
        return any(step.intent.effect is not ToolEffect.READ for step, _ in self.calls())


def load_view(tx: Tx, run_id: RunId) -> RunView | None:
    """Return the run as it is now, or None if there is none."""
    book = runs.book(tx, run_id)
    if book is None:
        return None
    book = _with_all_costs(tx, book)
    run = book.run
    goal = None if run.goal_id is None else goals.get(tx, run.goal_id)
    of_goal = () if goal is None else jobs.of_goal(tx, goal.id)
    any_failed = any(job.state is JobState.FAILED for job in of_goal)
    waited = {action_id: actions.get(tx, action_id) for action_id in book.waits_for}
    return RunView(
        book=book,
        steps=run_steps.of_run(tx, run_id),
        goal=goal,
        jobs=of_goal,
        owner=None if run.user_id is None else users.get(tx, run.user_id),
        actions={action_id: action for action_id, action in waited.items() if action is not None},
        patients=tuple(one for one in (_patient(tx, node_id) for node_id in book.watches) if one is not None),
        now=tx.now,
        means=load_means(tx, of_goal) if any_failed and goal is not None and not goal.state.ended else Means(),
    )


def _with_all_costs(tx: Tx, book: RunBook) -> RunBook:
    """Return the run with what its models cost also where no step tells of it: a question cut off, a crash."""
    run = book.run
    spent = model_cost(tx, run)
    if spent <= run.used.cost_usd:
        return book
    return replace(book, run=replace(run, used=replace(run.used, cost_usd=spent)))


def model_cost(tx: Tx, run: Run) -> Decimal:
    """Return what models cost for the run's goal by the books of the reasoning engine; a goal has one run."""
    return Decimal(0) if run.goal_id is None else from_micros(model_usage.of_goal(tx, run.goal_id).cost_usd_micros)


def _patient(tx: Tx, node_id: NodeId) -> Patient | None:
    node = nodes.get(tx, node_id)
    if node is None:
        return None
    newest = incidents.open_of(tx, node_id, incidents.Parts.REPAIRS)
    return Patient(node, newest, repairs.unfinished(tx, node_id))


def load(text: str) -> Json:
    """Return a JSON object, or an empty one for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def canonical(arguments: Json) -> str:
    """Return arguments so that equal ones are equal texts: sorted, and without those that are null."""
    return json.dumps({name: value for name, value in arguments.items() if value is not None}, sort_keys=True)
