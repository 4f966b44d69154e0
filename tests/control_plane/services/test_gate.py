import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from grpc import aio
from structlog.testing import capture_logs

from control_plane.errors import Conflict, Unavailable
from control_plane.model.account import ApiKeyRecord
from control_plane.model.identity import Role
from control_plane.model.ids import KEY, new_id, new_user_id
from control_plane.services.access import REQUEST_BYTES_MAX, RULES, Port
from control_plane.services.interceptors import Gate
from control_plane.store import goals, jobs, keys, users
from control_plane.store.database import Tx
from orquanta.v1 import action_pb2, auth_pb2, goal_pb2, job_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refusal_of, refused

SUBMIT = "/orquanta.v1.JobService/SubmitJob"


async def count_of_jobs_and_goals(fleet: Fleet) -> int:
    def count(tx: Tx) -> int:
        return sum(jobs.count_by_state(tx).values()) + sum(goals.count_by_state(tx).values())

    return await fleet.store.read(count)


async def test_a_goal_of_ten_megabytes_is_refused_with_what_to_do_and_nothing_changes(
    fleet: Fleet, user: Client
) -> None:
    outcome = await refused(user.goals.CreateGoal(goal_pb2.CreateGoalRequest(text="a" * 10_000_000)))
    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
    assert outcome.reason == "REQUEST_TOO_LARGE"
    assert str(REQUEST_BYTES_MAX) in outcome.message
    assert await count_of_jobs_and_goals(fleet) == 0


async def test_a_request_above_the_transports_bound_is_refused_and_the_server_lives(fleet: Fleet, user: Client) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await user.goals.CreateGoal(goal_pb2.CreateGoalRequest(text="a" * 20_000_000))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await user.auth.WhoAmI(auth_pb2.WhoAmIRequest())


async def test_binary_garbage_is_refused_and_nothing_changes(fleet: Fleet, admin: Client) -> None:
    not_utf8 = b"\x0a\x02\xc3\x28"
    for raw in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x00", not_utf8):
        for path, rule in RULES.items():
            # To a read without fields, the last is a field of a newer client.
            if rule.port is Port.PEOPLE and not path.endswith("/Join") and (rule.changes or raw != not_utf8):
                outcome = await refused(admin.call(path, raw))
                assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT, path
    assert await count_of_jobs_and_goals(fleet) == 0


async def test_a_change_with_a_field_of_a_newer_client_is_refused(fleet: Fleet, user: Client) -> None:
    known = job_pb2.SubmitJobRequest(spec=a_job()).SerializeToString()
    nested = a_job().SerializeToString() + b"\xf8\x3f\x01"  # field 1023
    inside = b"\x0a" + bytes([len(nested)]) + nested
    for raw in (known + b"\xf8\x3f\x01", inside):
        outcome = await refused(user.call(SUBMIT, raw))
        assert outcome.reason == "FIELD_UNKNOWN"
    assert await count_of_jobs_and_goals(fleet) == 0


async def test_a_read_with_a_field_of_a_newer_client_is_answered(user: Client) -> None:
    assert await user.call("/orquanta.v1.AuthService/WhoAmI", b"\xf8\x3f\x01")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "CREDENTIALS_MISSING"),
        ("", "CREDENTIALS_INVALID"),
        ("Basic dXNlcg==", "CREDENTIALS_INVALID"),
        ("Bearer", "CREDENTIALS_INVALID"),
        ("Bearer nonsense", "TOKEN_INVALID"),
        ("Bearer oqk_nonsense", "API_KEY_INVALID"),
        ("Bearer " + "x" * 5_000, "TOKEN_INVALID"),
    ],
)
async def test_bad_credentials_are_refused_with_a_reason(fleet: Fleet, header: str | None, reason: str) -> None:
    metadata = () if header is None else (("authorization", header),)
    outcome = await refused(fleet.anonymous().auth.WhoAmI(auth_pb2.WhoAmIRequest(), metadata=metadata))
    assert outcome.code is grpc.StatusCode.UNAUTHENTICATED
    assert outcome.reason == reason


async def test_an_expired_token_is_refused_and_nothing_changes(fleet: Fleet, user: Client) -> None:
    await user.auth.WhoAmI(auth_pb2.WhoAmIRequest())
    fleet.clock.advance(900 + 31)
    outcome = await refused(user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job())))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert "log in" in outcome.message
    assert await count_of_jobs_and_goals(fleet) == 0


