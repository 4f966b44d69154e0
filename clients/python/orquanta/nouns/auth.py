"""Accounts and credentials."""

from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from decimal import Decimal

from orquanta.convert.accounts import read_api_key, read_new_api_key, read_session, read_user
from orquanta.convert.scalars import write_duration, write_enum, write_usd
from orquanta.transport import Transport, paged, request_id_or_new
from orquanta.types.accounts import ApiKey, NewApiKey, Role, Session, User
from orquanta.v1 import auth_pb2 as pb
from orquanta.v1.auth_pb2_grpc import AuthServiceStub


class AsyncAuth:
    """Log in, manage accounts and API keys."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = AuthServiceStub(transport.channel)

    async def login(self, email: str, password: str) -> Session:
        """Exchange an e-mail address and a password for a short-lived token, and use it from now on."""
        response = await self._transport.call(self._stub.Login, pb.LoginRequest(email=email, password=password))
        session = read_session(response)
        self._transport.use_credential(session.access_token)
        return session

    async def who_am_i(self) -> User:
        """The account behind this client's credentials."""
        response = await self._transport.call(self._stub.WhoAmI, pb.WhoAmIRequest())
        return read_user(response.user)

    async def change_password(self, old_password: str, new_password: str) -> None:
        """Change your own password; 12 to 1,024 characters. Not retried: it carries no request id."""
        await self._transport.call(
            self._stub.ChangePassword,
            pb.ChangePasswordRequest(old_password=old_password, new_password=new_password),
            repeatable=False,
        )

    async def create_user(
        self,
        email: str,
        password: str,
        role: Role,
        *,
        budget_usd: Decimal | None = None,
        max_gpus: int | None = None,
        request_id: str | None = None,
    ) -> User:
        """Make an account. Without `budget_usd` it may spend without limit."""
        response = await self._transport.call(
            self._stub.CreateUser,
            pb.CreateUserRequest(
                email=email,
                password=password,
                role=write_enum(pb.Role, role),
                budget_usd_micros=None if budget_usd is None else write_usd(budget_usd),
                max_gpus=max_gpus,
                request_id=request_id_or_new(request_id),
            ),
        )
        return read_user(response.user)

    def list_users(self, *, page_size: int = 0) -> AsyncGenerator[User, None]:
        """Accounts by e-mail; pages are fetched as they are needed."""

        async def fetch(token: str) -> tuple[Sequence[User], str]:
            response = await self._transport.call(
                self._stub.ListUsers, pb.ListUsersRequest(page_size=page_size, page_token=token)
            )
            return [read_user(user) for user in response.users], response.next_page_token

        return paged(fetch)

    async def update_user(
        self,
        user_id: str,
        *,
        role: Role | None = None,
        disabled: bool | None = None,
        budget_usd: Decimal | None = None,
        max_gpus: int | None = None,
        request_id: str | None = None,
    ) -> User:
        """Change an account, by id or e-mail; None leaves as it is, a negative budget lifts the limit."""
        response = await self._transport.call(
            self._stub.UpdateUser,
            pb.UpdateUserRequest(
                user_id=user_id,
                role=None if role is None else write_enum(pb.Role, role),
                disabled=disabled,
                budget_usd_micros=None if budget_usd is None else write_usd(budget_usd),
                max_gpus=max_gpus,
                request_id=request_id_or_new(request_id),
            ),
        )
        return read_user(response.user)

    async def create_api_key(
        self,
        name: str,
        *,
        lifetime: timedelta | None = None,
        for_agent: bool = False,
        request_id: str | None = None,
    ) -> NewApiKey:
        """Make an API key for yourself: for 30 days if unset, one year at most.

        One that is `for_agent` is for an agent that acts in your name: it never approves or makes credentials.
        """
        response = await self._transport.call(
            self._stub.CreateApiKey,
            pb.CreateApiKeyRequest(
                name=name,
                lifetime=None if lifetime is None else write_duration(lifetime),
                request_id=request_id_or_new(request_id),
                for_agent=for_agent,
            ),
        )
        return read_new_api_key(response)

    def list_api_keys(self, *, page_size: int = 0) -> AsyncGenerator[ApiKey, None]:
        """Your API keys without their secrets, newest first."""

        async def fetch(token: str) -> tuple[Sequence[ApiKey], str]:
            response = await self._transport.call(
                self._stub.ListApiKeys, pb.ListApiKeysRequest(page_size=page_size, page_token=token)
            )
            return [read_api_key(key) for key in response.api_keys], response.next_page_token

        return paged(fetch)

    async def revoke_api_key(self, api_key_id: str, *, request_id: str | None = None) -> ApiKey:
        """Make an API key unusable: your own, or anybody's for an admin."""
        response = await self._transport.call(
            self._stub.RevokeApiKey,
            pb.RevokeApiKeyRequest(api_key_id=api_key_id, request_id=request_id_or_new(request_id)),
        )
        return read_api_key(response.api_key)
