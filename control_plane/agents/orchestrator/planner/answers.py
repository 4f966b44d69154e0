"""Answers to the planner's questions: read by the same recognisers, they replace what the goal said."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any, TypeVar

from control_plane.agents.orchestrator.planner.budget import Budgets, bare_amount, read_budgets
from control_plane.agents.orchestrator.planner.facts import Fact, value_of
from control_plane.agents.orchestrator.planner.gpu import MEMORY_GB, canonical
from control_plane.agents.orchestrator.planner.gpu_readings import MAX_COUNT
from control_plane.agents.orchestrator.planner.gpu_request import GpuFacts, read_gpus
from control_plane.agents.orchestrator.planner.intent import read_intent
from control_plane.agents.orchestrator.planner.job_facts import Draft, JobFacts, Places, TargetFacts
from control_plane.agents.orchestrator.planner.places import Region
from control_plane.agents.orchestrator.planner.preferences import excluded_marks, read_priority
from control_plane.agents.orchestrator.planner.reading import read
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, words
from control_plane.agents.orchestrator.planner.spot import SpotReading, read_spot
from control_plane.agents.orchestrator.planner.timing import Limits, any_moment, read_limits
from control_plane.model.plan import Intent, SpotPreference

_Value = TypeVar("_Value")
_YES = re.compile(
    r"[ \n]*" + words("y|yes|yeah|yep|sure|ok|okay|true|allow|allowed|fine|si|ja|oui|sim", "是|可以|好|はい|可")
)
_NO = re.compile(r"[ \n]*" + words("n|no|nope|false|never|forbid|nein|non|nao", "不|否|いいえ|不可"))

_DEMO = re.compile(
    r"[ \n]*(?:the |a )?(?:demo(?:nstration)?|(?:built-?in |default )?template|built-?in)(?: template)?[ .!]*\Z"
)
_COMMAND_FIELD = re.compile(r"command(?:_\d{1,2})?")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read: `field` is the question's field."""

    field: str
    text: str
    shadow: Shadow

    def fact(self, fact: Fact[_Value]) -> Fact[_Value]:
        """Mark a fact as coming from this answer."""
        return replace(fact, source=f"answer:{self.field}")

    def whole(self, value: _Value) -> Fact[_Value]:
        """Return a value that all of the answer says."""
        stripped = self.text.strip()
        start = self.text.index(stripped)
        return self.fact(Fact(value, ((start, start + len(stripped)),)))


def read_answers(answers: Mapping[str, str]) -> list[Answer]:
    """Read the answers. Raises `InvalidArgument` for one that nobody can have written."""
    return [Answer(field, text, read(text)) for field, text in sorted(answers.items())]


def answered_intent(answers: list[Answer]) -> Fact[Intent] | None:
    """Return the intent that an answer names, if there is one."""
    for answer in answers:
        if answer.field != "intent":
            continue
        plain = answer.text.strip().lower()
        if plain in set(Intent) - {Intent.AMBIGUOUS, Intent.UNSAFE}:
            return answer.whole(Intent(plain))
        reading = read_intent(answer.shadow)
        if reading.intent is not None:
            return answer.fact(Fact(reading.intent, reading.spans))
    return None


def apply_answers(
    draft: Draft, answers: list[Answer], now: datetime, default: tzinfo, fx_usd: Mapping[str, Decimal]
) -> Draft:
    """Return the draft with each answered field replaced; an answer that says nothing changes nothing."""
    for answer in answers:
        draft = _apply(draft, answer, now, default, fx_usd)
    return draft


def _apply(draft: Draft, answer: Answer, now: datetime, default: tzinfo, fx_usd: Mapping[str, Decimal]) -> Draft:
    match answer.field:
        case "gpu" | "gpu_count" | "gpu_type" | "intent":
            return _with_gpu(draft, answer, bare=answer.field != "intent")
        case "budget":
            return replace(draft, budgets=_budgets(answer, fx_usd) or draft.budgets)
        case "deadline":
            moment = any_moment(answer.shadow, now, default)
            return replace(draft, window=replace(draft.window, deadline_at=answer.fact(moment))) if moment else draft
        case "provider" | "region":
            return replace(draft, places=_places(draft.places, answer))
        case "job_ids" | "node" | "pool":
            return replace(draft, targets=_targets(draft.targets, answer))
        case _:
            return _apply_wish(draft, answer)


def _apply_wish(draft: Draft, answer: Answer) -> Draft:
    match answer.field:
        case "max_hours":
            limit = read_limits(answer.shadow).max_seconds
            jobs = tuple(replace(job, limits=Limits(answer.fact(limit))) for job in draft.jobs) if limit else draft.jobs
            return replace(draft, jobs=jobs)
        case "spot":
            return replace(draft, spot=SpotReading(_spot(answer) or draft.spot.preference))
        case "priority":
            priority = read_priority(answer.shadow) or read_priority(read(f"priority {answer.text}"))
            return replace(draft, priority=answer.whole(priority.value)) if priority else draft
        case _ if _COMMAND_FIELD.fullmatch(answer.field):
            return replace(draft, jobs=_with_command(draft.jobs, answer))
        case "image":
            return replace(
                draft, jobs=(replace(draft.jobs[0], image=answer.whole(answer.text.strip())), *draft.jobs[1:])
            )
        case _:
            return draft


