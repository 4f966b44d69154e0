import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from control_plane.model.identity import Role
from control_plane.store import audit, users
from control_plane.store.audit import AuditFilter
from control_plane.store.pages import PageRequest
from orquanta.v1 import auth_pb2
from tests.control_plane.services.harness import PASSWORD, Client, Fleet
from tests.control_plane.services.refusals import refused

WRONG = "wrong horse battery"


async def test_a_login_gives_a_token_that_works(fleet: Fleet) -> None:
    user = await fleet.user(Role.USER, email="ada@example.com")
    request = auth_pb2.LoginRequest(email="Ada@Example.com", password=PASSWORD)
    answer = await fleet.anonymous().auth.Login(request)
    assert answer.user.id == user.id
    assert answer.expires_at.seconds == int(fleet.clock.now().timestamp()) + 900
    me = await fleet.anonymous(answer.access_token).auth.WhoAmI(auth_pb2.WhoAmIRequest())
    assert (me.user.email, me.user.role) == ("ada@example.com", auth_pb2.ROLE_USER)


async def test_a_wrong_password_and_an_unknown_person_are_told_apart_by_nobody(fleet: Fleet) -> None:
    await fleet.user(Role.USER, email="ada@example.com")
    outcomes = [
        await refused(fleet.anonymous().auth.Login(auth_pb2.LoginRequest(email=email, password=WRONG)))
        for email in ("ada@example.com", "bob@example.com")
    ]
    assert outcomes[0] == outcomes[1]
    assert (outcomes[0].code, outcomes[0].reason) == (grpc.StatusCode.UNAUTHENTICATED, "LOGIN_FAILED")


async def test_a_disabled_account_cannot_log_in(fleet: Fleet, admin: Client) -> None:
    user = await fleet.user(Role.USER, email="ada@example.com")
    await admin.auth.UpdateUser(auth_pb2.UpdateUserRequest(user_id=user.id, disabled=True))
    login = auth_pb2.LoginRequest(email="ada@example.com", password=PASSWORD)
    assert (await refused(fleet.anonymous().auth.Login(login))).reason == "ACCOUNT_DISABLED"


async def test_guessing_is_slowed_down_and_the_wait_is_told(fleet: Fleet) -> None:
    await fleet.user(Role.USER, email="ada@example.com")
    client = fleet.anonymous()
    wrong = auth_pb2.LoginRequest(email="ada@example.com", password=WRONG)
    right = auth_pb2.LoginRequest(email="ada@example.com", password=PASSWORD)
    for _ in range(5):
        assert (await refused(client.auth.Login(wrong))).reason == "LOGIN_FAILED"
    outcome = await refused(client.auth.Login(right))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LOGIN_THROTTLED")
    assert outcome.retry_seconds == pytest.approx(1.0)
    fleet.clock.advance(1.0)
    assert await client.auth.Login(right)
    assert await client.auth.Login(right)


async def test_guesses_made_at_the_same_time_are_counted_too(fleet: Fleet) -> None:
    await fleet.user(Role.USER, email="ada@example.com")
    client = fleet.anonymous()
    wrong = auth_pb2.LoginRequest(email="ada@example.com", password=WRONG)
    outcomes = await asyncio.gather(*(refused(client.auth.Login(wrong)) for _ in range(20)))
    assert sum(outcome.reason == "LOGIN_FAILED" for outcome in outcomes) == 5


@pytest.mark.parametrize(
    ("email", "password", "reason"),
    [
        ("", PASSWORD, "EMAIL_INVALID"),
        ("nobody", PASSWORD, "EMAIL_INVALID"),
        ("a@b\x00.example", PASSWORD, "EMAIL_INVALID"),
        ("ada@example.com", "", "FIELD_MISSING"),
        ("ada@example.com", "x" * 1_025, "TEXT_TOO_LONG"),
    ],
)
async def test_a_bad_login_is_refused_before_any_work(fleet: Fleet, email: str, password: str, reason: str) -> None:
    call = fleet.anonymous().auth.Login(auth_pb2.LoginRequest(email=email, password=password))
    assert (await refused(call)).reason == reason


async def test_a_person_changes_their_own_password(fleet: Fleet, user: Client) -> None:
    assert user.user
    change = auth_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password="another good password")
    await user.auth.ChangePassword(change)
    login = auth_pb2.LoginRequest(email=user.user.email, password="another good password")
    assert await fleet.anonymous().auth.Login(login)
    assert (await refused(user.auth.ChangePassword(change))).reason == "LOGIN_FAILED"


async def test_a_short_password_is_refused(user: Client) -> None:
    change = auth_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password="short")
    assert (await refused(user.auth.ChangePassword(change))).reason == "PASSWORD_TOO_SHORT"


def new_user(email: str = "new@example.com", **fields: Any) -> auth_pb2.CreateUserRequest:  # Any: fields
    request = auth_pb2.CreateUserRequest(email=email, password=PASSWORD, role=auth_pb2.ROLE_USER)
    for name, value in fields.items():
        setattr(request, name, value)
    return request


async def test_an_administrator_makes_an_account_once_for_each_request_id(fleet: Fleet, admin: Client) -> None:
    request = new_user(request_id="u-1", budget_usd_micros=5_000_000, max_gpus=4)
    first, again = await admin.auth.CreateUser(request), await admin.auth.CreateUser(request)
    assert first == again
    assert (first.user.budget_usd_micros, first.user.max_gpus) == (5_000_000, 4)
    login = auth_pb2.LoginRequest(email="new@example.com", password=PASSWORD)
    assert (await fleet.anonymous().auth.Login(login)).user.id == first.user.id
    outcome = await refused(admin.auth.CreateUser(new_user(email="other@example.com", request_id="u-1")))
    assert outcome.reason == "REQUEST_ID_REUSED"


