"""The part of AuthService that is about API keys."""

from datetime import timedelta
from typing import Final

from typing_extensions import override

from control_plane.errors import NotFound, PermissionDenied, ResourceExhausted
from control_plane.identity.credentials import Credentials
from control_plane.model.account import ApiKeyRecord
from control_plane.model.identity import Role
from control_plane.model.ids import KEY, KeyId
from control_plane.services.account_audit import audited
from control_plane.services.authentication import Authenticator
from control_plane.services.caller import person
from control_plane.services.convert import accounts as convert
from control_plane.services.mutations import mutation
from control_plane.services.paging import Paging
from control_plane.services.validate import others as validate
from control_plane.services.validate.fields import Fields
from control_plane.store import keys
from control_plane.store.database import Store, Tx
from control_plane.store.pages import PageRequest
from orquanta.v1 import auth_pb2
from orquanta.v1.auth_pb2_grpc import AuthServiceServicer

KEY_LIFETIME_DEFAULT: Final = timedelta(days=30)
KEY_LIFETIME_MAX: Final = timedelta(days=366)
KEYS_PER_USER_MAX: Final = 500


class ApiKeys(AuthServiceServicer):
    """Makes, lists and revokes keys."""

    def __init__(self, *, store: Store, credentials: Credentials, authenticator: Authenticator) -> None:
        self._store = store
        self._credentials = credentials
        self._authenticator = authenticator

    @override
    async def CreateApiKey(
        self, request: auth_pb2.CreateApiKeyRequest, context: object
    ) -> auth_pb2.CreateApiKeyResponse:
        fields = Fields()
        name = fields.text("name", request.name, least=1, most=validate.KEY_NAME_CHARACTERS_MAX, one_line=True)
        lifetime = validate.lifetime(
            fields,
            request.lifetime if request.HasField("lifetime") else None,
            default=KEY_LIFETIME_DEFAULT,
            most=KEY_LIFETIME_MAX,
        )
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("CreateApiKey", request, request.request_id)
        caller = person()
        key_id = change.id(KEY)
        issued = self._credentials.api_key(key_id)

        def make(tx: Tx) -> ApiKeyRecord:
            if change.remembered(tx) is not None:
                return _key(tx, key_id)
            if keys.page(tx, caller.user_id, PageRequest(size=KEYS_PER_USER_MAX)).next_token:
                raise ResourceExhausted(
                    f"{caller.email} has {KEYS_PER_USER_MAX} API keys; use one of them", reason="TOO_MANY_KEYS"
                )
            record = ApiKeyRecord(
                id=key_id,
                user_id=caller.user_id,
                name=name,
                created_at=tx.now,
                expires_at=tx.now + lifetime,
                revoked_at=None,
                for_agent=request.for_agent,
            )
            keys.insert(tx, record, issued.secret_sha256)
            change.remember(tx, key_id)
            audited(tx, caller, "api_key.created", {"api_key_id": key_id, "name": name, "for_agent": request.for_agent})
            return record

        record = await self._store.write(make)
        self._authenticator.forget_key(key_id)
        return auth_pb2.CreateApiKeyResponse(api_key=convert.api_key(record), secret=issued.text)

    @override
    async def ListApiKeys(self, request: auth_pb2.ListApiKeysRequest, context: object) -> auth_pb2.ListApiKeysResponse:
        paging = Paging(request)
        caller = person()
        page = await self._store.read(lambda tx: keys.page(tx, caller.user_id, paging.wanted))
        return auth_pb2.ListApiKeysResponse(
            api_keys=[convert.api_key(record) for record in page.items], next_page_token=paging.next(page.next_token)
        )

    @override
    async def RevokeApiKey(
        self, request: auth_pb2.RevokeApiKeyRequest, context: object
    ) -> auth_pb2.RevokeApiKeyResponse:
        fields = Fields()
        key_id = fields.id("api_key_id", KEY, request.api_key_id)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("RevokeApiKey", request, request.request_id)
        caller = person()

        def write(tx: Tx) -> ApiKeyRecord:
            record = _key(tx, key_id)
            if record.user_id != caller.user_id and not caller.role.allows(Role.ADMIN):
                raise PermissionDenied(
                    f"API key {key_id} is somebody else's; ask its owner or an administrator", reason="NOT_THE_OWNER"
                )
            if change.remembered(tx) is None:
                if record.revoked_at is None:
                    audited(tx, caller, "api_key.revoked", {"api_key_id": key_id})
                keys.revoke(tx, key_id)
                change.remember(tx, key_id)
            return _key(tx, key_id)

        record = await self._store.write(write)
        self._authenticator.forget_key(key_id)
        return auth_pb2.RevokeApiKeyResponse(api_key=convert.api_key(record))


def _key(tx: Tx, key_id: KeyId) -> ApiKeyRecord:
    found = keys.get(tx, key_id)
    if found is None:
        raise NotFound(f"there is no API key {key_id}; list yours with: orquanta key list", reason="KEY_NOT_FOUND")
    return found[0]
