"""The audit: who decided what, and why."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import datetime

from orquanta.convert.audit import read_audit_record, read_verdict
from orquanta.convert.scalars import write_time
from orquanta.ledger import wire
from orquanta.ledger.checkpoint import Checkpoint
from orquanta.ledger.export_file import Header
from orquanta.ledger.records import LedgerRecord
from orquanta.transport import Transport, paged, request_id_or_new
from orquanta.types.audit import AuditRecord, AuditVerdict
from orquanta.v1 import audit_pb2 as pb
from orquanta.v1.audit_pb2_grpc import AuditServiceStub

_VERIFY_SECONDS = 600.0  # a million records take seconds; a slow disk may take minutes


class AsyncAudit:
    """Read the audit, verify it, take a copy of it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = AuditServiceStub(transport.channel)

    def list(
        self,
        *,
        goal_id: str = "",
        job_id: str = "",
        node_id: str = "",
        agent_name: str = "",
        action_id: str = "",
        run_id: str = "",
        text: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 0,
    ) -> AsyncGenerator[AuditRecord, None]:
        """Audit records that match every given filter, newest first; pages are fetched as needed."""
        begin = None if since is None else write_time(since)
        end = None if until is None else write_time(until)

        async def fetch(token: str) -> tuple[Sequence[AuditRecord], str]:
            response = await self._transport.call(
                self._stub.ListAuditRecords,
                pb.ListAuditRecordsRequest(
                    page_size=page_size,
                    page_token=token,
                    goal_id=goal_id,
                    job_id=job_id,
                    node_id=node_id,
                    agent_name=agent_name,
                    action_id=action_id,
                    run_id=run_id,
                    text=text,
                    since=begin,
                    until=end,
                ),
            )
            return [read_audit_record(record) for record in response.records], response.next_page_token

        return paged(fetch)

    def export(self, *, from_id: int = 0) -> AsyncGenerator[Header | LedgerRecord | Checkpoint, None]:
        """All that verifies the log: a header, then records, oldest first, after the checkpoints over them.

        `from_id` is the record after a checkpoint; 0 begins with the first that is kept.
        """
        responses = self._transport.stream(self._stub.ExportAudit, pb.ExportAuditRequest(from_id=from_id))
        return _parts(responses)

    def checkpoints(self, *, page_size: int = 0) -> AsyncGenerator[Checkpoint, None]:
        """Signed checkpoints, newest first."""

        async def fetch(token: str) -> tuple[Sequence[Checkpoint], str]:
            response = await self._transport.call(
                self._stub.ListCheckpoints, pb.ListCheckpointsRequest(page_size=page_size, page_token=token)
            )
            return [wire.read_checkpoint(one) for one in response.checkpoints], response.next_page_token

        return paged(fetch)

    async def verify(self, *, against: Checkpoint | None = None) -> AuditVerdict:
        """Have the server verify its whole log. Who does not trust the server verifies an export."""
        request = pb.VerifyAuditRequest(against=None if against is None else wire.write_checkpoint(against))
        return read_verdict(
            await self._transport.call(self._stub.VerifyAudit, request, timeout_seconds=_VERIFY_SECONDS)
        )

    async def erase(
        self, *, user: str = "", record_id: int = 0, reason: str = "", request_id: str | None = None
    ) -> int:
        """Erase the words of a person (id or e-mail), or of one record, for good. Returns how many records had some."""
        response = await self._transport.call(
            self._stub.EraseAuditText,
            pb.EraseAuditTextRequest(
                user_id=user, record_id=record_id, reason=reason, request_id=request_id_or_new(request_id)
            ),
        )
        return response.records


async def _parts(
    responses: AsyncIterator[pb.ExportAuditResponse],
) -> AsyncGenerator[Header | LedgerRecord | Checkpoint, None]:
    async for response in responses:
        if response.HasField("start"):
            start = response.start
            yield Header(start.origin, start.public_key, wire.read_start(start))
        for record in response.records:
            yield wire.read_record(record)
        for checkpoint in response.checkpoints:
            yield wire.read_checkpoint(checkpoint)
