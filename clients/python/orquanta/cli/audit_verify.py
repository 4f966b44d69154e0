"""Verifies an audit on this machine, from an export or straight from the server, trusting nobody's word."""

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path

import typer

from orquanta.ledger.checkpoint import Checkpoint, origin_of
from orquanta.ledger.export_file import Header, read_lines
from orquanta.ledger.records import LedgerRecord
from orquanta.ledger.verify import Verdict, Verifier

_KEY_BYTES = 32


def read_checkpoints(path: Path) -> list[Checkpoint]:
    """The checkpoints in a file, one a line. Raises a usage error."""
    try:
        with path.open(encoding="utf-8") as file:
            return [part for part in read_lines(file) if isinstance(part, Checkpoint)]
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} is no file of checkpoints: {error}") from None


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


def verify(
    parts: Iterable[Header | LedgerRecord | Checkpoint], *, key: bytes | None, against: list[Checkpoint]
) -> tuple[Verdict, bytes]:
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
                case _:
                    raise typer.BadParameter("the export does not begin with its header")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if verifier is None or trusted is None:
        raise typer.BadParameter("the export is empty")
    return verifier.finish(), trusted


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
        "last_id": verdict.last_id,
        "root": base64.b64encode(verdict.root).decode(),
        "origin": origin_of(key),
        "public_key": base64.b64encode(key).decode(),
    }
