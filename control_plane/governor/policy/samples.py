"""One plausible input for each kind of effect: a rule that fails on one of them is refused before it is in force."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Final

from control_plane.governor.policy.effects import of_effect
from control_plane.governor.policy.expression import Values
from control_plane.governor.policy.inputs import (
    ActorInput,
    BudgetInput,
    EstimateInput,
    FleetInput,
    GoalInput,
    JobInput,
    NodeInput,
    PolicyInput,
    TenantInput,
    time_input,
)
from control_plane.model.action import (
    CordonNode,
    DrainNode,
    Effect,
    LaunchJobs,
    NewJob,
    PlaceJob,
    Placement,
    PreemptJob,
    QuarantineNode,
    ReleaseNode,
    RepairNode,
    RequeueJob,
    RevokeNode,
    StopJob,
    UncordonNode,
    UpdateCondition,
)
from control_plane.model.effects import effect_kind
from control_plane.model.ids import ALLOCATION, GOAL, JOB, NODE, derived_id
from control_plane.model.job import JobSpec, ResourceRequest
from control_plane.model.repair import Rung

_NODE: Final = derived_id(NODE, "sample")
_JOB: Final = derived_id(JOB, "sample")
_NOW: Final = datetime(2026, 1, 7, 13, 30, tzinfo=UTC)


def _effects() -> tuple[Effect, ...]:
    spec = JobSpec(
        "train",
        ResourceRequest(("H100",), 8, 1),
        command="train",
        image="registry.example/train:1",
        max_runtime_seconds=3600,
    )
    why = "a sample"
    return (
        LaunchJobs((NewJob(_JOB, spec),), derived_id(GOAL, "sample"), Decimal(100)),
        PlaceJob(_JOB, 1, "H100", (Placement(0, _NODE, ("GPU-0",)),), why),
        StopJob(_JOB, why),
        RequeueJob(_JOB, derived_id(ALLOCATION, "sample"), why, (_NODE,)),
        PreemptJob(_JOB, derived_id(ALLOCATION, "sample"), derived_id(JOB, "another"), why),
        CordonNode(_NODE, why),
        UncordonNode(_NODE, why),
        RevokeNode(_NODE, why),
        DrainNode(_NODE, why),
        RepairNode(_NODE, Rung.RESET_GPU, why, ("GPU-0",)),
        QuarantineNode(_NODE, why),
        ReleaseNode(_NODE, why),
        UpdateCondition(_NODE, "gpu-xid", clear=True, by="ada@example.com", reason=why),
    )


@cache
def sample_inputs() -> Mapping[str, PolicyInput]:
    """Return an input for each kind of effect, by the kind's name."""
    node = NodeInput(_NODE, "gpu-a-1", "ready", "training", "r1", {"zone": "a"}, 8, ("H100",))
    job = JobInput(_JOB, "train", "ada@example.com", "running", gpu_types=("H100",), gpus=8, nodes=1, priority="normal")
    found = {}
    for effect in _effects():
        action = of_effect(effect)
        launches = isinstance(effect, LaunchJobs)
        action = replace(
            action,
            proposer="healing_agent",
            node=NodeInput() if launches else node,
            nodes=() if launches else (node,),
            jobs=action.jobs or (job,),
            job=job if isinstance(effect, PlaceJob | StopJob | RequeueJob | PreemptJob) else action.job,
            pools=() if launches else ("training",),
            gpu_types=("H100",),
        )
        found[effect_kind(effect)] = PolicyInput(
            action=action,
            est=EstimateInput(31.92, 8, 1, 1),
            actor=ActorInput("agent", "healing_agent"),
            tenant=TenantInput("ada@example.com", "user", 10.0, 5.0, 8, 64),
            budget=BudgetInput(limited=True, usd=1000.0, left_usd=985.0, goal_limited=True),
            fleet=FleetInput(100, 3, 0.03),
            time=time_input(_NOW),
            goal=GoalInput(derived_id(GOAL, "sample"), "ada@example.com"),
        )
    return found


@cache
def sample_values() -> Mapping[str, Values]:
    """Return the same, ready to be asked about."""
    return {kind: Values(one.document()) for kind, one in sample_inputs().items()}
