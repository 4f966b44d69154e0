"""AuthService: logging in and accounts. API keys are in `api_keys`."""

from decimal import Decimal
from typing import Final, Protocol

import structlog
from typing_extensions import override

from control_plane.errors import NotFound, PreconditionFailed, Unauthenticated
from control_plane.identity.credentials import Credentials
from control_plane.identity.passwords import Passwords
from control_plane.identity.tokens import AccessTokens
from control_plane.model.account import User
from control_plane.model.identity import Role
from control_plane.model.ids import UserId, derived_user_id
from control_plane.services.account_audit import audited
from control_plane.services.api_keys import ApiKeys
from control_plane.services.authentication import Authenticator
from control_plane.services.bounded import Bounded
from control_plane.services.caller import person
from control_plane.services.convert import accounts as convert
from control_plane.services.convert.scalars import from_wire, timestamp
from control_plane.services.mutations import mutation
from control_plane.services.paging import Paging
from control_plane.services.throttle import LoginThrottle
from control_plane.services.validate import others as validate
from control_plane.services.validate.fields import Fields
from control_plane.store import users
from control_plane.store.database import Store, Tx
from control_plane.store.pages import PageRequest
from orquanta.v1 import auth_pb2

USER_GPUS_MAX: Final = 1_000_000

_ROLES: Final = from_wire(convert.ROLE)
_PAGE: Final = 500

log = structlog.get_logger()


class _Peer(Protocol):
    """What a handler needs to know of gRPC's context."""

    def peer(self) -> str:
        """Return the address of the caller."""
        ...


class Auth(ApiKeys):
    """Serves accounts and credentials."""

    def __init__(
        self,
        *,
        store: Store,
        passwords: Passwords,
        access_tokens: AccessTokens,
        credentials: Credentials,
        authenticator: Authenticator,
        throttle: LoginThrottle,
        hashing: Bounded,
    ) -> None:
        ApiKeys.__init__(self, store=store, credentials=credentials, authenticator=authenticator)
        self._passwords = passwords
        self._access_tokens = access_tokens
        self._throttle = throttle
        self._hashing = hashing

    @override
    async def Login(self, request: auth_pb2.LoginRequest, context: _Peer) -> auth_pb2.LoginResponse:
        fields = Fields()
        email = fields.email("email", request.email)
        fields.text("password", request.password, least=1, most=validate.PASSWORD_CHARACTERS_MAX)
        fields.check()
        user = await self._proved(email, request.password, context.peer())
        token = self._access_tokens.issue(user.id, user.email, user.role)
        log.info("user.logged_in", email=user.email, token_id=token.token_id)
        return auth_pb2.LoginResponse(
            access_token=token.text, expires_at=timestamp(token.expires_at), user=convert.user(user)
        )

    @override
    async def WhoAmI(self, request: auth_pb2.WhoAmIRequest, context: object) -> auth_pb2.WhoAmIResponse:
        caller = person()
        user = await self._store.read(lambda tx: users.require(tx, caller.user_id))
        return auth_pb2.WhoAmIResponse(user=convert.user(user))

    @override
    async def ChangePassword(
        self, request: auth_pb2.ChangePasswordRequest, context: _Peer
    ) -> auth_pb2.ChangePasswordResponse:
        fields = Fields()
        for name, value in (("old_password", request.old_password), ("new_password", request.new_password)):
            fields.text(name, value, least=1, most=validate.PASSWORD_CHARACTERS_MAX)
        fields.check()
        caller = person()
        user = await self._proved(caller.email, request.old_password, context.peer())
        hashed = await self._hashing.run(lambda: self._passwords.hash(request.new_password))

        def write(tx: Tx) -> None:
            users.set_password_hash(tx, user.id, hashed)
            audited(tx, caller, "user.password_changed", {"user_id": user.id})

        await self._store.write(write)
        return auth_pb2.ChangePasswordResponse()

    @override
    async def CreateUser(self, request: auth_pb2.CreateUserRequest, context: object) -> auth_pb2.CreateUserResponse:
        fields = Fields()
        email = fields.email("email", request.email)
        fields.text("password", request.password, least=1, most=validate.PASSWORD_CHARACTERS_MAX)
        role = fields.enum("role", request.role, _ROLES, Role.VIEWER)
        budget = None
        if request.HasField("budget_usd_micros"):
            budget = fields.usd("budget_usd_micros", request.budget_usd_micros)
        max_gpus = _max_gpus(fields, request)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("CreateUser", request, request.request_id, secret_field="password")  # noqa: S106 - a field's name
        caller = person()
        user_id = derived_user_id(change.user_id, change.method, change.request_id)
        hashed = await self._hashing.run(lambda: self._passwords.hash(request.password))

        def make(tx: Tx) -> User:
            if change.remembered(tx) is None:
                user = User(
                    id=user_id,
                    email=email,
                    role=role,
                    disabled=False,
                    created_at=tx.now,
                    budget_usd=budget,
                    spent_usd=Decimal(0),
                    reserved_usd=Decimal(0),
                    max_gpus=max_gpus,
                )
                users.insert(tx, user, hashed)
                change.remember(tx, user_id)
                audited(tx, caller, "user.created", {"user_id": user_id, "email": email, "role": role.value})
            return users.require(tx, user_id)

        user = await self._store.write(make)
        self._authenticator.forget_account(user_id)
        return auth_pb2.CreateUserResponse(user=convert.user(user))

    @override
    async def ListUsers(self, request: auth_pb2.ListUsersRequest, context: object) -> auth_pb2.ListUsersResponse:
        paging = Paging(request)
        page = await self._store.read(lambda tx: users.page(tx, paging.wanted))
        return auth_pb2.ListUsersResponse(
            users=[convert.user(user) for user in page.items], next_page_token=paging.next(page.next_token)
        )

    @override
    async def UpdateUser(self, request: auth_pb2.UpdateUserRequest, context: object) -> auth_pb2.UpdateUserResponse:
        fields = Fields()
        role = None
        if request.HasField("role"):
            role = fields.enum("role", request.role, _ROLES, Role.VIEWER)
        budget = None
        if request.HasField("budget_usd_micros"):
            lifted = request.budget_usd_micros < 0
            budget = Decimal(-1) if lifted else fields.usd("budget_usd_micros", request.budget_usd_micros)
        max_gpus = _max_gpus(fields, request)
        disabled = request.disabled if request.HasField("disabled") else None
        fields.text("user_id", request.user_id, least=1, most=validate.EMAIL_CHARACTERS_MAX, one_line=True)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("UpdateUser", request, request.request_id)
        caller = person()

        def write(tx: Tx) -> User:
            made = change.remembered(tx)
            if made is not None:
                return users.require(tx, UserId(made))
            user = _user(tx, request.user_id)
            if disabled or role not in (None, Role.ADMIN):
                _keep_an_admin(tx, user)
            after = users.update(tx, user.id, role=role, disabled=disabled, budget_usd=budget, max_gpus=max_gpus)
            change.remember(tx, user.id)
            audited(tx, caller, "user.updated", _changes(request, user))
            return after

        user = await self._store.write(write)
        self._authenticator.forget_account(user.id)
        return auth_pb2.UpdateUserResponse(user=convert.user(user))

    async def _proved(self, email: str, password: str, peer: str) -> User:
        """Return the account whose password this is.

        Raises Unauthenticated (LOGIN_FAILED, ACCOUNT_DISABLED), ResourceExhausted (LOGIN_THROTTLED, TOO_BUSY).
        """
        self._throttle.begin(email, peer)
        found = await self._store.read(lambda tx: users.password_hash(tx, email))
        stored = None if found is None else found[1]
        check = await self._hashing.run(lambda: self._passwords.verify(stored, password))
        if found is None or not check.ok:
            log.warning("user.login_failed", peer=peer)
            raise Unauthenticated(
                "the e-mail address or the password is wrong; try again, or ask an administrator",
                reason="LOGIN_FAILED",
            )
        user = found[0]
        self._throttle.succeeded(email, peer)
        if user.disabled:
            raise Unauthenticated(
                "the account is disabled; ask an administrator to enable it", reason="ACCOUNT_DISABLED"
            )
        if check.needs_rehash:
            rehashed = await self._hashing.run(lambda: self._passwords.hash(password))

            def write(tx: Tx) -> None:
                current = users.password_hash(tx, email)
                if current is not None and current[1] == stored:  # else it was changed meanwhile
                    users.set_password_hash(tx, user.id, rehashed)

            await self._store.write(write)
        return user


