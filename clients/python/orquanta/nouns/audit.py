"""The audit: who decided what, and why."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from orquanta.convert.audit import read_audit_record
from orquanta.convert.scalars import write_time
from orquanta.transport import Transport, paged
from orquanta.types.audit import AuditRecord
from orquanta.v1 import audit_pb2 as pb
from orquanta.v1.audit_pb2_grpc import AuditServiceStub


class AsyncAudit:
    """Read the audit."""

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
        since: datetime | None = None,
        page_size: int = 0,
    ) -> AsyncGenerator[AuditRecord, None]:
        """Audit records that match every given filter, newest first; pages are fetched as needed."""
        begin = None if since is None else write_time(since)

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
                    since=begin,
                ),
            )
            return [read_audit_record(record) for record in response.records], response.next_page_token

        return paged(fetch)