async def test_a_token_signed_with_another_key_is_refused(fleet: Fleet, user: Client) -> None:
    head, body, _ = user.credential.split(".")
    forged = fleet.anonymous(f"{head}.{body}.{'A' * 43}")
    assert (await refused(forged.auth.WhoAmI(auth_pb2.WhoAmIRequest()))).reason == "TOKEN_INVALID"


async def test_a_disabled_account_is_refused_from_the_next_call(fleet: Fleet, user: Client, admin: Client) -> None:
    assert user.user
    await user.auth.WhoAmI(auth_pb2.WhoAmIRequest())
    await admin.auth.UpdateUser(auth_pb2.UpdateUserRequest(user_id=user.user.id, disabled=True))
    assert (await refused(user.auth.WhoAmI(auth_pb2.WhoAmIRequest()))).reason == "ACCOUNT_DISABLED"


async def test_a_demoted_account_loses_its_role_at_once_though_its_token_says_otherwise(
    fleet: Fleet, operator: Client, admin: Client
) -> None:
    assert operator.user
    await operator.actions.StopAll(action_pb2.StopAllRequest(reason="drill"))
    await admin.auth.UpdateUser(auth_pb2.UpdateUserRequest(user_id=operator.user.id, role=auth_pb2.ROLE_USER))
    outcome = await refused(operator.actions.StopAll(action_pb2.StopAllRequest()))
    assert (outcome.reason, outcome.metadata["required_role"]) == ("ROLE_INSUFFICIENT", "operator")


async def test_a_change_by_another_control_plane_is_seen_within_seconds(fleet: Fleet, user: Client) -> None:
    assert user.user
    user_id = user.user.id
    await user.auth.WhoAmI(auth_pb2.WhoAmIRequest())
    await fleet.store.write(lambda tx: users.update(tx, user_id, disabled=True))
    fleet.clock.advance(5.0)
    assert (await refused(user.auth.WhoAmI(auth_pb2.WhoAmIRequest()))).reason == "ACCOUNT_DISABLED"


async def test_a_token_of_an_account_that_does_not_exist_is_refused(fleet: Fleet, user: Client) -> None:
    assert user.user
    nobody = replace(user.user, id=new_user_id())
    outcome = await refused(fleet.client_of(nobody).auth.WhoAmI(auth_pb2.WhoAmIRequest()))
    assert outcome.reason == "ACCOUNT_DISABLED"


async def test_an_api_key_works_until_it_expires_or_is_revoked(fleet: Fleet, user: Client) -> None:
    first = await user.auth.CreateApiKey(auth_pb2.CreateApiKeyRequest(name="ci"))
    second = await user.auth.CreateApiKey(auth_pb2.CreateApiKeyRequest(name="cron"))
    ci, cron = fleet.anonymous(first.secret), fleet.anonymous(second.secret)
    assert user.user
    assert (await ci.auth.WhoAmI(auth_pb2.WhoAmIRequest())).user.id == user.user.id
    await ci.auth.RevokeApiKey(auth_pb2.RevokeApiKeyRequest(api_key_id=first.api_key.id))
    assert (await refused(ci.auth.WhoAmI(auth_pb2.WhoAmIRequest()))).reason == "API_KEY_INVALID"
    assert await cron.auth.WhoAmI(auth_pb2.WhoAmIRequest())
    fleet.clock.advance(timedelta(days=30).total_seconds())
    assert (await refused(cron.auth.WhoAmI(auth_pb2.WhoAmIRequest()))).reason == "API_KEY_EXPIRED"


async def test_an_api_key_with_a_wrong_secret_or_an_unknown_id_is_refused(fleet: Fleet, user: Client) -> None:
    made = await user.auth.CreateApiKey(auth_pb2.CreateApiKeyRequest(name="ci"))
    other = fleet.credentials.api_key(new_id(KEY))
    wrong = made.secret[:30] + other.text[30:]
    for secret in (wrong, other.text):
        outcome = await refused(fleet.anonymous(secret).auth.WhoAmI(auth_pb2.WhoAmIRequest()))
        assert outcome.reason == "API_KEY_INVALID"


async def test_a_stream_ends_when_its_caller_is_disabled(fleet: Fleet, user: Client, admin: Client) -> None:
    assert user.user
    stream = user.jobs.WatchJobs(job_pb2.WatchJobsRequest())
    await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job("one")))
    assert await anext(aiter(stream))
    await admin.auth.UpdateUser(auth_pb2.UpdateUserRequest(user_id=user.user.id, disabled=True))
    fleet.clock.advance(6.0)
    other = await fleet.client(Role.USER)
    await other.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job("two")))
    with pytest.raises(aio.AioRpcError) as caught:
        await anext(aiter(stream))
    assert refusal_of(caught.value).reason == "ACCOUNT_DISABLED"


