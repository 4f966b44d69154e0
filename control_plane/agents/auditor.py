"""Signs checkpoints of the audit, hands them on to be kept elsewhere, and archives what is older than its keep.

It signs nothing anew in silence: where the log is not the one that it signed last, because a backup was restored or
somebody has meddled, it says so in the log itself before it signs on.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import structlog
from typing_extensions import override

from control_plane.agents.audit_files import Archiving, append_line, last_checkpoint
from control_plane.agents.loop import Agent
from control_plane.bus.client import Bus
from control_plane.bus.subjects import EventNoun, event
from control_plane.errors import Conflict, OrQuantaError
from control_plane.store import audit, checkpoints
from control_plane.store.checkpoints import Archive, Standing
from control_plane.store.database import Store, Tx
from orquanta.ledger.checkpoint import Checkpoint, Start
from orquanta.ledger.export_file import Header, checkpoint_line, erasure_line, header_line, record_line
from orquanta.ledger.merkle import Frontier
from orquanta.ledger.records import LedgerRecord
from orquanta.ledger.signatures import Signer, is_signed_by
from orquanta.ledger.wire import write_checkpoint

log = structlog.get_logger()

NAME = "auditor"
_LOOK_SECONDS = 1.0
_RECORDS_PER_CHECKPOINT = 256
_SECONDS_PER_CHECKPOINT = 60.0
_CHUNK = 5_000
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
        newest, _ = await self._store.read(audit.newest)
        if self._tree is None or newest < self._tree.size:
            self._tree = await self._resume()
            newest, _ = await self._store.read(audit.newest)
        fresh = newest - self._tree.size
        waited = self._store.clock.monotonic() - self._signed_at
        if fresh < _RECORDS_PER_CHECKPOINT and (fresh == 0 or waited < _SECONDS_PER_CHECKPOINT):
            return ""
        tree = await self._grown(self._tree, newest)
        if await self._store.read(lambda tx: checkpoints.get(tx, newest)) is not None:
            return ""  # left over from a log that was cut off; what was signed is not signed again
        checkpoint = self._signer.sign(tree.size, tree.root(), self._store.clock.now())
        await self._store.write(lambda tx: checkpoints.insert_checkpoint(tx, checkpoint, tree.subtrees))
        self._tree = tree
        self._signed_at = self._store.clock.monotonic()
        self._unpublished.append(checkpoint)
        await self._publish()
        self.count("checkpoints")
        return f"signed a checkpoint over {checkpoint.size} records"

    async def _grown(self, tree: Frontier, size: int) -> Frontier:
        """Return a copy of the tree with the hashes of the log up to a size."""
        grown = Frontier.restore(tree.size, tree.subtrees)
        while grown.size < size:
            most = min(_CHUNK, size - grown.size)
            found = await self._store.read(partial(audit.hashes, after_id=grown.size, limit=most))
            for one in found:
                grown.append(one)
            if not found:
                raise Conflict(f"the audit ends at record {grown.size}, though it had {size}; restore a backup")
        return grown

    async def _resume(self) -> Frontier:
        """Return the tree to go on from: that of the newest checkpoint, if the log is still what was signed."""
        kept = await asyncio.to_thread(last_checkpoint, self._terms.checkpoint_file, self._signer.public_key)
        standing = await self._store.read(lambda tx: checkpoints.standing(tx, kept))
        fault = _fault(standing, kept, self._signer.public_key)
        if not fault and standing.newest is None:
            return Frontier()
        if not fault and standing.newest is not None:
            self._unpublished = [one for one in standing.later if one.size > (0 if kept is None else kept.size)]
            return standing.newest[1]
        log.error("auditor.log_discontinued", fault=fault, newest_id=standing.newest_id)
        size, root = (0, b"") if kept is None else (kept.size, kept.root)
        await self._store.write(lambda tx: audit.append_break(tx, agent_name=NAME, fault=fault, size=size, root=root))
        start = await self._store.read(checkpoints.start)
        return await self._grown(Frontier.restore(start.after_id, start.frontier), standing.newest_id)

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
                await asyncio.to_thread(append_line, self._terms.checkpoint_file, checkpoint_line(checkpoint))
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
        with Archiving(self._terms.folder / name) as file:
            file.line(header_line(header))
            last_hash, after = start.previous_hash, start.after_id
            wordless = False
            while after < checkpoint.size:
                until = min(after + _CHUNK, checkpoint.size)
                signed = await self._store.read(
                    partial(checkpoints.between, after=after, up_to=until, limit=_CHUNK)  # one a record at most
                )
                records = await self._store.read(partial(audit.ledger, after_id=after, limit=until - after))
                await asyncio.to_thread(_write, file, signed, records)
                if records:
                    last_hash, after = records[-1].hash, records[-1].id
                wordless = wordless or any(record.private is None for record in records)
                if after != until:
                    raise Conflict(f"the audit ends at record {after}, though it had {until}; restore a backup")
            if wordless:
                for record in await self._store.read(partial(audit.erasures, after_id=checkpoint.size)):
                    file.line(erasure_line(record))
            digest = file.finish()
        archive = Archive(checkpoint.size, last_hash, name, digest)

        def drop(tx: Tx) -> None:
            checkpoints.drop_archived(tx, archive)
            reason = f"older than {self._terms.keep_days} days"
            audit.append_archived(tx, agent_name=NAME, reason=reason, name=name, sha256=digest, up_to=archive.up_to)

        await self._store.write(drop)
        return f"archived {checkpoint.size - start.after_id} records to {name}"


def _write(file: Archiving, signed: Iterable[Checkpoint], records: Iterable[LedgerRecord]) -> None:
    # Checkpoints first: who verifies computes each root as it passes by.
    for one in signed:
        file.line(checkpoint_line(one))
    for record in records:
        file.line(record_line(record))


def _fault(standing: Standing, kept: Checkpoint | None, public_key: bytes) -> str:
    """Return why the log is not the one that was signed last, or an empty text."""
    size = 0
    if standing.newest is not None:
        newest, tree = standing.newest
        size = newest.size
        if not is_signed_by(newest, public_key) or tree.root() != newest.root:
            return f"the newest checkpoint in the database, over {size} records, is not what this key has signed"
    if size > standing.newest_id:
        return f"a checkpoint was signed over {size} records, but the log ends at record {standing.newest_id}"
    if kept is not None and standing.at_kept != kept.root:
        return f"the log is not a continuation of the checkpoint over {kept.size} records that is kept in a file"
    return ""


def _archivable(tx: Tx, before: datetime) -> tuple[Start, Checkpoint] | None:
    """Return where the log begins and the newest checkpoint over nothing but records from before this time."""
    start = checkpoints.start(tx)
    last_old = audit.last_before(tx, before)
    checkpoint = checkpoints.newest_older_than(tx, last_old)
    return None if checkpoint is None or checkpoint.size <= start.after_id else (start, checkpoint)
