"""Rankings become one with a score, and what a person wrote becomes a query of words that cannot be anything else."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

VECTOR_WEIGHT: Final = 0.7
"""The other 0.3 is that of words: with paraphrases, plain fusion lets words outvote meaning."""
EXACT_WEIGHT: Final = 0.5
"""On top, for exact terms: an Xid or a node's name that is asked for decides."""
CANDIDATES: Final = 50
"""So many of each ranking are looked at."""
_K: Final = 60  # of reciprocal rank fusion (Cormack and others, 2009)
_TERMS_MAX: Final = 24
_TERM_MAX: Final = 64
_QUERY_MAX: Final = 2_000
_TERM: Final = re.compile(r"\w+(?:[:.\-/]\w+)*")
_PARTS: Final = re.compile(r"\w+")
_COMMON_WORDS: Final = (
    "a an and are as at be been but by can did do does for from had has have how i in is it its me my no not of on or "
    "our so that the their then there this to was we were what when where which who why will with you your"
)
_COMMON: Final = frozenset(_COMMON_WORDS.split())

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Terms:
    """The words of a query. `exact` are those with a digit: ids, names of hosts, codes."""

    words: tuple[str, ...]
    exact: tuple[str, ...]


def terms_of(text: str) -> Terms:
    """Return the words of a text, at most 24; `xid:79` and `gpu-a-17` stay whole, `out-of-memory` does not."""
    found: dict[str, None] = {}
    for match in _TERM.finditer(text[:_QUERY_MAX]):
        term = match.group().lower()[:_TERM_MAX]
        found.update(dict.fromkeys([term] if _is_exact(term) else _PARTS.findall(term)))
    words = [word for word in found if word not in _COMMON][:_TERMS_MAX]
    exact = [word for word in words if _is_exact(word)]
    return Terms(tuple(words), tuple(exact))


def _is_exact(term: str) -> bool:
    return len(term) > 1 and any(one.isdigit() for one in term)


def any_of(terms: Sequence[str]) -> str:
    """Return an FTS5 query for any of the terms. Each is a quoted phrase: no character of it is an operator."""
    return " OR ".join(f'"{_quoted(term)}"' for term in terms)


def _quoted(term: str) -> str:
    return term.replace("\0", " ").replace('"', '""')


def relevance(terms: Terms, content: str, cosine: float | None) -> float:
    """Return how well a memory fits a query, 0 to 1: nearness of meaning, share of its words, share of exact terms.

    The weights are those of the rankings. `content` is what is found by words; `cosine` is None without an embedder.
    """
    lower = content.lower()
    there = frozenset(_PARTS.findall(lower)) | frozenset(_TERM.findall(lower))
    parts = [] if cosine is None else [(min(max(cosine, 0.0), 1.0), VECTOR_WEIGHT)]
    parts += [
        (sum(one in there for one in words) / len(words), weight)
        for words, weight in ((terms.words, 1 - VECTOR_WEIGHT), (terms.exact, EXACT_WEIGHT))
        if words
    ]
    total = sum(weight for _, weight in parts)
    return sum(share * weight for share, weight in parts) / total if total else 0.0


def falling(scores: Sequence[float]) -> list[float]:
    """Return scores of a ranking so that none is below one that is ranked behind it."""
    best, found = 0.0, []
    for score in reversed(scores):
        best = max(best, score)
        found.append(best)
    return found[::-1]


def fuse(rankings: Sequence[tuple[Sequence[_Key], float]]) -> list[tuple[_Key, float]]:
    """Return the keys of rankings, each with its weight, by reciprocal rank, best first; 1 is first in every ranking.

    Shapes: each ranking is best first. Keys of equal score stay in the order of the first ranking.
    """
    total = sum(weight for _, weight in rankings)
    scores: dict[_Key, float] = {}
    for ranking, weight in rankings:
        for rank, key in enumerate(ranking):
            scores[key] = scores.get(key, 0.0) + weight / total * (_K + 1) / (_K + 1 + rank)
    return sorted(scores.items(), key=lambda item: -item[1])