def _with_command(jobs: tuple[JobFacts, ...], answer: Answer) -> tuple[JobFacts, ...]:
    """Return the jobs with the command that starts one, or without its program where a demonstration will do."""
    index = int(answer.field.partition("_")[2] or 1) - 1
    if not 0 <= index < len(jobs):
        return jobs
    if _DEMO.match(answer.shadow.text):
        changed = replace(jobs[index], program=None)
    else:
        command = answer.text.strip()
        quoted = len(command) > 1 and command[0] == command[-1] and command[0] in "`'\""
        changed = replace(jobs[index], command=answer.whole(command[1:-1].strip() if quoted else command))
    return (*jobs[:index], changed, *jobs[index + 1 :])


def _with_gpu(draft: Draft, answer: Answer, *, bare: bool) -> Draft:
    facts = read_gpus(answer.shadow, excluded_marks(answer.shadow))
    if bare and facts.count is None:
        facts = replace(facts, count=_bare_count(answer.shadow))
    if bare and facts.gpu_type is None and canonical(answer.text) in MEMORY_GB:
        facts = replace(facts, gpu_type=Fact(canonical(answer.text), answer.whole(value=True).spans))
    # Values are facts of the fields' own types; `replace` cannot be told so field by field.
    said: dict[str, Any] = {
        field.name: answer.fact(value)
        for field in fields(GpuFacts)
        if isinstance(value := getattr(facts, field.name), Fact)
    }
    if not said:
        return draft
    settles = "count" in said

    def changed(index: int, job: JobFacts) -> JobFacts:
        if index and job.gpu.says_something:
            return job
        gpu = replace(job.gpu, **said, type_conflict=None if "gpu_type" in said else job.gpu.type_conflict)
        return replace(job, gpu=_settled(gpu, said) if settles else gpu)

    return replace(draft, jobs=tuple(changed(index, job) for index, job in enumerate(draft.jobs)))


def _settled(gpu: GpuFacts, said: Mapping[str, Any]) -> GpuFacts:
    """Drop the node layout that an answered count contradicts."""
    known = gpu.count and gpu.nodes and gpu.gpus_per_node
    keep = not known or "nodes" in said or _product(gpu.nodes, gpu.gpus_per_node) == value_of(gpu.count)
    return replace(
        gpu, conflicts=(), nodes=gpu.nodes if keep else None, gpus_per_node=gpu.gpus_per_node if keep else None
    )


def _product(nodes: Fact[int] | None, each: Fact[int] | None) -> int:
    return (nodes.value if nodes else 0) * (each.value if each else 0)


def _bare_count(shadow: Shadow) -> Fact[int] | None:
    for at, value in shadow.marks(Kind.NUMBER):
        if value == int(value) and abs(value) <= MAX_COUNT:
            return Fact(int(value), (shadow.span(at, at + 1),))
    return None


def _budgets(answer: Answer, fx_usd: Mapping[str, Decimal]) -> Budgets | None:
    read_in = read_budgets(answer.shadow, fx_usd, strong_only=False, job_starts=(0,))
    total = read_in.total or (None if read_in.rate or read_in.unknown_currency else bare_amount(answer.shadow))
    if total is None and read_in.rate is None:
        return None
    return Budgets(answer.fact(total) if total else None, answer.fact(read_in.rate) if read_in.rate else None)


def _spot(answer: Answer) -> Fact[SpotPreference] | None:
    reading = read_spot(answer.shadow)
    if reading.preference is not None:
        return answer.fact(reading.preference)
    if _NO.match(answer.shadow.text):
        return answer.whole(SpotPreference.FORBID)
    return answer.whole(SpotPreference.ALLOW) if _YES.match(answer.shadow.text) else None


def _places(places: Places, answer: Answer) -> Places:
    shadow = answer.shadow
    negated = excluded_marks(shadow)
    for at, value in shadow.marks(Kind.PROVIDER):
        if at not in negated and answer.field == "provider":
            return replace(
                places, providers=answer.fact(Fact((value,), (shadow.span(at, at + 1),))), exclude_providers=None
            )
    for at, value in shadow.marks(Kind.REGION):
        if at not in negated and isinstance(value, Region) and answer.field == "region":
            return replace(
                places, regions=answer.fact(Fact((value.code,), (shadow.span(at, at + 1),))), exclude_regions=None
            )
    return places


def _targets(targets: TargetFacts, answer: Answer) -> TargetFacts:
    named = answer.whole(tuple(part for part in re.split(r"[\s,;]+", answer.text.strip()) if part))
    if answer.field == "job_ids":
        return replace(targets, job_ids=named)
    if answer.field == "node":
        return replace(targets, nodes=named)
    return replace(targets, pool=answer.whole(answer.text.strip()))
