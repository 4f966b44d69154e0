"""Incidents: troubles of nodes, from the first sign to their end."""

from collections.abc import AsyncGenerator, Iterable, Sequence

from orquanta.convert.incidents import read_incident
from orquanta.convert.scalars import write_enum
from orquanta.transport import Transport, paged, request_id_or_new
from orquanta.types.incidents import Incident, IncidentState
from orquanta.v1 import incident_pb2 as pb
from orquanta.v1.incident_pb2_grpc import IncidentServiceStub


class AsyncIncidents:
    """Look at incidents, follow them, say that a person has seen them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = IncidentServiceStub(transport.channel)

    async def get(self, incident_id: str) -> Incident:
        """One incident. Raises NotFound."""
        response = await self._transport.call(self._stub.GetIncident, pb.GetIncidentRequest(incident_id=incident_id))
        return read_incident(response.incident)

    def list(
        self, *, states: Iterable[IncidentState] = (), node_id: str = "", page_size: int = 0
    ) -> AsyncGenerator[Incident, None]:
        """Incidents, newest first, of all nodes or of one, by id or name; pages are fetched as they are needed."""
        wanted = [write_enum(pb.IncidentState, state) for state in states]

        async def fetch(token: str) -> tuple[Sequence[Incident], str]:
            response = await self._transport.call(
                self._stub.ListIncidents,
                pb.ListIncidentsRequest(page_size=page_size, page_token=token, states=wanted, node_id=node_id),
            )
            return [read_incident(incident) for incident in response.incidents], response.next_page_token

        return paged(fetch)

    def watch(self, *, node_id: str = "") -> AsyncGenerator[Incident, None]:
        """Every open incident as it is now, then each one after each change; never ends by itself."""
        return self._transport.watch(
            self._stub.WatchIncidents,
            lambda token: pb.WatchIncidentsRequest(node_id=node_id, resume_token=token),
            lambda event: read_incident(event.incident),
            until=lambda _incident: False,
        )

    async def acknowledge(
        self, incident_id: str, *, take_over: bool = False, reason: str = "", request_id: str | None = None
    ) -> Incident:
        """Say that you have seen it; with `take_over` it is yours: no more repairs are proposed for it."""
        response = await self._transport.call(
            self._stub.AcknowledgeIncident,
            pb.AcknowledgeIncidentRequest(
                incident_id=incident_id,
                reason=reason,
                take_over=take_over,
                request_id=request_id_or_new(request_id),
            ),
        )
        return read_incident(response.incident)