async def test_a_taken_address_is_refused(fleet: Fleet, admin: Client) -> None:
    await admin.auth.CreateUser(new_user())
    outcome = await refused(admin.auth.CreateUser(new_user(email="NEW@example.com")))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.ALREADY_EXISTS, "EMAIL_TAKEN")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"role": 0}, "ENUM_UNKNOWN"),
        ({"role": 77}, "ENUM_UNKNOWN"),
        ({"budget_usd_micros": -1}, "NUMBER_OUT_OF_RANGE"),
        ({"max_gpus": 4_000_000_000}, "NUMBER_OUT_OF_RANGE"),
        ({"password": "short"}, "PASSWORD_TOO_SHORT"),
    ],
)
async def test_a_bad_account_is_refused_and_not_made(
    fleet: Fleet, admin: Client, fields: dict[str, Any], reason: str
) -> None:
    before = await fleet.store.read(users.count)
    assert (await refused(admin.auth.CreateUser(new_user(**fields)))).reason == reason
    assert await fleet.store.read(users.count) == before


async def test_no_record_of_the_audit_holds_a_password_or_secret(fleet: Fleet, admin: Client) -> None:
    await admin.auth.CreateUser(new_user())
    made = await admin.auth.CreateApiKey(auth_pb2.CreateApiKeyRequest(name="ci"))
    page = await fleet.store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))
    text = "\n".join(record.payload_json + record.reasoning for record in page.items)
    assert "user.created" in {record.action for record in page.items}
    assert PASSWORD not in text
    assert made.secret not in text


async def test_an_update_changes_what_is_given_and_a_negative_budget_lifts_the_limit(
    fleet: Fleet, admin: Client
) -> None:
    made = (await admin.auth.CreateUser(new_user(budget_usd_micros=1_000_000))).user
    update = auth_pb2.UpdateUserRequest(user_id="new@example.com", role=auth_pb2.ROLE_OPERATOR, request_id="x-1")
    after = (await admin.auth.UpdateUser(update)).user
    assert (after.role, after.budget_usd_micros) == (auth_pb2.ROLE_OPERATOR, 1_000_000)
    lifted = (await admin.auth.UpdateUser(auth_pb2.UpdateUserRequest(user_id=made.id, budget_usd_micros=-1))).user
    assert not lifted.HasField("budget_usd_micros")
    assert (await admin.auth.UpdateUser(update)).user == lifted


async def test_the_last_administrator_can_be_neither_disabled_nor_demoted(fleet: Fleet, admin: Client) -> None:
    assert admin.user
    for request in (
        auth_pb2.UpdateUserRequest(user_id=admin.user.id, disabled=True),
        auth_pb2.UpdateUserRequest(user_id=admin.user.id, role=auth_pb2.ROLE_USER),
    ):
        outcome = await refused(admin.auth.UpdateUser(request))
        assert (outcome.code, outcome.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LAST_ADMIN")
    await fleet.user(Role.ADMIN)
    assert await admin.auth.UpdateUser(auth_pb2.UpdateUserRequest(user_id=admin.user.id, role=auth_pb2.ROLE_USER))


async def test_updating_nobody_is_not_found(admin: Client) -> None:
    for user_id in ("nobody@example.com", "00000000-0000-4000-8000-000000000000", "nonsense"):
        outcome = await refused(admin.auth.UpdateUser(auth_pb2.UpdateUserRequest(user_id=user_id, disabled=True)))
        assert outcome.reason == "USER_NOT_FOUND"


async def test_a_retried_key_is_one_key_and_shows_the_same_secret(fleet: Fleet, user: Client) -> None:
    request = auth_pb2.CreateApiKeyRequest(name="ci", request_id="k-1")
    first, again = await user.auth.CreateApiKey(request), await user.auth.CreateApiKey(request)
    assert first == again
    listed = (await user.auth.ListApiKeys(auth_pb2.ListApiKeysRequest())).api_keys
    assert list(listed) == [first.api_key]
    assert first.secret not in str(listed)


@pytest.mark.parametrize("seconds", [0, 59, 367 * 24 * 3600, -5, 315_576_000_001])
async def test_a_key_that_lives_too_short_or_too_long_is_refused(user: Client, seconds: int) -> None:
    request = auth_pb2.CreateApiKeyRequest(name="ci", lifetime=Duration(seconds=seconds))
    assert (await refused(user.auth.CreateApiKey(request))).reason == "LIFETIME_OUT_OF_RANGE"


async def test_a_person_revokes_their_own_keys_only_and_an_administrator_anybodys(
    fleet: Fleet, user: Client, operator: Client, admin: Client
) -> None:
    made = (await user.auth.CreateApiKey(auth_pb2.CreateApiKeyRequest(name="ci"))).api_key
    request = auth_pb2.RevokeApiKeyRequest(api_key_id=made.id, request_id="r-1")
    assert (await refused(operator.auth.RevokeApiKey(request))).reason == "NOT_THE_OWNER"
    revoked = (await admin.auth.RevokeApiKey(request)).api_key
    assert revoked.HasField("revoked_at")
    assert (await admin.auth.RevokeApiKey(request)).api_key == revoked


async def test_accounts_are_listed_by_address(fleet: Fleet, admin: Client) -> None:
    for name in ("c", "a", "b"):
        await admin.auth.CreateUser(new_user(email=f"{name}@0.example"))
    found: list[str] = []
    token = ""
    while True:
        page = await admin.auth.ListUsers(auth_pb2.ListUsersRequest(page_size=2, page_token=token))
        found += [user.email for user in page.users]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(found)
    assert len(found) == 4
