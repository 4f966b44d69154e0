"""Why a job failed: gathers the evidence, asks the rules, and a model where they end. One way for everybody."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from typing_extensions import override

from control_plane.errors import NotFound
from control_plane.fleet.failures import shown
from control_plane.fleet.failures.case import LINES_MAX, FailureCase, HostCondition, LogLine
from control_plane.fleet.failures.causes import CAUSES, rules_end
from control_plane.fleet.failures.diagnose import diagnose
from control_plane.fleet.failures.hardware import cause_of
from control_plane.model.diagnosis import Diagnosis, EvidenceItem, EvidenceKind
from control_plane.model.health import Condition
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import NodeId
from control_plane.model.job import Allocation, Job
from control_plane.reasoning.contract import Purpose
from control_plane.store import conditions
from control_plane.store.database import Store, Tx
from control_plane.store.diagnoses import job_subject
from control_plane.telemetry.log_ending import just_ended, output_may_come
from control_plane.telemetry.logs import LogStore, Tail
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.definition import JobDiagnoser
from control_plane.tools.diagnosing import AGENT, ANSWER_SECONDS, Asker, Subject
from control_plane.tools.job_logs import log_evidence_id, log_lines
from control_plane.tools.model_cause import CauseQuestion
from control_plane.tools.references import job_to_read
from control_plane.tools.telemetry_facts import gpu_facts

_HISTORY_MAX: Final = 200
"""Changes of a host's conditions that are looked at, the newest."""
_HOSTS_MEASURED: Final = 4
_FACTS_MAX: Final = 8


class JobDiagnoses(JobDiagnoser):
    """Tells why jobs failed. A model is asked about each attempt once, and only for who may act on the job."""

    def __init__(self, store: Store, logs: LogStore, telemetry: TelemetryWindows, asker: Asker) -> None:
        self._store = store
        self._logs = logs
        self._telemetry = telemetry
        self._asker = asker

    @override
    async def of_job(
        self, principal: Principal, reference: str, attempt: int | None = None, *, seconds: float = ANSWER_SECONDS
    ) -> tuple[Job, Diagnosis]:
        """Return a job and why it failed. `seconds` is how long a model may take.

        Raises NotFound, or PermissionDenied for who may not read it.
        """
        case, may_come = await _gather(self._store, self._logs, principal, reference, attempt)
        rules = await asyncio.to_thread(_by_rules, case, may_come=may_come)
        if case.attempt is None or not self._asker.exists or not rules_end(case, rules):
            return case.job, rules
        question = await asyncio.to_thread(_question, case, case.attempt, rules, self._facts(case.attempt))
        subject = Subject(
            job_subject(case.job.id, case.attempt.epoch),
            "incomplete" if may_come else "",  # what is known of an attempt, once all of its output is there, stays
            Purpose(AGENT, user_id=principal.user_id, goal_id=case.job.goal_id),
            job_id=case.job.id,
        )
        found = await self._asker.answer(subject, question, may_ask=_may_act(principal, case.job), seconds=seconds)
        return case.job, found

    def _facts(self, attempt: Allocation) -> tuple[EvidenceItem, ...]:
        now = self._store.clock.now()
        found: list[EvidenceItem] = []
        for member in attempt.members[:_HOSTS_MEASURED]:
            ended_at = member.ended_at or attempt.ended_at or now
            age = max(0.0, (now - ended_at).total_seconds())
            found += gpu_facts(self._telemetry, member.node_id, member.node_name, member.gpu_uuids, age_seconds=age)
        return tuple(found[:_FACTS_MAX])


def _may_act(principal: Principal, job: Job) -> bool:
    """Tell whether somebody may have a model asked about a job: who may also stop it."""
    own = job.user_id == principal.user_id and principal.role.allows(Role.USER)
    return own or principal.role.allows(Role.OPERATOR)


