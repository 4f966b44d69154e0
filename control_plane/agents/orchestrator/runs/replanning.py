"""Decides what follows from a goal's failed jobs: run them again, ask, or end with an honest result. Pure.

What can be done comes from the table of `fleet/remedies.py`. Rules take the first remedy; a model may choose another of
them, or none.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from control_plane.agents.orchestrator.runs import choosing
from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.agents.orchestrator.runs.moves import (
    BY_RULES,
    AskPerson,
    Choose,
    Diagnose,
    Finish,
    Move,
    RunAgain,
    Watch,
)
from control_plane.agents.orchestrator.runs.view import RunView
from control_plane.fleet import attempts
from control_plane.fleet.remedies import Failure, Remedy, Room, remedies
from control_plane.fleet.remedies_answers import as_answered, read_answer
from control_plane.fleet.remedies_words import sentence
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.ids import JOB, derived_id
from control_plane.model.job import Job, JobState
from control_plane.model.run import RunState
from control_plane.model.run_replan import RemedyKind, Replan
from control_plane.model.run_step import Outcome, StepKind
from control_plane.model.tool import ToolStatus

ASKED = "asked"
"""The note of questions about failed jobs: by the job's id what was asked, when, and which models were offered."""

ANSWERED_WITHIN: Final = timedelta(hours=24)
"""A question about a failed job that nobody answers in this time ends the goal."""

_FAILED_LOOKED_AT = 8
"""Of more failed jobs of one goal the rest is left failed: nobody looks for their causes."""

_LAST_LINES = timedelta(seconds=2)
"""What a job has written comes another way than the news of its end."""


@dataclass(frozen=True, slots=True)
class _Left:
    """A failed job in whose place nothing is run."""

    job: Job
    remedy: Remedy
    diagnosis: Diagnosis | None


def decide(view: RunView, policy: RunPolicy) -> Move:
    """Return what follows for a goal whose jobs were launched."""
    failed = [job for job in view.current_jobs if job.state is JobState.FAILED]
    if not failed:
        return Watch("its jobs are queued or running")
    asks: list[AskPerson] = []
    left = [_Left(job, Remedy(RemedyKind.GIVE_UP, "too many jobs have failed"), None) for job in failed]
    left = left[_FAILED_LOOKED_AT:]
    for job in failed[:_FAILED_LOOKED_AT]:
        move = _about(view, policy, job)
        if isinstance(move, _Left):
            left.append(move)
        elif isinstance(move, AskPerson):
            asks.append(move)
        else:
            return move
    if any(not job.state.ended for job in view.jobs):
        return Watch("its other jobs are queued or running")
    if asks and not left:
        return asks[0]
    unasked = Remedy(RemedyKind.GIVE_UP, "nothing was asked about it, as another job is left failed anyway")
    asked = [next(job for job in failed if job.id == one.job_id) for one in asks]
    return _end(view, [*left, *(_Left(job, unasked, view.book.diagnoses.get(job.id)) for job in asked)])


def undiagnosed(view: RunView, job: Job) -> Diagnose | Watch | None:
    """Return that the cause of a failed job is to be found, once its last lines have had time to come in."""
    if job.id in view.book.diagnoses:
        return None
    if job.finished_at is not None and view.now - job.finished_at < _LAST_LINES:
        return Watch(f"waits for the last lines of {job.id}", seconds=_LAST_LINES.total_seconds())
    return Diagnose(job.id)


def waiting(view: RunView) -> Move | None:
    """Return what follows while a question about a failed job is open, or None if none is."""
    for job in view.current_jobs:
        note = view.book.notes.get(ASKED, {}).get(job.id)
        if note is None or job.state is not JobState.FAILED or note["field"] in view.answers:
            continue
        until = datetime.fromisoformat(note["at"]) + ANSWERED_WITHIN
        if view.now < until:
            return Watch(str(note["text"]), seconds=(until - view.now).total_seconds())
        text = f"nobody answered within {ANSWERED_WITHIN.total_seconds() / 3600:g} hours: {note['text']}"
        remedy = Remedy(RemedyKind.GIVE_UP, text, by_limit=True)
        return _end(view, [_Left(job, remedy, view.book.diagnoses.get(job.id))])
    return None


