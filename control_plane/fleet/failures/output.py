"""Looks at what a job wrote. Every line is a stranger's: it is evidence, and cut short."""

from collections.abc import Iterator, Sequence

from control_plane.fleet.failures.case import LINES_MAX, FailureCase, LogLine
from control_plane.fleet.failures.finding import Finding, Rank
from control_plane.fleet.failures.signatures import SIGNATURES, Signature
from control_plane.model.diagnosis import EvidenceItem, EvidenceKind

_LINE_CHARACTERS_MAX = 2_000
_TEXT_MAX = 500
_PER_CAUSE_MAX = 3


def output(case: FailureCase) -> Iterator[Finding]:
    """Yield what the lines tell: for each cause the first lines that say so."""
    by_cause: dict[str, list[tuple[Signature, LogLine]]] = {}
    for line in case.lines[-LINES_MAX * max(1, len(_ranks(case.lines))) :]:
        signature = _match(line.text[:_LINE_CHARACTERS_MAX].strip())
        if signature is not None:
            by_cause.setdefault(signature.cause, []).append((signature, line))
    for seen in by_cause.values():
        yield _finding(seen)


def _ranks(lines: Sequence[LogLine]) -> set[int]:
    return {line.rank for line in lines}


def _match(text: str) -> Signature | None:
    """Return the first signature of the table that the line carries: the more telling ones stand first."""
    return next((one for one in SIGNATURES if one.pattern.search(text)), None)


def _finding(seen: list[tuple[Signature, LogLine]]) -> Finding:
    signature = seen[0][0]
    # An exception that nobody knows better is told last: the earlier ones may have been handled.
    chosen = seen[-_PER_CAUSE_MAX:] if signature.cause == "EXCEPTION" else seen[:_PER_CAUSE_MAX]
    lines = [line for _, line in chosen]
    where = f" on rank {lines[0].rank}" if signature.rank is not Rank.CONSEQUENCE else ""
    return Finding(
        rank=Rank.HINT if signature.cause == "EXCEPTION" else signature.rank,
        cause=signature.cause,
        fault=signature.fault,
        summary=f"{signature.summary}{where}: {_short(lines[0].text)}",
        advice=signature.advice,
        confidence=signature.confidence,
        evidence=tuple(
            EvidenceItem(line.evidence_id, EvidenceKind.LOG, _short(line.text, _TEXT_MAX), line.at) for line in lines
        ),
        at=lines[0].at,
    )


def _short(text: str, most: int = 160) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text.strip())
    return printable if len(printable) <= most else printable[: most - 1] + "…"
