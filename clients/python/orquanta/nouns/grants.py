"""Grants: approvals given beforehand."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal

from orquanta.convert.grants import read_grant
from orquanta.convert.scalars import write_usd
from orquanta.transport import Transport, paged, request_id_or_new
from orquanta.types.grants import Grant
from orquanta.v1 import grant_pb2 as pb
from orquanta.v1.grant_pb2_grpc import GrantServiceStub


class AsyncGrants:
    """Give approvals beforehand, look at what is left of them, take them back."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = GrantServiceStub(transport.channel)

    async def create(
        self,
        kinds: Iterable[str],
        *,
        budget_usd: Decimal,
        uses_max: int,
        lifetime: timedelta,
        user_id: str = "",
        pool: str = "",
        reason: str = "",
        request_id: str | None = None,
    ) -> Grant:
        """Approve beforehand what is of these kinds ("repair_node"), for at most seven days.

        `user_id` (an id or an e-mail address) covers the requests of one user only, `pool` actions about nodes of
        one pool only. Raises PermissionDenied for your own requests: nobody's grant covers them.
        """
        response = await self._transport.call(
            self._stub.CreateGrant,
            pb.CreateGrantRequest(
                kinds=list(kinds),
                user_id=user_id,
                pool=pool,
                budget_usd_micros=write_usd(budget_usd),
                uses_max=uses_max,
                seconds=int(lifetime.total_seconds()),
                reason=reason,
                request_id=request_id_or_new(request_id),
            ),
        )
        return read_grant(response.grant)

    async def get(self, grant_id: str) -> Grant:
        """One grant. Raises NotFound."""
        response = await self._transport.call(self._stub.GetGrant, pb.GetGrantRequest(grant_id=grant_id))
        return read_grant(response.grant)

    def list(self, *, include_ended: bool = False, page_size: int = 0) -> AsyncGenerator[Grant, None]:
        """Grants in force, newest first; also those that have ended, were used up or taken back, if asked."""

        async def fetch(token: str) -> tuple[Sequence[Grant], str]:
            response = await self._transport.call(
                self._stub.ListGrants,
                pb.ListGrantsRequest(page_size=page_size, page_token=token, include_ended=include_ended),
            )
            return [read_grant(grant) for grant in response.grants], response.next_page_token

        return paged(fetch)

    async def revoke(self, grant_id: str, *, reason: str = "", request_id: str | None = None) -> Grant:
        """Take a grant back at once; what it has approved stays approved."""
        response = await self._transport.call(
            self._stub.RevokeGrant,
            pb.RevokeGrantRequest(grant_id=grant_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_grant(response.grant)