def offered(view: RunView, policy: RunPolicy, job: Job) -> tuple[Remedy, ...]:
    """Return what can be done about a failed job, in the order in which rules choose."""
    return remedies(_failure(view, job), _room(view, policy, job))


def _about(view: RunView, policy: RunPolicy, job: Job) -> Move | _Left:
    look = undiagnosed(view, job)
    if look is not None:
        return look
    diagnosis = view.book.diagnoses[job.id]
    denied = _denied(view, job)
    if denied:
        return _Left(job, Remedy(RemedyKind.GIVE_UP, denied), diagnosis)
    note = view.book.notes.get(ASKED, {}).get(job.id)
    said = None if note is None else view.answers.get(note["field"])
    answer = None if note is None or said is None else read_answer(said, tuple(note["gpu_types"]))
    if answer is not None:
        chosen = as_answered(_failure(view, job), _room(view, policy, job), answer)
    else:
        known = offered(view, policy, job)
        choice = _choice(view, job, known)
        if isinstance(choice, Choose):
            return choice
        chosen = choice
    if chosen.kind is RemedyKind.ASK:
        asked = len(view.book.notes.get(ASKED, {}))
        return AskPerson(job.id, "again" if not asked else f"again_{asked + 1}", chosen)
    if not chosen.kind.runs_again:
        return _Left(job, chosen, diagnosis)
    return _run_again(view, job, diagnosis, chosen)


def _choice(view: RunView, job: Job, known: tuple[Remedy, ...]) -> Choose | Remedy:
    """Return what is done, or that a model is to be asked: it may choose among the remedies, or none."""
    if view.run.reasoner == BY_RULES or all(one.kind is RemedyKind.GIVE_UP for one in known):
        return known[0]
    step = next((one for one in view.steps if one.intent.kind is StepKind.CHOOSE and one.intent.name == job.id), None)
    if step is None:
        return Choose(job.id, known)
    named = "" if step.outcome is None else choosing.choice_of(step.outcome)
    return next((one for one in known if one.kind.value == named), known[0])


def _denied(view: RunView, job: Job) -> str:
    """Return that running the job again was proposed and is not to be, or nothing."""
    for step in reversed(view.steps):
        outcome = step.outcome
        if step.intent.kind is not StepKind.REPLAN or step.intent.name != job.id or outcome is None:
            continue
        if outcome.status == ToolStatus.APPROVAL_REQUIRED and outcome.action_id is not None:
            decision = view.decision(outcome.action_id)
            outcome = Outcome("", {}) if decision is None else decision
        told = str(outcome.data.get("outcome", ""))
        return f"another try was proposed, and is not to be: {told or outcome.status or 'it was not decided'}"
    return ""


def _failure(view: RunView, job: Job) -> Failure:
    newest = job.allocations[-1] if job.allocations else None
    charged = [one for one in job.allocations if not one.waived]
    gpus = () if newest is None else [gpu for member in newest.members for gpu in member.gpu_uuids]
    sizes = [view.means.gpu_memory_bytes.get(gpu, 0) for gpu in gpus]
    return Failure(
        spec=job.spec,
        diagnosis=view.book.diagnoses[job.id],
        gpu_type="" if newest is None else newest.gpu_type,
        gpu_memory_bytes=max(sizes, default=0),
        used_seconds=sum(attempts.seconds_of(one) for one in charged),
        last_seconds=0.0 if newest is None else attempts.seconds_of(newest),
        stopped=any(attempts.was_stopped(one) for one in view.jobs),
    )


