"""Errors on the wire become the exceptions of one table."""

import grpc
import pytest

from orquanta import AsyncClient
from orquanta.errors import CLASS_BY_CODE, OrQuantaError, ServerFailure, Unavailable, UntrustedServer
from orquanta.retry import RetryPolicy
from tests.clients.conftest import Certificates, make_certificates
from tests.clients.scripted import Failure, ScriptedServer

ONCE = RetryPolicy(max_attempts=1)


def test_table_covers_every_status_code_but_ok() -> None:
    assert set(CLASS_BY_CODE) == {code.name for code in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_each_code_arrives_as_its_class_with_reason_metadata_and_message(
    server: ScriptedServer, certificates: Certificates, code: grpc.StatusCode
) -> None:
    failure = Failure(code, "the fleet says no; ask again on Monday", "SOME_REASON", {"budget_usd": "40"})
    server.answer("GoalService/GetGoal", failure)
    async with AsyncClient(server.address, ca_certificate=certificates.ca, retry=ONCE) as client:
        with pytest.raises(OrQuantaError) as caught:
            await client.goals.get("g-1")
    assert type(caught.value) is CLASS_BY_CODE[code.name]
    assert caught.value.reason == "SOME_REASON"
    assert caught.value.metadata == {"budget_usd": "40"}
    assert caught.value.message == str(caught.value) == "the fleet says no; ask again on Monday"


async def test_failure_that_is_not_orquantas_names_the_server_and_says_what_to_do(
    server: ScriptedServer, certificates: Certificates
) -> None:
    server.answer("GoalService/GetGoal", Failure(grpc.StatusCode.INTERNAL, "boom"))
    async with AsyncClient(server.address, ca_certificate=certificates.ca, retry=ONCE) as client:
        with pytest.raises(ServerFailure) as caught:
            await client.goals.get("g-1")
    assert caught.value.message == f"{server.address}: boom. {ServerFailure.advice}"
    assert caught.value.reason == "INTERNAL"


async def test_server_that_asks_to_wait_says_for_how_long(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer(
        "GoalService/GetGoal",
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", "RATE", retry_after_seconds=1.5),
    )
    async with AsyncClient(server.address, ca_certificate=certificates.ca) as client:
        with pytest.raises(OrQuantaError) as caught:
            await client.goals.get("g-1")
    assert caught.value.retry_after_seconds == 1.5


async def test_wrong_certificate_authority_is_untrusted_and_not_retried(server: ScriptedServer) -> None:
    async with AsyncClient(server.address, ca_certificate=make_certificates().ca) as client:
        with pytest.raises(UntrustedServer, match="CA certificate"):
            await client.goals.get("g-1")
    assert server.calls == []


async def test_certificate_for_another_name_is_untrusted(server: ScriptedServer, certificates: Certificates) -> None:
    async with AsyncClient(server.address, ca_certificate=certificates.ca, tls_server_name="fleet.example") as client:
        with pytest.raises(UntrustedServer):
            await client.goals.get("g-1")


async def test_plaintext_client_cannot_talk_to_a_tls_server(server: ScriptedServer) -> None:
    async with AsyncClient(server.address, insecure=True, retry=ONCE) as client:
        with pytest.raises(Unavailable):
            await client.goals.get("g-1")


async def test_insecure_and_a_certificate_authority_contradict_each_other(certificates: Certificates) -> None:
    with pytest.raises(ValueError, match="in clear"):
        AsyncClient("localhost:1", insecure=True, ca_certificate=certificates.ca)


async def test_certificate_that_is_not_pem_is_refused_before_any_call() -> None:
    with pytest.raises(ValueError, match="not PEM"):
        AsyncClient("localhost:1", ca_certificate=b"\x30\x82")
