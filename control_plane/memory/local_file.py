"""The SQLite file of the local store. Everything here blocks and belongs to one thread."""

import sqlite3
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from control_plane.memory.contract import Vectors
from control_plane.memory.fusion import (
    CANDIDATES,
    EXACT_WEIGHT,
    VECTOR_WEIGHT,
    any_of,
    falling,
    fuse,
    relevance,
    terms_of,
)
from control_plane.memory.local_database import MemoryDatabase
from control_plane.memory.local_rows import (
    COLUMNS,
    INSERT,
    UPDATE,
    memory_of,
    micros,
    values_of,
    vector_of,
    words_of,
)
from control_plane.memory.sameness import is_told_already, merged, plain_name, same_key
from control_plane.memory.vector_index import Filter, VectorIndex
from control_plane.model.ids import MemoryId
from control_plane.model.memory import FoundMemory, Memory, MemoryKind, MemoryQuery

_DELETED_AT_ONCE: Final = 500


class MemoryFile:
    """One file, with the vectors of one embedder in memory beside it."""

    def __init__(self, path: Path, *, embedder: str, dimensions: int, floor: float, rows_per_tenant: int) -> None:
        self._embedder = embedder
        self._dimensions = dimensions
        self._floor = floor
        self._rows_per_tenant = rows_per_tenant
        self._index = VectorIndex(dimensions)
        self._database = MemoryDatabase(path, self._load)

    def guarded(self, now: datetime) -> AbstractContextManager[None]:
        """Give a context in which the methods may be called; what fails in it is Unavailable."""
        return self._database.guarded(now)

    def remember(self, memory: Memory, vector: Vectors | None) -> Memory:
        """Keep it, or add to the one that says the same; return what is kept now."""
        with self._database.change() as db:
            row = self._row(db, "same = ?", same_key(memory))
            if row is None:
                self._insert(db, memory, vector)
                return memory
            kept = memory_of(row)
            if is_told_already(kept, memory):
                return kept
            now_kept = merged(kept, memory)
            self._update(db, row["number"], now_kept, vector)
            return now_kept

    def take_in(self, memory: Memory, vector: Vectors | None) -> bool:
        """Keep it as it is; false if it is known."""
        with self._database.change() as db:
            if self._row(db, "id = ? OR same = ?", memory.id, same_key(memory)) is not None:
                return False
            self._insert(db, memory, vector)
            return True

    def search(self, query: MemoryQuery, vector: Vectors | None, now: datetime) -> tuple[FoundMemory, ...]:
        """Return the nearest, nearest first, and count them as used."""
        limit = max(1, min(query.limit, CANDIDATES))
        ranked = self._ranked(query, vector, micros(now), limit)
        terms = terms_of(query.text)
        found = []
        with self._database.change() as db:
            for number, cosine in ranked:
                row = self._row(db, "number = ?", number)
                if row is not None:
                    used = micros(now)
                    db.execute("UPDATE memories SET uses = uses + 1, last_used_at = ? WHERE number = ?", (used, number))
                    memory = memory_of(row)
                    score = relevance(terms, words_of(memory), cosine)
                    found.append(FoundMemory(replace(memory, uses=memory.uses + 1, last_used_at=now), score))
        scores = falling([one.score for one in found])
        return tuple(replace(one, score=score) for one, score in zip(found, scores, strict=True))

    def get(self, memory_id: MemoryId) -> Memory | None:
        """Return one, or None."""
        row = self._row(self._database.connection, "id = ?", memory_id)
        return None if row is None else memory_of(row)

    def page(
        self,
        kind: MemoryKind | None,
        limit: int,
        before: tuple[datetime, MemoryId] | None,
        *,
        oldest: bool = False,
        tenant: str | None = None,
    ) -> tuple[Memory, ...]:
        """Return those after `before`, newest first, or oldest first."""
        order, sign = ("ASC", ">") if oldest else ("DESC", "<")
        where, values = ["1"], list[object]()
        if kind is not None:
            where.append("kind = ?")
            values.append(kind.value)
        if tenant is not None:
            where.append("tenant IN ('', ?)")
            values.append(plain_name(tenant))
        if before is not None:
            where.append(f"(created_at, id) {sign} (?, ?)")
            values += [micros(before[0]), before[1]]
        rows = self._database.connection.execute(
            f"SELECT {COLUMNS} FROM memories WHERE {' AND '.join(where)} "  # noqa: S608 - of constants
            f"ORDER BY created_at {order}, id {order} LIMIT ?",
            (*values, limit),
        )
        return tuple(memory_of(row) for row in rows)

    def forget(self, memory_id: MemoryId) -> bool:
        """Delete one; false if there was none."""
        with self._database.change() as db:
            return self._delete(db, db.execute("SELECT number FROM memories WHERE id = ?", (memory_id,))) > 0

    def expire(self, now: datetime) -> int:
        """Delete what has expired, at most 500; return how many there were."""
        with self._database.change() as db:
            ended = "SELECT number FROM memories WHERE expires_at <= ? LIMIT ?"
            return self._delete(db, db.execute(ended, (micros(now), _DELETED_AT_ONCE)))

    def waiting(self, at_most: int) -> list[tuple[int, Memory]]:
        """Return numbers and memories whose vectors are not of this embedder."""
        rows = self._database.connection.execute(
            f"SELECT number, {COLUMNS} FROM memories WHERE embedder <> ? LIMIT ?",  # noqa: S608 - of constants
            (self._embedder, at_most),
        )
        return [(row["number"], memory_of(row)) for row in rows]

    def embed(self, embedded: Iterable[tuple[int, Memory, Vectors]]) -> int:
        """Store vectors of this embedder, unless the memory has changed meanwhile; return how many were."""
        done = 0
        with self._database.change() as db:
            for number, memory, vector in embedded:
                row = self._row(db, "number = ?", number)
                if row is not None and memory_of(row) == replace(memory, uses=row["uses"], last_used_at=_used(row)):
                    self._update(db, number, memory_of(row), vector)
                    done += 1
        return done

    def counts(self) -> tuple[int, int]:
        """Return how many memories there are, and how many of them wait to be embedded."""
        row = self._database.connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE embedder <> ?) FROM memories", (self._embedder,)
        )
        total, waiting = row.fetchone()
        return total, waiting

    def close(self) -> None:
        """Close the file; it is opened again where it is needed."""
        self._database.close()

    def _ranked(
        self, query: MemoryQuery, vector: Vectors | None, now: int, limit: int
    ) -> list[tuple[int, float | None]]:
        """Return numbers, best first, and how near each is; None where there is no vector to tell."""
        where, values = _condition(query, now)
        terms = terms_of(query.text)
        if not terms.words and (vector is None or not vector.any()):
            newest = f"SELECT number FROM memories m WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ?"  # noqa: S608
            return [(row["number"], None) for row in self._database.connection.execute(newest, (*values, limit))]
        wanted = Filter(("", query.tenant), query.kinds, now, self._numbers(query, where, values))
        near = [] if vector is None else self._index.nearest(vector, wanted, limit=CANDIDATES, floor=self._floor)

        def by(words: tuple[str, ...]) -> list[int]:
            if not words:
                return []
            rows = self._database.connection.execute(
                "SELECT m.number FROM words JOIN memories m ON m.number = words.rowid "  # noqa: S608 - of constants
                f"WHERE words MATCH ? AND {where} ORDER BY bm25(words), m.number LIMIT ?",
                (any_of(words), *values, CANDIDATES),
            )
            return [row["number"] for row in rows]

        rankings = [([number for number, _ in near], VECTOR_WEIGHT), (by(terms.words), 1 - VECTOR_WEIGHT)]
        if terms.exact:
            rankings.append((by(terms.exact), EXACT_WEIGHT))
        cosines = dict(near)
        told = vector is not None and bool(vector.any())
        return [(number, cosines.get(number, 0.0) if told else None) for number, _ in fuse(rankings)[:limit]]

    def _numbers(self, query: MemoryQuery, where: str, values: list[object]) -> list[int] | None:
        """Return the only rows that may be found, where what is asked is not in the index."""
        if not query.symptoms and not query.gpu_type:
            return None
        rows = self._database.connection.execute(f"SELECT number FROM memories m WHERE {where}", values)  # noqa: S608 - of constants
        return [row["number"] for row in rows]

    def _row(self, db: sqlite3.Connection, where: str, *values: object) -> sqlite3.Row | None:
        row: sqlite3.Row | None = db.execute(
            f"SELECT number, {COLUMNS} FROM memories WHERE {where} LIMIT 1",  # noqa: S608 - of constants
            values,
        ).fetchone()
        return row

    def _insert(self, db: sqlite3.Connection, memory: Memory, vector: Vectors | None) -> None:
        self._make_room(db, memory.tenant)
        number = db.execute(INSERT, values_of(memory, self._embedder, vector)).lastrowid
        assert number is not None
        self._add_terms(db, number, memory, vector)

    def _update(self, db: sqlite3.Connection, number: int, memory: Memory, vector: Vectors | None) -> None:
        db.execute(UPDATE, (*values_of(memory, self._embedder, vector), number))
        db.execute("DELETE FROM symptoms WHERE number = ?", (number,))
        db.execute("DELETE FROM words WHERE rowid = ?", (number,))
        self._add_terms(db, number, memory, vector)

    def _add_terms(self, db: sqlite3.Connection, number: int, memory: Memory, vector: Vectors | None) -> None:
        db.executemany("INSERT INTO symptoms (term, number) VALUES (?, ?)", [(one, number) for one in memory.symptoms])
        db.execute("INSERT INTO words (rowid, content) VALUES (?, ?)", (number, words_of(memory)))
        if vector is None:
            self._index.drop(number)
        else:
            self._index.put(number, memory.tenant, memory.kind, micros(memory.expires_at), vector)

    def _make_room(self, db: sqlite3.Connection, tenant: str) -> None:
        (kept,) = db.execute("SELECT count(*) FROM memories WHERE tenant = ?", (tenant,)).fetchone()
        if kept >= self._rows_per_tenant:
            oldest = "SELECT number FROM memories WHERE tenant = ? ORDER BY coalesce(last_used_at, created_at) LIMIT ?"
            self._delete(db, db.execute(oldest, (tenant, kept - self._rows_per_tenant + 1)))

    def _delete(self, db: sqlite3.Connection, numbers: Iterable[sqlite3.Row]) -> int:
        gone = [row["number"] for row in numbers]
        for number in gone:
            db.execute("DELETE FROM words WHERE rowid = ?", (number,))
            db.execute("DELETE FROM memories WHERE number = ?", (number,))
            self._index.drop(number)
        return len(gone)

    def _load(self, db: sqlite3.Connection) -> None:
        self._index = VectorIndex(self._dimensions)
        rows = db.execute(
            "SELECT number, tenant, kind, expires_at, vector FROM memories WHERE embedder = ?", (self._embedder,)
        )
        damaged = []
        for row in rows:
            vector = vector_of(row["vector"] or b"", self._dimensions)
            if vector is None:
                damaged.append((row["number"],))
            else:
                self._index.put(row["number"], row["tenant"], MemoryKind(row["kind"]), row["expires_at"], vector)
        db.executemany("UPDATE memories SET embedder = '', vector = NULL WHERE number = ?", damaged)


def _condition(query: MemoryQuery, now: int) -> tuple[str, list[object]]:
    where = ["m.tenant IN ('', ?)", "m.expires_at > ?"]
    values: list[object] = [query.tenant, now]
    if query.kinds:
        where.append(f"m.kind IN ({', '.join('?' * len(query.kinds))})")
        values += [kind.value for kind in query.kinds]
    if query.symptoms:
        marks = ", ".join("?" * len(query.symptoms))
        where.append(f"m.number IN (SELECT number FROM symptoms WHERE term IN ({marks}))")  # noqa: S608 - of marks
        values += query.symptoms
    if query.gpu_type:
        where.append("m.gpu_type IN ('', ?)")
        values.append(query.gpu_type)
    return " AND ".join(where), values


def _used(row: sqlite3.Row) -> datetime | None:
    return memory_of(row).last_used_at