async def test_a_key_of_another_control_plane_that_is_revoked_ends_within_seconds(fleet: Fleet, user: Client) -> None:
    assert user.user
    key_id = new_id(KEY)
    issued = fleet.credentials.api_key(key_id)
    now = fleet.clock.now()
    record = ApiKeyRecord(key_id, user.user.id, "ci", now, now + timedelta(days=1), None)
    await fleet.store.write(lambda tx: keys.insert(tx, record, issued.secret_sha256))
    script = fleet.anonymous(issued.text)
    await script.auth.WhoAmI(auth_pb2.WhoAmIRequest())
    await fleet.store.write(lambda tx: keys.revoke(tx, key_id))
    fleet.clock.advance(5.0)
    assert (await refused(script.auth.WhoAmI(auth_pb2.WhoAmIRequest()))).reason == "API_KEY_INVALID"


async def test_an_unexpected_error_is_logged_with_an_id_and_tells_the_caller_nothing_else(
    fleet: Fleet, user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_function: object) -> None:
        raise RuntimeError("the secret plans")

    await user.auth.WhoAmI(auth_pb2.WhoAmIRequest())
    monkeypatch.setattr(fleet.store, "read", fail)
    with capture_logs() as logs:
        outcome = await refused(user.auth.WhoAmI(auth_pb2.WhoAmIRequest()))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in outcome.message
    (line,) = [entry for entry in logs if entry["event"] == "rpc.failed"]
    assert line["error_id"] in outcome.message
    assert line["error_id"] == outcome.metadata["error_id"]
    assert str(line["exc_info"]) == "the secret plans"


@pytest.mark.parametrize(("error", "seconds"), [(Unavailable("away"), 1.0), (Conflict("late"), 0.05)])
async def test_an_error_that_may_pass_says_when_to_retry(
    fleet: Fleet, user: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, seconds: float
) -> None:
    async def fail(_function: object) -> None:
        raise error

    await user.auth.WhoAmI(auth_pb2.WhoAmIRequest())
    monkeypatch.setattr(fleet.store, "read", fail)
    outcome = await refused(user.auth.WhoAmI(auth_pb2.WhoAmIRequest()))
    assert outcome.retry_seconds == pytest.approx(seconds)


async def test_a_method_without_an_entry_in_the_table_is_not_served(
    fleet: Fleet, user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {path: rule for path, rule in RULES.items() if not path.endswith("/WhoAmI")}
    monkeypatch.setattr("control_plane.services.interceptors.RULES", rules)
    outcome = await refused(user.auth.WhoAmI(auth_pb2.WhoAmIRequest()))
    assert outcome.code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_method_of_the_other_port_is_not_served_here(fleet: Fleet, user: Client) -> None:
    outcome = await refused(user.call("/orquanta.v1.NodeLinkService/Connect", b""))
    assert outcome.code is grpc.StatusCode.UNIMPLEMENTED


async def test_an_error_of_any_length_fits_into_the_trailers(fleet: Fleet, user: Client) -> None:
    spec = a_job(depends_on=["é" * 100] * 64)
    outcome = await refused(user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec)))
    assert outcome.reason == "ID_INVALID"
    assert outcome.fields[0] == "spec.depends_on[0]"


async def test_the_gate_remembers_methods_that_exist_and_no_others(fleet: Fleet, user: Client) -> None:
    gate: Gate = fleet.services.gate
    before = len(gate._wrapped)
    for number in range(20):
        await refused(user.call(f"/orquanta.v1.JobService/Nothing{number}", b""))
    assert len(gate._wrapped) == before


async def test_a_caller_who_goes_away_leaves_no_error_behind(
    fleet: Fleet, user: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs, caplog.at_level(logging.ERROR):
        stream = user.jobs.WatchJobs(job_pb2.WatchJobsRequest())
        await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))
        await anext(aiter(stream))
        stream.cancel()
        assert await user.auth.WhoAmI(auth_pb2.WhoAmIRequest())
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    assert caplog.records == []


async def test_a_call_without_a_deadline_gets_one(fleet: Fleet, user: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_function: object) -> None:
        await asyncio.Event().wait()

    await user.auth.WhoAmI(auth_pb2.WhoAmIRequest())
    monkeypatch.setattr("control_plane.services.interceptors.UNARY_SECONDS_MAX", 0.0)
    monkeypatch.setattr(fleet.store, "read", hang)
    with capture_logs() as logs:
        outcome = await refused(user.auth.WhoAmI(auth_pb2.WhoAmIRequest()))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["rpc.timed_out"]
