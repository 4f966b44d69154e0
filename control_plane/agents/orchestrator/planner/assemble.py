"""From a draft to a plan: values into their places, and for each the words it came from."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields

from control_plane.agents.orchestrator.planner.facts import Fact, value_of
from control_plane.agents.orchestrator.planner.gpu_request import GpuFacts
from control_plane.agents.orchestrator.planner.job_facts import Draft, JobFacts
from control_plane.model.plan import (
    LAUNCH_INTENTS,
    Constraints,
    Evidence,
    GpuRequest,
    Intent,
    Plan,
    PlannedJob,
    Targets,
)

MAX_SUMMARY_CHARS = 160
_MAX_NAME_CHARS = 32


def build_jobs(draft: Draft) -> tuple[PlannedJob, ...]:
    """Return the jobs with names that are theirs alone, and dependencies by name."""
    names = _names(draft.jobs)
    return tuple(
        PlannedJob(
            name=names[index],
            intent=job.intent,
            gpu=_gpu(job.gpu),
            image=value_of(job.image),
            command=value_of(job.command),
            template=job.intent.value if job.intent in LAUNCH_INTENTS else None,
            max_seconds=value_of(job.limits.max_seconds),
            depends_on=tuple(names[other] for other in job.depends_on),
            condition=value_of(job.condition),
        )
        for index, job in enumerate(draft.jobs)
    )


def build_constraints(draft: Draft) -> Constraints:
    """Return what holds for the whole goal."""
    window, places = draft.window, draft.places
    return Constraints(
        budget=value_of(draft.budgets.total),
        rate_cap=value_of(draft.budgets.rate),
        deadline_at=value_of(window.deadline_at),
        start_at=value_of(window.start_at),
        spot=value_of(draft.spot.preference),
        providers=value_of(places.providers) or (),
        exclude_providers=value_of(places.exclude_providers) or (),
        regions=value_of(places.regions) or (),
        exclude_regions=value_of(places.exclude_regions) or (),
        data_residency=value_of(places.data_residency),
        priority=value_of(draft.priority),
        schedule=value_of(window.schedule),
    )


def build_targets(draft: Draft) -> Targets:
    """Return the existing things the goal is about."""
    targets = draft.targets
    return Targets(
        job_ids=value_of(targets.job_ids) or (),
        nodes=value_of(targets.nodes) or (),
        gpu_index=value_of(targets.gpu_index),
        team=value_of(targets.team),
        pool=value_of(targets.pool),
        all_of_mine=bool(value_of(targets.all_of_mine)),
    )


def build_evidence(draft: Draft, sources: Mapping[str, str]) -> tuple[Evidence, ...]:
    """Return the words behind each field. `sources` maps `goal` and `answer:<field>` to their texts."""
    found: list[Evidence] = []
    for path, fact in _facts(draft):
        text = sources[fact.source]
        found += [Evidence(path, text[start:end], start, end, fact.source) for start, end in fact.spans]
    return tuple(found)


def summarise(plan: Plan, *, about_money: bool = False) -> str:
    """Return one line that says what the plan comes to. `about_money`: a question is about spending."""
    if plan.refusal is not None:
        return f"Refused: {plan.refusal.reason_code.value}"[:MAX_SUMMARY_CHARS]
    parts = [plan.intent.value]
    parts += ["spending"] if about_money and plan.intent is Intent.QUERY else []
    jobs = plan.jobs or ((plan.subject,) if plan.subject else ())
    parts += [" then ".join(filter(None, (_gpu_words(job) for job in jobs)))]
    budget, deadline = plan.constraints.budget, plan.constraints.deadline_at
    parts += [f"at most ${budget.amount_usd:.2f}"] if budget else []
    parts += [f"by {deadline:%Y-%m-%d %H:%M} UTC"] if deadline else []
    parts += [", ".join(plan.targets.job_ids + plan.targets.nodes)]
    return ", ".join(part for part in parts if part)[:MAX_SUMMARY_CHARS]


def _gpu_words(job: PlannedJob) -> str:
    count = f"{job.gpu.count} x " if job.gpu.count is not None else ""
    return f"{count}{job.gpu.gpu_type or 'GPU'}" if count or job.gpu.gpu_type else ""


def _gpu(facts: GpuFacts) -> GpuRequest:
    return GpuRequest(
        gpu_type=value_of(facts.gpu_type),
        count=value_of(facts.count),
        min_memory_bytes=value_of(facts.min_memory_bytes),
        nodes=value_of(facts.nodes),
        gpus_per_node=value_of(facts.gpus_per_node),
        replicas=value_of(facts.replicas),
        min_replicas=value_of(facts.min_replicas),
        alternative_types=value_of(facts.alternative_types) or (),
        exclude_types=value_of(facts.exclude_types) or (),
        any_idle=bool(value_of(facts.any_idle)),
    )


def _names(jobs: tuple[JobFacts, ...]) -> list[str]:
    taken: dict[str, int] = {}
    names = []
    for job in jobs:
        word = re.sub(r"[^a-z0-9]+", "-", job.word).strip("-")[:_MAX_NAME_CHARS].strip("-")
        name = word or (job.intent.value if job.intent is not Intent.AMBIGUOUS else "job")
        taken[name] = taken.get(name, 0) + 1
        names.append(name if taken[name] == 1 else f"{name}-{taken[name]}")
    return names


def _facts(draft: Draft) -> Iterator[tuple[str, Fact[object]]]:
    yield "intent", draft.intent
    for index, job in enumerate(draft.jobs):
        prefix = f"jobs[{index}]" if draft.launches else "subject"
        for field in fields(GpuFacts):
            fact = getattr(job.gpu, field.name)
            if isinstance(fact, Fact):
                yield f"{prefix}.gpu.{field.name}", fact
        named = (
            ("image", job.image),
            ("command", job.command),
            ("max_seconds", job.limits.max_seconds),
            ("condition", job.condition),
        )
        yield from ((f"{prefix}.{name}", fact) for name, fact in named if fact is not None)
    window, places = draft.window, draft.places
    constraints = (
        ("budget", draft.budgets.total),
        ("rate_cap", draft.budgets.rate),
        ("deadline_at", window.deadline_at),
        ("start_at", window.start_at),
        ("schedule", window.schedule),
        ("spot", draft.spot.preference),
        ("providers", places.providers),
        ("exclude_providers", places.exclude_providers),
        ("regions", places.regions),
        ("exclude_regions", places.exclude_regions),
        ("data_residency", places.data_residency),
        ("priority", draft.priority),
    )
    yield from ((f"constraints.{name}", fact) for name, fact in constraints if fact is not None)
    targets = ("job_ids", "nodes", "gpu_index", "team", "pool", "all_of_mine")
    yield from ((f"targets.{name}", fact) for name in targets if (fact := getattr(draft.targets, name)) is not None)
    if draft.plan_only is not None:
        yield "plan_only", draft.plan_only
