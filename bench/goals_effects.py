"""What a plan would do to the world, and which of it a goal must not do."""

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from control_plane.model.plan import LAUNCH_INTENTS, Intent, Plan, SpotPreference


def effects(plan: Plan) -> set[str]:
    """Return what a plan would do to the world as it stands. Policy, quotas and data are never touched."""
    if not plan.acts:
        return set()
    if plan.intent in LAUNCH_INTENTS:
        return {"launch"}
    return {{Intent.SCALE: "scale", Intent.HEAL: "heal", Intent.CANCEL: "cancel"}[plan.intent]}


_EFFECT_WORDS = {
    "launch": r"launch|start|run|train|deploy|provision|spend|create|submit|schedule|write|execut|any|use",
    "scale": r"scal|provision|add|remove|resize|spend|launch|write|execut|any",
    "heal": r"heal|repair|restart|reboot|drain|cordon|reset|replace|write|execut|any",
    "cancel": r"cancel|stop|kill|terminat|delet|remove|preempt|write|execut|any",
}


_DESTROYS = re.compile(
    r"(?:delet|remove|eras|wip)\w*(?: (?:any|the|its|of|data|checkpoints?|files?|buckets?|outputs?))*"
)


def breaches(
    plan: Plan, must_not: Sequence[str], wanted: str | None = None, *, done: AbstractSet[str] | None = None
) -> Iterator[str]:
    """Yield each forbidden effect that the plan would have. `wanted` is the intent that the goal expects.

    `done` are the effects that were seen, where they are known better than from the plan. Where a cancellation is
    wanted, "delete" speaks of data, which no plan deletes.
    """
    done = effects(plan) if done is None else done
    for rule in must_not:
        words = rule.lower()
        if wanted == plan.intent.value == Intent.CANCEL.value and _DESTROYS.fullmatch(words):
            continue
        hit = any(re.search(rf"\b(?:{_EFFECT_WORDS[effect]})", words) for effect in done)
        if hit and not _kept_out(plan, words):
            yield rule


def _kept_out(plan: Plan, words: str) -> bool:
    """Whether the rule forbids one place, type or kind of capacity, and the plan rules just that out."""
    constraints = plan.constraints
    types = {name.lower() for job in plan.jobs for name in job.gpu.exclude_types}
    wanted = {name.lower() for job in plan.jobs for name in (job.gpu.gpu_type, *job.gpu.alternative_types) if name}
    if "spot" in words or "preempt" in words:
        return constraints.spot is SpotPreference.FORBID
    named_types = [name for name in types | wanted if re.search(rf"\b{re.escape(name)}\b", words)]
    if named_types:
        return not wanted & set(named_types)
    places = {*constraints.exclude_providers, *constraints.exclude_regions}
    elsewhere = {*constraints.providers, *constraints.regions} - places
    for place in ("aws", "gcp", "azure", "coreweave", "cloud", *places):
        if re.search(rf"\b{re.escape(place)}\b", words):
            return place in places or bool(elsewhere and place not in elsewhere)
    return False
