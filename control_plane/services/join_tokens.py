"""The part of NodeService with the tokens with which hosts join."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from typing_extensions import override

from control_plane.errors import NotFound
from control_plane.identity.credentials import Credentials
from control_plane.model.identity import Principal
from control_plane.model.ids import TOKEN, TokenId
from control_plane.model.node import JoinTokenRecord
from control_plane.services.caller import person
from control_plane.services.convert import nodes as convert
from control_plane.services.mutations import mutation
from control_plane.services.paging import Paging
from control_plane.services.validate import others as validate
from control_plane.services.validate.fields import Fields
from control_plane.store import audit, tokens
from control_plane.store.database import Store, Tx
from orquanta.v1 import node_pb2
from orquanta.v1.node_pb2_grpc import NodeServiceServicer

JOIN_TOKEN_LIFETIME_DEFAULT: Final = timedelta(hours=1)
JOIN_TOKEN_LIFETIME_MAX: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class JoinDetails:
    """What a host needs to join besides the token's secret: where to dial, and the CA to trust (DER)."""

    server: str
    ca_certificate_der: bytes


class JoinTokens(NodeServiceServicer):
    """Makes, lists and revokes join tokens."""

    def __init__(self, store: Store, credentials: Credentials, join: JoinDetails) -> None:
        self._store = store
        self._credentials = credentials
        self._join = join

    @override
    async def CreateJoinToken(
        self, request: node_pb2.CreateJoinTokenRequest, context: object
    ) -> node_pb2.CreateJoinTokenResponse:
        fields = Fields()
        lifetime = validate.lifetime(
            fields,
            request.lifetime if request.HasField("lifetime") else None,
            default=JOIN_TOKEN_LIFETIME_DEFAULT,
            most=JOIN_TOKEN_LIFETIME_MAX,
        )
        labels = fields.labels("labels", request.labels)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("CreateJoinToken", request, request.request_id)
        token_id = change.id(TOKEN)
        issued = self._credentials.join_token(token_id, self._join.ca_certificate_der)
        caller = person()

        def make(tx: Tx) -> JoinTokenRecord:
            if change.remembered(tx) is not None:
                return _token(tx, token_id)
            record = JoinTokenRecord(
                id=token_id,
                created_by=caller.email,
                created_at=tx.now,
                expires_at=tx.now + lifetime,
                labels=labels,
            )
            tokens.insert(tx, record, issued.secret_sha256)
            change.remember(tx, token_id)
            _audit(tx, caller, "join_token.created", token_id, f"valid until {record.expires_at:%Y-%m-%d %H:%M UTC}")
            return record

        record = await self._store.write(make)
        return node_pb2.CreateJoinTokenResponse(
            join_token=convert.join_token(record), secret=issued.text, server=self._join.server
        )

    @override
    async def ListJoinTokens(
        self, request: node_pb2.ListJoinTokensRequest, context: object
    ) -> node_pb2.ListJoinTokensResponse:
        paging = Paging(request)
        page = await self._store.read(lambda tx: tokens.page(tx, paging.wanted))
        return node_pb2.ListJoinTokensResponse(
            join_tokens=[convert.join_token(record) for record in page.items],
            next_page_token=paging.next(page.next_token),
        )

    @override
    async def RevokeJoinToken(
        self, request: node_pb2.RevokeJoinTokenRequest, context: object
    ) -> node_pb2.RevokeJoinTokenResponse:
        fields = Fields()
        token_id = fields.id("join_token_id", TOKEN, request.join_token_id)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("RevokeJoinToken", request, request.request_id)
        caller = person()

        def revoke(tx: Tx) -> JoinTokenRecord:
            if change.remembered(tx) is None:
                if _token(tx, token_id).revoked_at is None:
                    _audit(tx, caller, "join_token.revoked", token_id, "")
                tokens.revoke(tx, token_id)
                change.remember(tx, token_id)
            return _token(tx, token_id)

        record = await self._store.write(revoke)
        return node_pb2.RevokeJoinTokenResponse(join_token=convert.join_token(record))


def _token(tx: Tx, token_id: TokenId) -> JoinTokenRecord:
    found = tokens.get(tx, token_id)
    if found is None:
        raise NotFound(
            f"there is no join token {token_id}; list them with: orquanta node token list", reason="TOKEN_NOT_FOUND"
        )
    return found[0]


def _audit(tx: Tx, caller: Principal, action: str, token_id: TokenId, reasoning: str) -> None:
    audit.append(
        tx,
        agent_name=caller.email,
        action=action,
        reasoning=reasoning,
        outcome="done",
        payload={"join_token_id": token_id},
        user_id=caller.user_id,
    )
