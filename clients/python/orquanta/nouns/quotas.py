"""Quotas: what teams are entitled to, what they hold, and who is in them."""

from orquanta.convert.queues import read_quota, read_quotas
from orquanta.transport import Transport, request_id_or_new
from orquanta.types.queues import Quota, Quotas
from orquanta.v1 import quota_pb2 as pb
from orquanta.v1.quota_pb2_grpc import QuotaServiceStub


class AsyncQuotas:
    """Look at teams, make and change them, and put accounts into them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = QuotaServiceStub(transport.channel)

    async def list(self) -> Quotas:
        """All teams by path, with what they hold and may hold."""
        return read_quotas(await self._transport.call(self._stub.ListQuotas, pb.ListQuotasRequest()))

    async def set(
        self,
        team: str,
        *,
        weight: float | None = None,
        guaranteed_gpus: int | None = None,
        max_gpus: int | None = None,
        clear_max_gpus: bool = False,
        request_id: str | None = None,
    ) -> Quota:
        """Make a team (a path such as "research/nlp"), or change what is given; `clear_max_gpus` takes a limit away."""
        response = await self._transport.call(
            self._stub.SetQuota,
            pb.SetQuotaRequest(
                team=team,
                weight=weight,
                guaranteed_gpus=guaranteed_gpus,
                max_gpus=max_gpus,
                clear_max_gpus=clear_max_gpus,
                request_id=request_id_or_new(request_id),
            ),
        )
        return read_quota(response.quota)

    async def remove(self, team: str, *, request_id: str | None = None) -> None:
        """Remove a team that has no members, no teams in it and no jobs. Raises PreconditionFailed."""
        await self._transport.call(
            self._stub.RemoveQuota, pb.RemoveQuotaRequest(team=team, request_id=request_id_or_new(request_id))
        )

    async def assign(self, email: str, team: str, *, request_id: str | None = None) -> str:
        """Put an account into a team, or out of every team if empty; return its team. Its jobs stay as they are."""
        response = await self._transport.call(
            self._stub.AssignTeam,
            pb.AssignTeamRequest(email=email, team=team, request_id=request_id_or_new(request_id)),
        )
        return response.team
