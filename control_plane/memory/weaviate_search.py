"""What is found in a Weaviate server: rankings by meaning, by words and by exact terms, fused here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from weaviate.classes.query import BM25Operator, MetadataQuery, Sort

from control_plane.memory import weaviate_rows as rows
from control_plane.memory.contract import Vectors
from control_plane.memory.fusion import CANDIDATES, EXACT_WEIGHT, VECTOR_WEIGHT, falling, relevance, terms_of
from control_plane.memory.local_rows import words_of
from control_plane.model.memory import MemoryQuery

_EXACT_MAX: Final = 4
"""Exact terms of a query that are looked for, each in a search of its own."""


@dataclass(frozen=True, slots=True)
class Near:
    """What is near by meaning. `vector` has the shape (dimensions,), `distance` is 1 - cosine, at most."""

    vector: Vectors
    vector_name: str
    distance: float


async def ranked(
    tenant: Any, query: MemoryQuery, near: Near | None, now: int
) -> list[tuple[Sequence[Any], float]]:  # Any: the client's collection of a tenant, and objects as it gives them
    """Return what a tenant has in each ranking, best first, with the ranking's weight."""
    asked: dict[str, Any] = {"filters": rows.filters_of(query, now), "limit": CANDIDATES}  # Any: arguments
    terms = terms_of(query.text)
    if not query.text:
        newest = Sort.by_property("created_at", ascending=False).by_property("memory_id", ascending=False)
        return [((await tenant.query.fetch_objects(sort=newest, **asked)).objects, 1.0)]
    # Fused here and not by the server: its hybrid search with a bound on the distance finds nothing by words that
    # has no vector of this embedder yet.
    by_meaning: Sequence[Any] = ()  # Any: as above
    if near is not None:
        by_meaning = (
            await tenant.query.near_vector(
                near_vector=near.vector.tolist(),
                target_vector=near.vector_name,
                distance=near.distance,
                return_metadata=MetadataQuery(distance=True),
                **asked,
            )
        ).objects
    asked |= {"query_properties": ["words"], "return_metadata": MetadataQuery(score=True)}
    words = " ".join(terms.words)
    by_words = (await tenant.query.bm25(query=words, **asked)).objects if words else ()
    rankings: list[tuple[Sequence[Any], float]] = [(by_meaning, VECTOR_WEIGHT), (by_words, 1 - VECTOR_WEIGHT)]
    if terms.exact:
        # Each as a whole: `gpu-a-17` is three words to the server, and all of them have to be there.
        exact = [
            await tenant.query.bm25(query=term, operator=BM25Operator.and_(), **asked)
            for term in terms.exact[:_EXACT_MAX]
        ]
        rankings.append((list({one.uuid: one for answer in exact for one in answer.objects}.values()), EXACT_WEIGHT))
    return rankings


def nearness(found: Any, rank: int) -> float:  # Any: an object as the client gives it
    """Return what objects of several tenants can be ordered by: the larger the nearer."""
    told = found.metadata
    if told.distance is not None:
        return -float(told.distance)
    return float(told.score) if told.score is not None else -float(rank)


def scores(
    text: str, found: Sequence[tuple[Any, float]], vector: Vectors | None
) -> list[float]:  # Any: an object as the client gives it
    """Return how well each fits, best first; without a vector of the query, words alone tell."""
    terms, told = terms_of(text), vector is not None and bool(vector.any())
    return falling([relevance(terms, words_of(rows.memory_of(one)), cosine if told else None) for one, cosine in found])


def newest(found: dict[str, tuple[Any, Any]]) -> list[tuple[str, float]]:  # Any: tenant and object
    """Return all that was found for a query without a text, newest first, each with the score 0."""

    def age(key: str) -> tuple[int, str]:
        told = found[key][1].properties
        return told["created_at"], told["memory_id"]

    return [(key, 0.0) for key in sorted(found, key=age, reverse=True)]
