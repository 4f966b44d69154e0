"""The ledger's parts on the wire, both ways. What is read is in doubt until it is verified."""

from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp

from orquanta.ledger.checkpoint import Checkpoint, Start
from orquanta.ledger.records import LedgerRecord
from orquanta.v1 import audit_pb2


def write_checkpoint(value: Checkpoint) -> audit_pb2.AuditCheckpoint:
    """Return the message of a checkpoint."""
    signed_at = Timestamp()
    signed_at.FromDatetime(value.signed_at)
    return audit_pb2.AuditCheckpoint(
        origin=value.origin,
        size=value.size,
        root=value.root,
        signed_at=signed_at,
        note=value.note,
        signature=value.signature,
        public_key=value.public_key,
    )


def read_checkpoint(message: audit_pb2.AuditCheckpoint) -> Checkpoint:
    """Return the checkpoint of a message."""
    return Checkpoint(
        origin=message.origin,
        size=message.size,
        root=message.root,
        signed_at=message.signed_at.ToDatetime(UTC),
        signature=message.signature,
        public_key=message.public_key,
    )


def write_record(value: LedgerRecord) -> audit_pb2.AuditRecord:
    """Return a record with what verifies it; all that it says stands in its canonical and private text."""
    return audit_pb2.AuditRecord(
        id=value.id,
        previous_hash=value.previous_hash,
        hash=value.hash,
        canonical=value.canonical.encode(),
        private_json=value.private or "",
        private_key=value.private_key or b"",
        erased=value.private is None,
    )


def read_record(message: audit_pb2.AuditRecord) -> LedgerRecord:
    """Return the record of an export's message."""
    return LedgerRecord(
        id=message.id,
        previous_hash=message.previous_hash,
        hash=message.hash,
        canonical=message.canonical.decode(errors="replace"),
        private=None if message.erased else message.private_json,
        private_key=None if message.erased else message.private_key,
    )


def write_start(value: Start, *, origin: str, public_key: bytes) -> audit_pb2.AuditExportStart:
    """Return the message of where an export begins."""
    return audit_pb2.AuditExportStart(
        origin=origin,
        after_id=value.after_id,
        previous_hash=value.previous_hash,
        frontier=value.frontier,
        public_key=public_key,
    )


def read_start(message: audit_pb2.AuditExportStart) -> Start:
    """Return where an export begins."""
    return Start(message.after_id, message.previous_hash, tuple(message.frontier))
