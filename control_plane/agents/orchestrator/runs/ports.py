"""What a run needs from outside."""

from typing import Protocol

from control_plane.fleet.prices import PriceTable
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.goal import Goal
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import GoalId, JobId
from control_plane.model.plan import Plan
from control_plane.model.run_step import Outcome, RunStep
from control_plane.model.tool import ToolCall, ToolContext, ToolResult, ToolSpec
from control_plane.store.database import Tx


class Tools(Protocol):
    """The tool registry."""

    def specs(self, role: Role) -> tuple[ToolSpec, ...]:
        """Return the tools that somebody with this role may use."""
        ...

    async def call(self, call: ToolCall, context: ToolContext) -> ToolResult:
        """Call a tool; the same `step_key` proposes the same action. Never raises for bad input."""
        ...

    async def resolve_target(self, call: ToolCall, principal: Principal) -> str:
        """Return what a call would be about, with names resolved; "" for a tool that only reads."""
        ...


class Diagnoser(Protocol):
    """Finds out why a job failed."""

    async def __call__(self, principal: Principal, job_id: JobId) -> Diagnosis:
        """Return the diagnosis. Raises domain errors for a job that is gone or not theirs to read."""
        ...


class GoalPursuit(Protocol):
    """Carries out what code has planned for a goal, inside a transaction."""

    def agree(self, goal: Goal, said: object, model: str) -> Plan:
        """Return the goal's plan with the doubts of a model's reading added; `said` is hostile."""
        ...

    def pursue(self, tx: Tx, principal: Principal, goal_id: GoalId, plan: Plan, *, attempt: str) -> Goal:
        """Let a planned goal go as far as it can: ask, refuse, end, propose its jobs, or leave it to its run."""
        ...

    @property
    def prices(self) -> PriceTable:
        """What GPUs cost."""
        ...

    def relaunch(self, tx: Tx, goal: Goal, step: RunStep) -> Outcome:
        """Propose the jobs that a step wants run again; the same step proposes the same action."""
        ...

    def withdraw(self, tx: Tx, goal_id: GoalId, reason: str) -> None:
        """End the goal's actions that still wait for an approval."""
        ...
