"""Effects as canonical JSON: the frozen bytes that policy, approval, execution and audit all see."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from control_plane.model.action import (
    CordonNode,
    DrainNode,
    Effect,
    LaunchJobs,
    PlaceJob,
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

_KINDS: Mapping[str, TypeAdapter[Any]] = {  # Any: one adapter for each effect's own class
    "launch_jobs": TypeAdapter(LaunchJobs),
    "place_job": TypeAdapter(PlaceJob),
    "stop_job": TypeAdapter(StopJob),
    "requeue_job": TypeAdapter(RequeueJob),
    "preempt_job": TypeAdapter(PreemptJob),
    "cordon_node": TypeAdapter(CordonNode),
    "uncordon_node": TypeAdapter(UncordonNode),
    "revoke_node": TypeAdapter(RevokeNode),
    "drain_node": TypeAdapter(DrainNode),
    "repair_node": TypeAdapter(RepairNode),
    "quarantine_node": TypeAdapter(QuarantineNode),
    "release_node": TypeAdapter(ReleaseNode),
    "update_condition": TypeAdapter(UpdateCondition),
}
_NAMES: Mapping[type, str] = {
    LaunchJobs: "launch_jobs",
    PlaceJob: "place_job",
    StopJob: "stop_job",
    RequeueJob: "requeue_job",
    PreemptJob: "preempt_job",
    CordonNode: "cordon_node",
    UncordonNode: "uncordon_node",
    RevokeNode: "revoke_node",
    DrainNode: "drain_node",
    RepairNode: "repair_node",
    QuarantineNode: "quarantine_node",
    ReleaseNode: "release_node",
    UpdateCondition: "update_condition",
}


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
EFFECT_KINDS: Final = frozenset(_KINDS)
"""The names of all effects."""


def effect_kind(effect: Effect) -> str:
    """Return the effect's name, for example "place_job"."""
    return _NAMES[type(effect)]


def effect_to_json(effect: Effect) -> str:
    """Return the effect as JSON with sorted keys and no spaces: equal effects give equal bytes."""
    kind = effect_kind(effect)
    arguments = _KINDS[kind].dump_python(effect, mode="json")
    return _ENCODER.encode({"kind": kind, "arguments": arguments})


def effect_from_json(text: str) -> Effect:
    """Return the effect. Raises ValueError if the text does not hold one."""
    document = json.loads(text)
    effect: Effect = _KINDS[document["kind"]].validate_python(document["arguments"])
    return effect


def effect_hash(frozen: str) -> str:
    """Return the SHA-256 of a frozen effect, in hex."""
    return hashlib.sha256(frozen.encode()).hexdigest()
