"""How a diagnosis is scored: 0 if a root cause is missed, else the share of the named causes that are root causes.

The evidence counts as much: what is cited must exist as it is cited, and some of it must show the root cause.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evals.case import Verdict


@dataclass(frozen=True, slots=True)
class Cited:
    """A piece of evidence as it was cited."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Named:
    """What somebody says: every cause they name, and what they cite."""

    causes: tuple[str, ...]
    evidence: tuple[Cited, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """What is so. `shown_by` are words or ids of which one must be cited."""

    roots: frozenset[str]
    shown_by: tuple[str, ...]


def score(truth: Truth, named: Named, exists: Callable[[Cited], bool]) -> Verdict:
    """Score a diagnosis. `exists` says whether something is there just as it was cited."""
    named_once = frozenset(named.causes)
    missed = truth.roots - named_once
    false = [one.id for one in named.evidence if not exists(one)]
    shown = any(words in one.id or words in one.text for words in truth.shown_by for one in named.evidence)
    value, detail = len(truth.roots) / len(named_once) if named_once and not missed else 0.0, ""
    if missed:
        detail = f"missed {', '.join(sorted(missed))}; named {', '.join(named.causes) or 'nothing'}"
    elif false:
        value, detail = 0.0, f"cited what is not there: {', '.join(false)}"
    elif not shown:
        value, detail = 0.0, f"nothing that it cites shows it: {_ids(named.evidence)}"
    elif value < 1:
        detail = f"named {', '.join(named.causes)}"
    return Verdict(
        value,
        detail=detail,
        figures=(("roots_found", float(not missed)), ("evidence_cited", float(len(named.evidence)))),
    )


def _ids(evidence: Sequence[Cited]) -> str:
    return ", ".join(one.id for one in evidence) or "nothing"