def _room(view: RunView, policy: RunPolicy, job: Job) -> Room:
    line = attempts.line_of(job, view.places)
    asked = view.book.notes.get(ASKED, {})
    tried = {(one.cause, one.change) for one in view.replans if one.job_id in line}
    tried |= {(view.book.diagnoses[one].cause, RemedyKind.ASK.value) for one in line if one in asked}
    deadline = None if view.goal is None or view.goal.plan is None else view.goal.plan.constraints.deadline_at
    return Room(
        replans_left=policy.replans - len(view.replans),
        replans_most=policy.replans,
        hosts=view.means.hosts,
        host_memory_bytes=view.means.host_memory_bytes,
        deadline_seconds=None if deadline is None else (deadline - view.now).total_seconds(),
        budget_left_usd=view.budget_left_usd,
        dependents=tuple(one.spec for one in attempts.waits_with(job, view.jobs, view.places)),
        tried=frozenset(tried),
        prices=view.prices,
    )


def _run_again(view: RunView, job: Job, diagnosis: Diagnosis, remedy: Remedy) -> RunAgain:
    key = f"{view.run.id}/{view.number}"
    together = (job, *attempts.waits_with(job, view.jobs, view.places))
    replan = Replan(
        job_id=job.id,
        cause=diagnosis.cause,
        remedy=remedy.kind,
        change=remedy.change,
        why=remedy.words,
        resources=remedy.resources,
        max_runtime_seconds=remedy.max_runtime_seconds,
        jobs=tuple((one.id, derived_id(JOB, key, one.id)) for one in together),
        evidence_ids=tuple(one.id for one in diagnosis.evidence),
    )
    others = f", and {len(together) - 1} that wait for it with it" if len(together) > 1 else ""
    return RunAgain(replan, f"{job.spec.name} ({job.id}) failed of {diagnosis.cause}: it is {remedy.words}{others}")


def _end(view: RunView, left: list[_Left]) -> Finish:
    """Return an honest end: what failed and why, why nothing more is tried, how every job ended, and the cost."""
    by_limit = any(one.remedy.by_limit for one in left)
    lines: list[str] = []
    for one in left:
        lines.append(f"{one.job.spec.name} ({one.job.id}) failed: {one.job.status_reason}")
        if one.diagnosis is not None:
            cited = ", ".join(item.id for item in one.diagnosis.evidence[:4]) or "no evidence"
            says = "" if one.diagnosis.by_rules else f"{one.diagnosis.diagnosed_by}, a model, says: "
            lines.append(f"{one.diagnosis.cause}: {says}{sentence(one.diagnosis.summary)} [{cited}]")
        lines.append(sentence(f"A limit ends it: {one.remedy.words}" if one.remedy.by_limit else one.remedy.words))
    done = sum(job.state is JobState.SUCCEEDED for job in view.current_jobs)
    lines += ["", f"{done} of {len(view.current_jobs)} jobs succeeded:", *attempts.told(view.jobs, view.replans)]
    lines.append(attempts.cost(view.jobs))
    first = left[0]
    reason = f"{first.job.spec.name} failed: {first.job.status_reason}"
    if by_limit:
        reason += f"; a limit ended it: {next(one.remedy.words for one in left if one.remedy.by_limit)}"
    evidence = [item.id for one in left if one.diagnosis is not None for item in one.diagnosis.evidence]
    state = RunState.LIMITED if by_limit else RunState.FAILED
    return Finish(state, "\n".join(lines), reason, tuple(dict.fromkeys((*view.evidence(), *evidence))))


def cut_short(view: RunView, used_up: str) -> Finish:
    """Return the end of a run whose own limit does not let it run a failed job again."""
    remedy = Remedy(RemedyKind.GIVE_UP, used_up, by_limit=True)
    failed = [job for job in view.current_jobs if job.state is JobState.FAILED]
    return _end(view, [_Left(job, remedy, view.book.diagnoses.get(job.id)) for job in failed])
