"""GrantService: approvals given beforehand."""

from datetime import timedelta
from typing import Final

from typing_extensions import override

from control_plane.errors import InvalidArgument
from control_plane.governor import grants as governor
from control_plane.governor.grants import Terms
from control_plane.model.approval import Grant
from control_plane.model.effects import EFFECT_KINDS
from control_plane.model.ids import GRANT, GrantId, UserId, parse_user_id
from control_plane.services.caller import person
from control_plane.services.convert import grants as convert
from control_plane.services.mutations import mutation
from control_plane.services.paging import Paging
from control_plane.services.validate.fields import Fields
from control_plane.store import grants, users
from control_plane.store.database import Store, Tx
from orquanta.v1 import grant_pb2
from orquanta.v1.grant_pb2_grpc import GrantServiceServicer

_USER_CHARACTERS_MAX: Final = 254
_POOL_CHARACTERS_MAX: Final = 256


class Grants(GrantServiceServicer):
    """Serves grants."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    @override
    async def CreateGrant(
        self, request: grant_pb2.CreateGrantRequest, context: object
    ) -> grant_pb2.CreateGrantResponse:
        fields = Fields()
        kinds = fields.count("kinds", request.kinds, most=len(EFFECT_KINDS))
        fields.text("user_id", request.user_id, most=_USER_CHARACTERS_MAX, one_line=True)
        pool = fields.text("pool", request.pool, most=_POOL_CHARACTERS_MAX, one_line=True)
        budget = fields.usd("budget_usd_micros", request.budget_usd_micros)
        fields.integer("uses_max", request.uses_max, least=1, most=governor.USES_MAX)
        seconds_most = int(governor.LIFETIME_MAX.total_seconds())
        fields.integer("seconds", request.seconds, least=int(governor.LIFETIME_MIN.total_seconds()), most=seconds_most)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("CreateGrant", request, request.request_id)
        caller = person()
        grant_id = change.id(GRANT)

        def make(tx: Tx) -> Grant:
            if change.remembered(tx) is None:
                terms = Terms(
                    kinds=kinds,
                    covered_user_id=_covered(tx, request.user_id),
                    pool=pool,
                    budget_usd=budget,
                    uses_max=request.uses_max,
                    lifetime=timedelta(seconds=request.seconds),
                    reason=reason,
                )
                governor.give(tx, grant_id, caller, terms)
                change.remember(tx, grant_id)
            return grants.require(tx, grant_id)

        return grant_pb2.CreateGrantResponse(grant=convert.grant(await self._store.write(make)))

    @override
    async def GetGrant(self, request: grant_pb2.GetGrantRequest, context: object) -> grant_pb2.GetGrantResponse:
        grant_id = _grant_id(request.grant_id)
        found = await self._store.read(lambda tx: grants.require(tx, grant_id))
        return grant_pb2.GetGrantResponse(grant=convert.grant(found))

    @override
    async def ListGrants(self, request: grant_pb2.ListGrantsRequest, context: object) -> grant_pb2.ListGrantsResponse:
        paging = Paging(request)
        page = await self._store.read(lambda tx: grants.page(tx, paging.wanted, include_ended=request.include_ended))
        return grant_pb2.ListGrantsResponse(
            grants=[convert.grant(found) for found in page.items], next_page_token=paging.next(page.next_token)
        )

    @override
    async def RevokeGrant(
        self, request: grant_pb2.RevokeGrantRequest, context: object
    ) -> grant_pb2.RevokeGrantResponse:
        fields = Fields()
        grant_id = fields.id("grant_id", GRANT, request.grant_id)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("RevokeGrant", request, request.request_id)
        caller = person()

        def take_back(tx: Tx) -> Grant:
            if change.remembered(tx) is None:
                governor.take_back(tx, grant_id, caller, reason)
                change.remember(tx, grant_id)
            return grants.require(tx, grant_id)

        return grant_pb2.RevokeGrantResponse(grant=convert.grant(await self._store.write(take_back)))


def _grant_id(text: str) -> GrantId:
    fields = Fields()
    grant_id = fields.id("grant_id", GRANT, text)
    fields.check()
    return grant_id


def _covered(tx: Tx, id_or_email: str) -> UserId | None:
    if not id_or_email:
        return None
    if "@" not in id_or_email:
        return parse_user_id(id_or_email)
    user = users.by_email(tx, id_or_email)
    if user is None:
        raise InvalidArgument(
            "there is no user with this e-mail address; list them with: orquanta user list",
            reason="USER_NOT_FOUND",
            metadata={"field": "user_id"},
        )
    return user.id
