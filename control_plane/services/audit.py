"""AuditService: every decision and its reason."""

from typing_extensions import override

from control_plane.model.identity import Role
from control_plane.model.ids import ACTION, GOAL, JOB, NODE
from control_plane.services.caller import person
from control_plane.services.convert import records as convert
from control_plane.services.paging import Paging
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.others import moment
from control_plane.store import audit
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store
from orquanta.v1 import audit_pb2
from orquanta.v1.audit_pb2_grpc import AuditServiceServicer

AGENT_NAME_CHARACTERS_MAX = 254


class Audit(AuditServiceServicer):
    """Serves the audit."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

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
        which = AuditFilter(
            goal_id=goal_id or "",
            job_id=job_id or "",
            node_id=node_id or "",
            agent_name=fields.text("agent_name", request.agent_name, most=AGENT_NAME_CHARACTERS_MAX, one_line=True),
            action_id=action_id or "",
            since=moment(fields, "since", request.since) if request.HasField("since") else None,
            user_id=None if caller.role.allows(Role.OPERATOR) else caller.user_id,
        )
        fields.check()
        paging = Paging(request)
        page = await self._store.read(lambda tx: audit.page(tx, which, paging.wanted))
        return audit_pb2.ListAuditRecordsResponse(
            records=[convert.audit_record(record) for record in page.items],
            next_page_token=paging.next(page.next_token),
        )
