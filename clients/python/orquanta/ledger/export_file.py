"""Exports of the audit: JSON lines, first a header, then records and checkpoints as they were sent."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO, TypeAlias

from orquanta.ledger.checkpoint import Checkpoint, Start
from orquanta.ledger.records import LedgerRecord

_LINE_CHARACTERS_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """Where an export begins, and by whose key it says it is signed: to be trusted only if learnt elsewhere."""

    origin: str
    public_key: bytes
    start: Start


@dataclass(frozen=True, slots=True)
class Erasure:
    """A record that stands later in the log than an archive goes, and says whose words were erased before it."""

    record: LedgerRecord


Part: TypeAlias = Header | LedgerRecord | Erasure | Checkpoint
"""What an export is made of."""


def header_line(header: Header) -> str:
    """Return the first line of an export."""
    return json.dumps(
        {
            "kind": "header",
            "version": 1,
            "origin": header.origin,
            "public_key": base64.b64encode(header.public_key).decode(),
            "after_id": header.start.after_id,
            "previous_hash": header.start.previous_hash.hex(),
            "frontier": [one.hex() for one in header.start.frontier],
        }
    )


def record_line(record: LedgerRecord) -> str:
    """Return a record's line."""
    return _record_line("record", record)


def erasure_line(record: LedgerRecord) -> str:
    """Return the line of a later record that explains why words are gone."""
    return _record_line("erasure", record)


def _record_line(kind: str, record: LedgerRecord) -> str:
    return json.dumps(
        {
            "kind": kind,
            "id": record.id,
            "previous_hash": record.previous_hash.hex(),
            "hash": record.hash.hex(),
            "canonical": record.canonical,
            "private": record.private,
            "private_key": None if record.private_key is None else record.private_key.hex(),
        },
        ensure_ascii=False,
    )


def checkpoint_line(checkpoint: Checkpoint) -> str:
    """Return a checkpoint's line; the same form stands alone in a file of checkpoints."""
    return json.dumps(
        {
            "kind": "checkpoint",
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": base64.b64encode(checkpoint.root).decode(),
            "signed_at": checkpoint.signed_at.isoformat(),
            "signature": base64.b64encode(checkpoint.signature).decode(),
            "public_key": base64.b64encode(checkpoint.public_key).decode(),
        }
    )


def read_lines(file: TextIO) -> Iterator[Part]:
    """Read an export, line by line. Raises ValueError, naming the line, for what is not one."""
    number = 0
    while line := file.readline(_LINE_CHARACTERS_MAX):
        number += 1
        if not line.strip():
            continue
        try:
            yield _read(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"line {number} is not of an audit export: {error}") from error


def _read_record(document: dict[str, Any]) -> LedgerRecord:  # Any: JSON that may be forged
    private, key = document["private"], document["private_key"]
    return LedgerRecord(
        id=int(document["id"]),
        previous_hash=bytes.fromhex(document["previous_hash"]),
        hash=bytes.fromhex(document["hash"]),
        canonical=str(document["canonical"]),
        private=None if private is None else str(private),
        private_key=None if key is None else bytes.fromhex(key),
    )


def _read(document: dict[str, Any]) -> Part:  # Any: JSON that may be forged
    kind = document["kind"]
    if kind in ("record", "erasure"):
        record = _read_record(document)
        return record if kind == "record" else Erasure(record)
    if kind == "checkpoint":
        return Checkpoint(
            origin=str(document["origin"]),
            size=int(document["size"]),
            root=base64.b64decode(document["root"], validate=True),
            signed_at=datetime.fromisoformat(document["signed_at"]),
            signature=base64.b64decode(document["signature"], validate=True),
            public_key=base64.b64decode(document["public_key"], validate=True),
        )
    if kind == "header":
        frontier = tuple(bytes.fromhex(one) for one in document["frontier"])
        start = Start(int(document["after_id"]), bytes.fromhex(document["previous_hash"]), frontier)
        return Header(str(document["origin"]), base64.b64decode(document["public_key"], validate=True), start)
    raise ValueError(f"unknown kind {kind!r}")
