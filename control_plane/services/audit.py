"""AuditService: every decision and its reason, and the proof that none was changed."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import partial
from typing import Final

from typing_extensions import override

from control_plane.errors import InvalidArgument, NotFound
from control_plane.model.identity import Role
from control_plane.model.ids import ACTION, GOAL, JOB, NODE, RUN, UserId
from control_plane.services.caller import person
from control_plane.services.convert import records as convert
from control_plane.services.mutations import mutation
from control_plane.services.paging import Paging
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.others import moment
from control_plane.store import audit, checkpoints, users
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from orquanta.ledger import wire
from orquanta.ledger.checkpoint import Checkpoint
from orquanta.ledger.records import LedgerRecord
from orquanta.ledger.signatures import Signer
from orquanta.ledger.verify import Verdict, Verifier
from orquanta.v1 import audit_pb2
from orquanta.v1.audit_pb2_grpc import AuditServiceServicer

AGENT_NAME_CHARACTERS_MAX = 254
_TEXT_CHARACTERS_MAX = 200
_CHUNK: Final = 500
_MESSAGE_CHARACTERS_MAX: Final = 1 << 20


class Audit(AuditServiceServicer):
    """Serves the audit."""

    def __init__(self, *, store: Store, signer: Signer) -> None:
        self._store = store
        self._signer = signer
        self._one = asyncio.Semaphore()

    @override
    async def ListAuditRecords(
        self, request: audit_pb2.ListAuditRecordsRequest, context: object
    ) -> audit_pb2.ListAuditRecordsResponse:
        fields = Fields()
        caller = person()
        goal_id = fields.optional_id("goal_id", GOAL, request.goal_id)
        job_id = fields.optional_id("job_id", JOB, request.job_id)
        node_id = fields.optional_id("node_id", NODE, request.node_id)
        action_id = fields.optional_id("action_id", ACTION, request.action_id)
        run_id = fields.optional_id("run_id", RUN, request.run_id)
        which = AuditFilter(
            goal_id=goal_id or "",
            job_id=job_id or "",
            node_id=node_id or "",
            agent_name=fields.text("agent_name", request.agent_name, most=AGENT_NAME_CHARACTERS_MAX, one_line=True),
            action_id=action_id or "",
            run_id=run_id or "",
            text=fields.text("text", request.text, most=_TEXT_CHARACTERS_MAX),
            since=moment(fields, "since", request.since) if request.HasField("since") else None,
            until=moment(fields, "until", request.until) if request.HasField("until") else None,
            user_id=None if caller.role.allows(Role.OPERATOR) else caller.user_id,
        )
        fields.check()
        paging = Paging(request)
        page = await self._store.read(lambda tx: audit.page(tx, which, paging.wanted))
        return audit_pb2.ListAuditRecordsResponse(
            records=[convert.audit_record(record) for record in page.items],
            next_page_token=paging.next(page.next_token),
        )

    @override
    async def ExportAudit(
        self, request: audit_pb2.ExportAuditRequest, context: object
    ) -> AsyncIterator[audit_pb2.ExportAuditResponse]:
        """Send what can be verified: everything from the beginning, or whatever follows a checkpoint."""
        start = await self._store.read(checkpoints.start)
        if request.from_id > start.after_id + 1:
            at = request.from_id - 1
            found = await self._store.read(lambda tx: checkpoints.start_at(tx, at))
            if found is None:
                raise InvalidArgument(
                    f"an export can begin only after a checkpoint, and there is none over exactly {at} records; "
                    "list them with: orquanta audit checkpoints",
                    reason="EXPORT_START_UNKNOWN",
                )
            start = found
        yield audit_pb2.ExportAuditResponse(
            start=wire.write_start(start, origin=self._signer.origin, public_key=self._signer.public_key)
        )
        after = start.after_id
        while True:
            records, signed = await self._store.read(partial(_chunk, after=after))
            # First what records are held to, then the records: who verifies computes each root as it passes by.
            if signed:
                yield audit_pb2.ExportAuditResponse(checkpoints=[wire.write_checkpoint(one) for one in signed])
            if not records:
                return
            after = records[-1].id
            for part in _parts(records):
                yield audit_pb2.ExportAuditResponse(records=[wire.write_record(one) for one in part])

    @override
    async def ListCheckpoints(
        self, request: audit_pb2.ListCheckpointsRequest, context: object
    ) -> audit_pb2.ListCheckpointsResponse:
        paging = Paging(request)
        page = await self._store.read(lambda tx: checkpoints.page(tx, paging.wanted))
        return audit_pb2.ListCheckpointsResponse(
            checkpoints=[wire.write_checkpoint(one) for one in page.items],
            next_page_token=paging.next(page.next_token),
        )

    @override
    async def VerifyAudit(
        self, request: audit_pb2.VerifyAuditRequest, context: object
    ) -> audit_pb2.VerifyAuditResponse:
        against = []
        if request.HasField("against"):
            try:
                against.append(wire.read_checkpoint(request.against))
            except (ValueError, OverflowError):
                raise InvalidArgument("against is no checkpoint: its time is out of range") from None
        async with self._one:
            verdict = await self._verify(against)
        fault = verdict.fault
        return audit_pb2.VerifyAuditResponse(
            intact=verdict.intact,
            fault="" if fault is None else fault.kind.value,
            text="" if fault is None else fault.text,
            at_id=0 if fault is None else fault.at_id,
            records=verdict.records,
            checkpoints=verdict.checkpoints,
        )

    async def _verify(self, against: list[Checkpoint]) -> Verdict:
        """Verify chunk by chunk, until nothing follows; what is written meanwhile is verified as well."""
        verifier = Verifier(self._signer.public_key, against, await self._store.read(checkpoints.start))
        while True:
            records, signed = await self._store.read(partial(_chunk, after=verifier.last_id))
            await asyncio.to_thread(_feed, verifier, records, signed)
            if not records or not verifier.intact:
                break
        return verifier.finish()

    @override
    async def EraseAuditText(
        self, request: audit_pb2.EraseAuditTextRequest, context: object
    ) -> audit_pb2.EraseAuditTextResponse:
        fields = Fields()
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        named = fields.text("user_id", request.user_id, most=AGENT_NAME_CHARACTERS_MAX, one_line=True)
        if bool(named) == bool(request.record_id):
            fields.wrong("user_id", "give either user_id or record_id", "FIELD_MISSING")
        fields.check()
        change = mutation("EraseAuditText", request, request.request_id)
        caller = person()

        def write(tx: Tx) -> int:
            remembered = change.remembered(tx)
            if remembered is not None:
                return int(remembered)
            user_id, email = _named(tx, named) if named else ("", "")
            count = audit.erase(
                tx,
                by=caller.email,
                by_user_id=caller.user_id,
                reason=reason,
                record_id=request.record_id,
                user_id=user_id,
                email=email,
            )
            change.remember(tx, str(count))
            return count

        return audit_pb2.EraseAuditTextResponse(records=await self._store.write(write))


def _chunk(tx: Tx, after: int) -> tuple[tuple[LedgerRecord, ...], tuple[Checkpoint, ...]]:
    """Return the next records and the checkpoints over them; after the last one those over records that are missing."""
    records = audit.ledger(tx, after_id=after, limit=_CHUNK)
    up_to = records[-1].id if records else None
    return records, checkpoints.between(tx, after=after, up_to=up_to, limit=_CHUNK)


def _feed(verifier: Verifier, records: Iterable[LedgerRecord], signed: Iterable[Checkpoint]) -> None:
    verifier.expect(signed)
    for record in records:
        verifier.feed(record)


def _parts(records: Iterable[LedgerRecord]) -> Iterator[list[LedgerRecord]]:
    """Yield the records in lists that are small enough for a message."""
    part: list[LedgerRecord] = []
    characters = 0
    for record in records:
        part.append(record)
        characters += len(record.canonical) + len(record.private or "")
        if characters > _MESSAGE_CHARACTERS_MAX:
            yield part
            part, characters = [], 0
    if part:
        yield part


def _named(tx: Tx, named: str) -> tuple[str, str]:
    """Return the id and e-mail of a person given by either; of one who is gone, the id as it was given."""
    user = users.by_email(tx, named) if "@" in named else users.get(tx, UserId(named))
    if "@" in named and user is None:
        raise NotFound(f"there is no account {named}; give the id of one that was deleted", reason="USER_NOT_FOUND")
    return (named, "") if user is None else (user.id, user.email)
