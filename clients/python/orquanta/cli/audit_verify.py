"""Verifies an audit on this machine, from an export or straight from the server, trusting nobody's word."""

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import typer

from orquanta.cli.formats import trouble
from orquanta.ledger.checkpoint import Checkpoint, origin_of
from orquanta.ledger.export_file import Erasure, Header, Part, read_lines
from orquanta.ledger.records import LedgerRecord
from orquanta.ledger.verify import Fault, FaultKind, Verdict, Verifier
from orquanta.types.audit import AuditVerdict

_KEY_BYTES = 32


def read_checkpoints(path: Path) -> list[Checkpoint]:
    """The checkpoints in a file, one a line. Raises a usage error."""
    try:
        with path.open(encoding="utf-8") as file:
            return [part for part in read_lines(file) if isinstance(part, Checkpoint)]
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} is no file of checkpoints: {trouble(error)}") from None


def read_key(text: str) -> bytes:
    """A public key: base64, or a file that holds it. Raises a usage error."""
    path = Path(text)
    try:
        key = base64.b64decode(path.read_text(encoding="utf-8").strip() if path.is_file() else text, validate=True)
    except (OSError, ValueError, binascii.Error):
        key = b""
    if len(key) != _KEY_BYTES:
        raise typer.BadParameter(f"{text!r} is no public key; give 32 bytes in base64, or a file that holds them")
    return key


def verify(parts: Iterable[Part], *, key: bytes | None, against: list[Checkpoint]) -> tuple[Verdict, bytes]:
    """How the log of an export stands, and the key that its checkpoints were held to.

    Without `key` the checkpoints that were kept elsewhere say which key to trust, and without them the export itself.
    Raises a usage error for what is no export.
    """
    verifier: Verifier | None = None
    trusted = key
    try:
        for part in parts:
            match part:
                case Header():
                    trusted = trusted or (against[0].public_key if against else part.public_key)
                    verifier = Verifier(trusted, against, part.start)
                case Checkpoint() if verifier is not None:
                    verifier.expect([part])
                case LedgerRecord() if verifier is not None:
                    verifier.feed(part)
                case Erasure() if verifier is not None:
                    verifier.excuse(part.record)
                case _:
                    raise typer.BadParameter("the export does not begin with its header")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if verifier is None or trusted is None:
        raise typer.BadParameter("the export is empty")
    return verifier.finish(), trusted


def of_whole_log(verdict: Verdict, server: AuditVerdict) -> Verdict:
    """The verdict on a log that a server serves.

    Where it does not begin at the first record, it must say why not. The columns that the server searches must be what
    was hashed, which the server alone can tell.
    """
    fault = verdict.fault
    if fault is None and verdict.after_id and not verdict.archived:
        text = f"the log begins after record {verdict.after_id}, and nothing in it says that those were archived"
        fault = Fault(FaultKind.DELETION, verdict.after_id, text)
    if fault is None and not server.intact:
        fault = Fault(FaultKind(server.fault), server.at_id, f"{server.text} (found by the server)")
    return replace(verdict, fault=fault)


def notes(verdict: Verdict) -> Iterator[str]:
    """What a person must know beside the verdict."""
    for record_id in verdict.breaks:
        yield (
            f"Record {record_id} says that the log is no continuation of what was signed before it: a backup was "
            "restored, or somebody has meddled. Look at it with: orquanta audit list --text audit.discontinued"
        )
    if verdict.after_id:
        yield f"The log begins after record {verdict.after_id}: what was before verifies by its own archives."
    for record_id in verdict.erased_later:
        yield f"Words were erased later, which record {record_id} says: see that it is in the log that went on."
    if verdict.last_id > max(verdict.signed_id, verdict.after_id):
        last = max(verdict.signed_id, verdict.after_id)
        yield f"No checkpoint covers what is after record {last} yet: only its chain was verified."


def document(verdict: Verdict, key: bytes) -> dict[str, object]:
    """The result for scripts."""
    fault = verdict.fault
    return {
        "intact": verdict.intact,
        "fault": None if fault is None else fault.kind.value,
        "at_id": None if fault is None else fault.at_id,
        "text": None if fault is None else fault.text,
        "records": verdict.records,
        "checkpoints": verdict.checkpoints,
        "after_id": verdict.after_id,
        "last_id": verdict.last_id,
        "signed_id": verdict.signed_id,
        "breaks": list(verdict.breaks),
        "erased_later": list(verdict.erased_later),
        "root": base64.b64encode(verdict.root).decode(),
        "origin": origin_of(key),
        "public_key": base64.b64encode(key).decode(),
    }
