"""IncidentService: troubles of nodes, from the first sign to their end."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from typing_extensions import override

from control_plane.errors import PreconditionFailed
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.identity import Principal
from control_plane.model.ids import INCIDENT, IncidentId, NodeId
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.node import NodeState
from control_plane.model.record import Event, Noun
from control_plane.services.caller import person
from control_plane.services.convert import incidents as convert
from control_plane.services.convert.scalars import from_wire
from control_plane.services.mutations import mutation
from control_plane.services.paging import Paging
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.others import node_reference
from control_plane.services.watch import Watched, Watcher
from control_plane.store import audit, incidents, nodes
from control_plane.store.database import Store, Tx
from control_plane.store.incidents import IncidentFilter
from control_plane.tools.incident_diagnoses import explanation
from orquanta.v1 import incident_pb2
from orquanta.v1.incident_pb2_grpc import IncidentServiceServicer

_STATES: Final = from_wire(convert.INCIDENT_STATE)


class Incidents(IncidentServiceServicer):
    """Serves incidents."""

    def __init__(self, *, store: Store, watcher: Watcher) -> None:
        self._store = store
        self._watcher = watcher

    @override
    async def GetIncident(
        self, request: incident_pb2.GetIncidentRequest, context: object
    ) -> incident_pb2.GetIncidentResponse:
        fields = Fields()
        incident_id = fields.id("incident_id", INCIDENT, request.incident_id)
        fields.check()

        def read(tx: Tx) -> tuple[Incident, Diagnosis]:
            incident = incidents.require(tx, incident_id)
            return incident, explanation(tx, incident)

        incident, why = await self._store.read(read)
        return incident_pb2.GetIncidentResponse(incident=convert.incident(incident, why=why))

    @override
    async def ListIncidents(
        self, request: incident_pb2.ListIncidentsRequest, context: object
    ) -> incident_pb2.ListIncidentsResponse:
        fields = Fields()
        states = tuple(fields.enums("states", request.states, _STATES))
        reference = node_reference(fields, "node_id", request.node_id) if request.node_id else ""
        fields.check()
        paging = Paging(request)
        page = await self._store.read(
            lambda tx: incidents.page(tx, IncidentFilter(states, _node_id(tx, reference)), paging.wanted)
        )
        return incident_pb2.ListIncidentsResponse(
            incidents=[convert.incident(incident, brief=True) for incident in page.items],
            next_page_token=paging.next(page.next_token),
        )

    @override
    async def WatchIncidents(
        self, request: incident_pb2.WatchIncidentsRequest, context: object
    ) -> AsyncIterator[incident_pb2.WatchIncidentsResponse]:
        fields = Fields()
        reference = node_reference(fields, "node_id", request.node_id) if request.node_id else ""
        fields.check()
        only = await self._store.read(lambda tx: _node_id(tx, reference))
        async for change in self._watcher.watch(_watched(only), request.resume_token):
            yield incident_pb2.WatchIncidentsResponse(
                incident=convert.incident(change.item), resume_token=change.resume_token
            )

    @override
    async def AcknowledgeIncident(
        self, request: incident_pb2.AcknowledgeIncidentRequest, context: object
    ) -> incident_pb2.AcknowledgeIncidentResponse:
        fields = Fields()
        incident_id = fields.id("incident_id", INCIDENT, request.incident_id)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("AcknowledgeIncident", request, request.request_id)
        caller = person()

        def acknowledge(tx: Tx) -> Incident:
            if change.remembered(tx) is None:
                _acknowledge(tx, incident_id, caller, reason, take_over=request.take_over)
                change.remember(tx, incident_id)
            return incidents.require(tx, incident_id)

        incident = await self._store.write(acknowledge)
        return incident_pb2.AcknowledgeIncidentResponse(incident=convert.incident(incident))


def _acknowledge(tx: Tx, incident_id: IncidentId, caller: Principal, reason: str, *, take_over: bool) -> None:
    before = incidents.require(tx, incident_id)
    if take_over and before.state is IncidentState.RESOLVED:
        raise PreconditionFailed(
            f"{incident_id} is resolved; there is nothing to take over", reason="INCIDENT_RESOLVED"
        )
    incidents.acknowledge(tx, incident_id, by=caller.email, reason=reason, take_over=take_over)
    audit.append(
        tx,
        agent_name=caller.email,
        action="incident.taken_over" if take_over else "incident.acknowledged",
        reasoning=reason,
        outcome="done",
        payload={"incident_id": incident_id},
        user_id=caller.user_id,
        node_id=before.node_id,
    )


def _node_id(tx: Tx, reference: str) -> NodeId | None:
    return nodes.resolve(tx, reference).id if reference else None


def _watched(only: NodeId | None) -> Watched[IncidentId, Incident]:
    def concerns(event: Event) -> IncidentId | None:
        if event.noun is not Noun.INCIDENT or (only is not None and event.parent_id != only):
            return None
        return IncidentId(event.id)

    def current(tx: Tx) -> Sequence[Incident]:
        return incidents.unended(tx, node_id=only)

    def load(tx: Tx, incident_ids: Iterable[IncidentId]) -> Mapping[IncidentId, Incident]:
        found = ((wanted, incidents.get(tx, wanted)) for wanted in incident_ids)
        return {wanted: incident for wanted, incident in found if incident is not None}

    def ended(tx: Tx) -> bool:
        return only is not None and nodes.resolve(tx, only).state is NodeState.REVOKED

    return Watched(scope=("incidents", only or ""), concerns=concerns, current=current, load=load, ended=ended)
