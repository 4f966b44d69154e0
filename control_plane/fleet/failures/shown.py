"""What a model is shown of a failed attempt: typed, bounded, numbered pieces of evidence, each with its id. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from control_plane.fleet.diagnosis import seen
from control_plane.fleet.failures.case import FailureCase, HostCondition, LogLine
from control_plane.fleet.failures.hardware import in_time
from control_plane.fleet.failures.templates import Template, templates
from control_plane.fleet.progress import describe, first_failure
from control_plane.model.diagnosis import EvidenceItem, EvidenceKind
from control_plane.model.health import ConditionSeverity
from control_plane.model.job import Allocation, AllocationMember

ITEMS_MAX = 40
"""Pieces of evidence that are shown at once."""

_MEMBERS = 4
_CONDITIONS = 8
_TEMPLATES = 14
_LAST_LINES = 8
_HEAD, _TAIL = 220, 80  # of a line; what tells stands at either end
_TEXT = 500


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of evidence, and what a model is told beside its text: where it is from and how often it was seen."""

    item: EvidenceItem
    about: str


def of_job(case: FailureCase, facts: Sequence[EvidenceItem] = ()) -> tuple[Piece, ...]:
    """Return what to show, the most telling first. `facts` are figures of telemetry."""
    attempt = case.attempt
    if attempt is None:
        return ()
    lines = _distinct(case.lines)
    ordered = templates(lines)
    telling = [one for one in ordered if one.telling]
    last = _last(lines, attempt)
    rest = [one for one in ordered if not one.telling][: max(0, _TEMPLATES - len(telling))]
    written: dict[str, Piece] = {}
    for piece in (*map(_of_template, telling[:_TEMPLATES]), *map(_of_line, last), *map(_of_template, rest)):
        written.setdefault(piece.item.id, piece)
    found = (
        *_ends(case, attempt),
        *_conditions(case, attempt),
        *written.values(),
        *(Piece(one, "measured by the host") for one in facts),
    )
    return found[:ITEMS_MAX]


def _distinct(lines: Iterable[LogLine]) -> list[LogLine]:
    return list({line.evidence_id: line for line in lines}.values())


def _ends(case: FailureCase, attempt: Allocation) -> Iterator[Piece]:
    first = first_failure(attempt)
    others = [one for one in attempt.members if one is not first]
    for member in ([first] if first is not None else []) + others[: _MEMBERS - 1]:
        yield Piece(
            EvidenceItem(
                f"job:{case.job.id}/attempt/{attempt.epoch}/rank/{member.rank}",
                EvidenceKind.JOB,
                f"{describe(member)}{_ran(member)}"[:_TEXT],
                member.ended_at,
            ),
            "how its host says that it ended" + (", the first of the gang" if member is first and others else ""),
        )


def _ran(member: AllocationMember) -> str:
    words = []
    if member.started_at is not None and member.ended_at is not None:
        words.append(f"ran {(member.ended_at - member.started_at).total_seconds():.0f} s")
    if member.peak_memory_bytes:
        words.append(f"host memory at most {member.peak_memory_bytes / 2**30:.1f} GiB")
    return f"; {', '.join(words)}" if words else ""


def _conditions(case: FailureCase, attempt: Allocation) -> Iterator[Piece]:
    """Yield what was wrong with a host meanwhile, the worst first, also what rules do not hold against the job."""
    seen = [
        one
        for one in case.conditions
        if one.condition.severity is not ConditionSeverity.INFO
        and any(member.node_id == one.node_id and in_time(member, one, attempt.ended_at) for member in attempt.members)
    ]
    seen.sort(key=lambda one: (-one.condition.severity, one.condition.first_seen_at, one.evidence_id))
    for one in seen[:_CONDITIONS]:
        yield Piece(
            EvidenceItem(
                one.evidence_id,
                EvidenceKind.CONDITION,
                (one.condition.summary or one.condition.kind)[:_TEXT],
                one.condition.first_seen_at,
            ),
            _of_condition(one, attempt),
        )


def _of_condition(one: HostCondition, attempt: Allocation) -> str:
    condition = one.condition
    code = f" {condition.code}" if condition.code else ""
    used = {uuid for member in attempt.members for uuid in member.gpu_uuids}
    where = "of a GPU of the job" if condition.gpu_uuid in used else f"of the {condition.scope.value}"
    often = f"{condition.severity.name.lower()}, {seen(condition.count)}"
    return f"{condition.kind}{code}, {often}, {where} on {one.node_name}"


def _last(lines: Sequence[LogLine], attempt: Allocation) -> list[LogLine]:
    """Return the last lines of the rank that failed first, or of all if it wrote nothing."""
    first = first_failure(attempt)
    own = [line for line in lines if first is None or line.rank == first.rank]
    return list(own or lines)[-_LAST_LINES:]


def _of_template(template: Template) -> Piece:
    line = template.last
    often = "" if template.count == 1 else f", the last of {template.count} lines that differ in numbers only"
    return Piece(_item(line), f"log of rank {line.rank}{often}")


def _of_line(line: LogLine) -> Piece:
    return Piece(_item(line), f"log of rank {line.rank}, among its last lines")


def _item(line: LogLine) -> EvidenceItem:
    return EvidenceItem(line.evidence_id, EvidenceKind.LOG, line.text.strip()[:_TEXT], line.at)


def cut(text: str) -> str:
    """Return the head and tail of a long text."""
    return text if len(text) <= _HEAD + _TAIL + 3 else f"{text[:_HEAD]} … {text[-_TAIL:]}"