def _question(
    case: FailureCase, attempt: Allocation, rules: Diagnosis, facts: tuple[EvidenceItem, ...]
) -> CauseQuestion:
    pieces = shown.of_job(case, facts)
    seen = {piece.item.id for piece in pieces if piece.item.kind is EvidenceKind.CONDITION}
    of_hosts = sorted({cause_of(one.condition) for one in case.conditions if one.evidence_id in seen})
    spec = case.job.spec
    gpus = sum(len(member.gpu_uuids) for member in attempt.members)
    return CauseQuestion(
        about=f"A job failed: attempt {attempt.epoch}, {len(attempt.members)} members on {gpus} GPUs, kind "
        f"{spec.template or ('an image' if spec.image else 'a command')}.",
        rules=rules,
        pieces=pieces,
        causes=(*CAUSES, *of_hosts),
    )


async def diagnose_job(
    store: Store, logs: LogStore, principal: Principal, reference: str, attempt: int | None = None
) -> tuple[Job, Diagnosis]:
    """Return a job and why it failed, by rules alone. Raises NotFound, or PermissionDenied for who may not read it."""
    case, may_come = await _gather(store, logs, principal, reference, attempt)
    # Matching some thousand lines takes a while; nobody else's call waits for it.
    return case.job, await asyncio.to_thread(_by_rules, case, may_come=may_come)


def _by_rules(case: FailureCase, *, may_come: bool) -> Diagnosis:
    found = diagnose(case)
    if may_come and rules_end(case, found):
        return replace(found, note="some of what it wrote may still be on its way: ask again in half a minute")
    return found


async def _gather(
    store: Store, logs: LogStore, principal: Principal, reference: str, attempt: int | None
) -> tuple[FailureCase, bool]:
    """Return what is known of an attempt, and whether some of its output may still come."""

    def read(tx: Tx) -> tuple[Job, Allocation | None, tuple[HostCondition, ...]]:
        job = job_to_read(tx, reference, principal)
        chosen = _attempt(job, attempt)
        return job, chosen, () if chosen is None else _conditions(tx, chosen)

    job, chosen, seen = await store.read(read)
    if chosen is None:
        return FailureCase(job, chosen, (), seen), False
    ranks = [member.rank for member in chosen.members]
    now = store.clock.now()
    tail = await logs.tail(job.id, chosen.epoch, ranks=ranks, lines=LINES_MAX, wait=just_ended(chosen, now))
    may_come = not tail.complete and output_may_come(chosen, now)
    return FailureCase(job, chosen, _lines(job, chosen, tail), seen), may_come


def _attempt(job: Job, number: int | None) -> Allocation | None:
    if number is None:
        return job.allocations[-1] if job.allocations else None
    for attempt in job.allocations:
        if attempt.epoch == number:
            return attempt
    raise NotFound(f"job {job.id} has no attempt {number}; it has had {job.epoch}", reason="ATTEMPT_NOT_FOUND")


def _conditions(tx: Tx, attempt: Allocation) -> tuple[HostCondition, ...]:
    names = {member.node_id: member.node_name for member in attempt.members}
    return tuple(one for node_id in names for one in _of_host(tx, node_id, names))


def _of_host(tx: Tx, node_id: NodeId, names: Mapping[NodeId, str]) -> list[HostCondition]:
    """Return what was wrong with a host, as it was last told: now, and in what its history still holds."""
    known: dict[str, Condition] = {}
    for change in reversed(conditions.history(tx, node_id, limit=_HISTORY_MAX)):
        known[change.condition.id] = change.condition
    known |= {one.id: one for one in conditions.of_node(tx, node_id)}
    return [HostCondition(f"condition:{node_id}/{one.id}", node_id, names[node_id], one) for one in known.values()]


def _lines(job: Job, attempt: Allocation, tail: Tail) -> tuple[LogLine, ...]:
    return tuple(
        LogLine(log_evidence_id(job.id, attempt.epoch, entry.rank, offset), entry.rank, text, entry.read_at)
        for entry, offset, text in log_lines(tail.entries)
    )
