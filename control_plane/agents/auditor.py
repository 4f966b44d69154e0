"""Signs checkpoints of the audit, hands them on to be kept elsewhere, and archives what is older than its keep."""

import asyncio
import hashlib
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from typing_extensions import override

from control_plane.agents.loop import Agent
from control_plane.bus.client import Bus
from control_plane.bus.subjects import EventNoun, event
from control_plane.errors import OrQuantaError
from control_plane.store import audit, checkpoints
from control_plane.store.checkpoints import Archive
from control_plane.store.database import Store, Tx
from orquanta.ledger.checkpoint import Checkpoint, Start
from orquanta.ledger.export_file import Header, checkpoint_line, header_line, record_line
from orquanta.ledger.merkle import Frontier
from orquanta.ledger.signatures import Signer
from orquanta.ledger.wire import write_checkpoint

log = structlog.get_logger()

NAME = "auditor"
_LOOK_SECONDS = 1.0
_RECORDS_PER_CHECKPOINT = 256
_SECONDS_PER_CHECKPOINT = 60.0
_CHUNK = 5_000
_PRIVATE = 0o600
_SECONDS_PER_ARCHIVE = 3_600.0


@dataclass(frozen=True, slots=True)
class AuditTerms:
    """Where checkpoints are also written to, and how long records stay in the database; 0 days is for good.

    Archives go to `folder` as JSON lines, which `orquanta audit verify` reads, before anything is deleted.
    """

    folder: Path
    checkpoint_file: Path
    keep_days: int = 0


class Auditor(Agent):
    """Signs after every 256 records or 60 seconds, whichever is first, if there is anything to sign."""

    name = NAME
    event_driven = False

    def __init__(self, store: Store, bus: Bus, signer: Signer, terms: AuditTerms) -> None:
        super().__init__(store, interval_seconds=_LOOK_SECONDS)
        self._bus = bus
        self._signer = signer
        self._terms = terms
        self._tree: Frontier | None = None
        self._signed_at = 0.0
        self._unpublished: list[Checkpoint] = []
        self._archived_at = store.clock.monotonic()

    @override
    async def round(self) -> str:
        """Sign if it is time, publish what was signed, and once in a while archive."""
        await self._publish()
        if self._store.clock.monotonic() - self._archived_at >= _SECONDS_PER_ARCHIVE:
            self._archived_at = self._store.clock.monotonic()
            archived = await self._archive()
            if archived:
                return archived
        return await self._sign_if_due()

    async def _sign_if_due(self) -> str:
        if self._tree is None:
            self._tree = await self._store.read(_last_tree)
        newest, _ = await self._store.read(audit.newest)
        fresh = newest - self._tree.size
        waited = self._store.clock.monotonic() - self._signed_at
        if fresh < _RECORDS_PER_CHECKPOINT and (fresh == 0 or waited < _SECONDS_PER_CHECKPOINT):
            return ""
        tree = Frontier.restore(self._tree.size, self._tree.subtrees)
        while tree.size < newest:
            most = min(_CHUNK, newest - tree.size)
            for one in await self._store.read(partial(audit.hashes, after_id=tree.size, limit=most)):
                tree.append(one)
        checkpoint = self._signer.sign(tree.size, tree.root(), self._store.clock.now())
        await self._store.write(lambda tx: checkpoints.insert_checkpoint(tx, checkpoint, tree.subtrees))
        self._tree = tree
        self._signed_at = self._store.clock.monotonic()
        self._unpublished.append(checkpoint)
        await self._publish()
        self.count("checkpoints")
        return f"signed a checkpoint over {checkpoint.size} records"

    async def _publish(self) -> None:
        """Hand checkpoints on, oldest first; what cannot be handed on now waits for the next round."""
        while self._unpublished:
            checkpoint = self._unpublished[0]
            try:
                await self._bus.publish_event(
                    event(EventNoun.AUDIT, "checkpoint"),
                    write_checkpoint(checkpoint).SerializeToString(),
                    message_id=f"checkpoint-{checkpoint.origin}-{checkpoint.size}",
                )
                await asyncio.to_thread(_append, self._terms.checkpoint_file, checkpoint_line(checkpoint))
            except (OrQuantaError, OSError) as error:
                log.warning("auditor.checkpoint_waits", size=checkpoint.size, error=str(error))
                return
            del self._unpublished[0]

    async def _archive(self) -> str:
        """Write out what is older than its keep, up to a checkpoint, and delete it from the database."""
        if not self._terms.keep_days:
            return ""
        before = self._store.clock.now() - timedelta(days=self._terms.keep_days)
        plan = await self._store.read(lambda tx: _archivable(tx, before))
        if plan is None:
            return ""
        start, checkpoint = plan
        name = f"audit-{start.after_id + 1}-{checkpoint.size}.jsonl"
        header = Header(self._signer.origin, self._signer.public_key, start)
        with _Archiving(self._terms.folder / name) as file:
            file.line(header_line(header))
            last_hash, after = start.previous_hash, start.after_id
            while after < checkpoint.size:
                most = min(_CHUNK, checkpoint.size - after)
                for record in await self._store.read(partial(audit.ledger, after_id=after, limit=most)):
                    file.line(record_line(record))
                    last_hash, after = record.hash, record.id
            signed = await self._store.read(
                lambda tx: checkpoints.between(tx, after=start.after_id, up_to=checkpoint.size, limit=1_000_000)
            )
            for one in signed:
                file.line(checkpoint_line(one))
            digest = file.finish()
        archive = Archive(checkpoint.size, last_hash, name, digest)

        def drop(tx: Tx) -> None:
            checkpoints.drop_archived(tx, archive)
            audit.append(
                tx,
                agent_name=NAME,
                action="audit.archived",
                reasoning=f"older than {self._terms.keep_days} days",
                outcome="done",
                payload={"archive": name, "sha256": digest, "up_to": archive.up_to},
            )

        await self._store.write(drop)
        return f"archived {checkpoint.size - start.after_id} records to {name}"


def _last_tree(tx: Tx) -> Frontier:
    found = checkpoints.newest(tx)
    return Frontier() if found is None else found[1]


def _archivable(tx: Tx, before: datetime) -> tuple[Start, Checkpoint] | None:
    """Return where the log begins and the newest checkpoint over nothing but records from before this time."""
    start = checkpoints.start(tx)
    last_old = audit.last_before(tx, before)
    checkpoint = checkpoints.newest_older_than(tx, last_old)
    return None if checkpoint is None or checkpoint.size <= start.after_id else (start, checkpoint)


class _Archiving:
    """A file that appears under its name only once it is whole and on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_suffix(".part")
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def line(self, text: str) -> None:
        """Add a line."""
        data = text.encode("utf-8", "surrogatepass") + b"\n"
        self._digest.update(data)
        self._file.write(data)

    def finish(self) -> str:
        """Put the file in its place and return its SHA-256, in hex."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.chmod(_PRIVATE)
        self._part.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self._digest.hexdigest()


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
