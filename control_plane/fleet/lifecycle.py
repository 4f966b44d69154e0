"""Which changes of state are possible. One that is not in its table is a bug, and raises."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from control_plane.model.action import ActionState
from control_plane.model.goal import GoalState
from control_plane.model.incident import IncidentState
from control_plane.model.job import AllocationState, JobState
from control_plane.model.node import NodeHold, NodeState
from control_plane.model.repair import RepairState

S = TypeVar("S", bound=Enum)


class LifecycleError(Exception):
    """A change of state that cannot happen was attempted."""


@dataclass(frozen=True, slots=True)
class Lifecycle(Generic[S]):
    """The allowed transitions of one noun."""

    noun: str
    transitions: Mapping[S, frozenset[S]]

    def allows(self, before: S, after: S) -> bool:
        """Tell whether the change is possible."""
        return after in self.transitions.get(before, frozenset())

    def path(self, before: S, after: S, *, through: Collection[S]) -> tuple[S, ...]:
        """Return the shortest way from one state to another by the states of `through`, without its start.

        Raises LifecycleError if there is none.
        """
        ways: list[tuple[S, ...]] = [()]
        seen = {before}
        for way in ways:
            last = way[-1] if way else before
            if last is after:
                return way
            for state in through:
                if state not in seen and self.allows(last, state):
                    seen.add(state)
                    ways.append((*way, state))
        raise LifecycleError(f"a {self.noun} cannot go from {before.value} to {after.value}")

    def check(self, before: S, after: S) -> None:
        """Raise LifecycleError if the change is not possible."""
        if not self.allows(before, after):
            raise LifecycleError(f"a {self.noun} cannot go from {before.value} to {after.value}")


GOAL = Lifecycle(
    "goal",
    {
        GoalState.SUBMITTED: frozenset({GoalState.PLANNING, GoalState.CANCELLED}),
        GoalState.PLANNING: frozenset(
            {
                GoalState.NEEDS_INPUT,
                GoalState.AWAITING_APPROVAL,
                GoalState.RUNNING,
                GoalState.SUCCEEDED,
                GoalState.FAILED,
                GoalState.CANCELLED,
                GoalState.REFUSED,
            }
        ),
        # Before its jobs are launched it is planned again; a question about a failed job lets it go on, or ends it.
        GoalState.NEEDS_INPUT: frozenset(
            {GoalState.PLANNING, GoalState.RUNNING, GoalState.FAILED, GoalState.CANCELLED}
        ),
        GoalState.AWAITING_APPROVAL: frozenset(
            {GoalState.RUNNING, GoalState.FAILED, GoalState.CANCELLED, GoalState.REFUSED}
        ),
        GoalState.RUNNING: frozenset(
            {GoalState.NEEDS_INPUT, GoalState.SUCCEEDED, GoalState.FAILED, GoalState.CANCELLED}
        ),
    },
)

JOB = Lifecycle(
    "job",
    {
        JobState.QUEUED: frozenset({JobState.PLACED, JobState.CANCELLED, JobState.FAILED}),
        JobState.PLACED: frozenset(
            {JobState.RUNNING, JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
        ),
        JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    },
)

_FORWARD = (
    AllocationState.PENDING,
    AllocationState.STARTING,
    AllocationState.RUNNING,
    AllocationState.STOPPING,
    AllocationState.ENDED,
)

# An attempt only moves forward, and may skip states: a report can be the last of several.
ALLOCATION = Lifecycle(
    "allocation",
    {state: frozenset(_FORWARD[index + 1 :]) for index, state in enumerate(_FORWARD)},
)

_IN_SERVICE = frozenset({NodeState.READY, NodeState.CORDONED})
_HELD = frozenset(hold.state for hold in NodeHold)
_GONE = frozenset({NodeState.LOST, NodeState.REVOKED})

NODE = Lifecycle(
    "node",
    {
        NodeState.JOINING: _IN_SERVICE | _HELD | _GONE,
        NodeState.READY: _GONE | {NodeState.JOINING, NodeState.CORDONED, NodeState.DRAINING},
        NodeState.CORDONED: _GONE | {NodeState.JOINING, NodeState.READY, NodeState.DRAINING, NodeState.QUARANTINED},
        NodeState.DRAINING: _GONE | _IN_SERVICE | {NodeState.JOINING, NodeState.REPAIRING, NodeState.QUARANTINED},
        NodeState.REPAIRING: _GONE | {NodeState.DRAINING, NodeState.VERIFYING, NodeState.QUARANTINED},
        NodeState.VERIFYING: _GONE
        | _IN_SERVICE
        | {NodeState.JOINING, NodeState.DRAINING, NodeState.REPAIRING, NodeState.QUARANTINED},
        NodeState.QUARANTINED: _GONE | _IN_SERVICE | {NodeState.JOINING},
        # A lost node comes back as what it was.
        NodeState.LOST: _IN_SERVICE | _HELD | {NodeState.JOINING, NodeState.REVOKED},
    },
)

REPAIR = Lifecycle(
    "repair",
    {
        RepairState.PENDING: frozenset(RepairState) - {RepairState.PENDING},
        RepairState.RUNNING: frozenset(RepairState) - {RepairState.PENDING, RepairState.RUNNING},
        RepairState.VERIFYING: frozenset({RepairState.SUCCEEDED, RepairState.FAILED, RepairState.REFUSED}),
    },
)

_ENDED_INCIDENT = frozenset({IncidentState.RESOLVED, IncidentState.ESCALATED})

INCIDENT = Lifecycle(
    "incident",
    {
        IncidentState.OPEN: _ENDED_INCIDENT | {IncidentState.REPAIRING},
        IncidentState.REPAIRING: _ENDED_INCIDENT | {IncidentState.VERIFYING},
        IncidentState.VERIFYING: _ENDED_INCIDENT | {IncidentState.REPAIRING},
        # A person has acted, and has put the node back into service or taken it out of the fleet.
        IncidentState.ESCALATED: frozenset({IncidentState.RESOLVED}),
    },
)

ACTION = Lifecycle(
    "action",
    {
        ActionState.PROPOSED: frozenset({ActionState.DENIED, ActionState.AWAITING_APPROVAL, ActionState.APPROVED}),
        ActionState.AWAITING_APPROVAL: frozenset(
            {
                ActionState.APPROVED,
                ActionState.REJECTED,
                ActionState.EXPIRED,
                ActionState.SUPERSEDED,
                ActionState.DENIED,
            }
        ),
        # One that was left approved by a crash is judged again, and may need more people by then.
        ActionState.APPROVED: frozenset(
            {ActionState.EXECUTING, ActionState.DENIED, ActionState.EXPIRED, ActionState.AWAITING_APPROVAL}
        ),
        ActionState.EXECUTING: frozenset({ActionState.DONE, ActionState.FAILED}),
        ActionState.DONE: frozenset({ActionState.UNDONE}),
    },
)