def _max_gpus(fields: Fields, request: auth_pb2.CreateUserRequest | auth_pb2.UpdateUserRequest) -> int | None:
    if not request.HasField("max_gpus"):
        return None
    return fields.integer("max_gpus", request.max_gpus, least=0, most=USER_GPUS_MAX)


def _user(tx: Tx, id_or_email: str) -> User:
    user = users.by_email(tx, id_or_email) if "@" in id_or_email else users.get(tx, UserId(id_or_email))
    if user is None:
        raise NotFound(
            "there is no account with this id or e-mail address; list them with: orquanta user list",
            reason="USER_NOT_FOUND",
        )
    return user


def _keep_an_admin(tx: Tx, user: User) -> None:
    """Refuse to disable or demote the last administrator: nobody could undo that."""
    if user.role is not Role.ADMIN or user.disabled:
        return
    request = PageRequest(size=_PAGE)
    while True:
        page = users.page(tx, request)
        if any(other.role is Role.ADMIN and not other.disabled and other.id != user.id for other in page.items):
            return
        if not page.next_token:
            raise PreconditionFailed(
                f"{user.email} is the only administrator left; make another one first", reason="LAST_ADMIN"
            )
        request = PageRequest(size=_PAGE, token=page.next_token)


def _changes(request: auth_pb2.UpdateUserRequest, user: User) -> dict[str, object]:
    """Return what an update changes, for the audit."""
    changes: dict[str, object] = {"user_id": user.id, "email": user.email}
    if request.HasField("role"):
        changes["role"] = _ROLES[request.role].value
    if request.HasField("disabled"):
        changes["disabled"] = request.disabled
    if request.HasField("budget_usd_micros"):
        changes["budget_usd_micros"] = request.budget_usd_micros
    if request.HasField("max_gpus"):
        changes["max_gpus"] = request.max_gpus
    return changes
