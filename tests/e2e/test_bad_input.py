"""Bad input over the wire against the real server: a clear error, and nothing changes."""

import asyncio
import base64
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.clock import SystemClock
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.secrets import SecretBox
from control_plane.identity.tokens import AccessTokens
from control_plane.model.identity import Role
from control_plane.model.ids import UserId
from control_plane.services.access import RULES, Port, Special
from orquanta.client import AsyncClient
from orquanta.errors import InvalidArgument, OrQuantaError, PreconditionFailed, Unauthenticated, UntrustedServer
from orquanta.gameday.fleet import FleetError, Host, Program, free_port
from orquanta.status import error_from_rpc
from orquanta.types.goals import GoalState
from orquanta.types.jobs import JobSpec, ResourceRequest
from orquanta.v1 import auth_pb2, goal_pb2, job_pb2, node_link_pb2
from tests.e2e.books import nothing_changes
from tests.e2e.conftest import Site
from tests.fake_clock import FakeClock

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

GARBAGE = random.Random(3).randbytes(4096)
STREAMS = ("WatchGoal", "WatchJobs", "ReadLogs", "WatchNodes", "WatchActions")


async def send(site: Site, method: str, body: bytes, *, credential: str = "") -> OrQuantaError:
    """Send bytes as they are to the people's port; return the refusal."""
    if not credential:
        credential = (await site.admin.auth.create_api_key("raw")).secret
    roots = grpc.ssl_channel_credentials(site.fleet.ca_file.read_bytes())
    metadata = (("authorization", f"Bearer {credential}"),)
    async with grpc.aio.secure_channel(site.fleet.server, roots) as channel:
        try:
            if method.rpartition("/")[2] in STREAMS:
                streaming: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(method)
                answers = [answer async for answer in streaming(body, timeout=30, metadata=metadata)]
            else:
                plain: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
                answers = [await plain(body, timeout=30, metadata=metadata)]
        except grpc.aio.AioRpcError as error:
            return error_from_rpc(error, site.fleet.server)
    raise AssertionError(f"{method} answered {answers!r}")


async def test_a_goal_of_ten_megabytes_is_refused(site: Site) -> None:
    async with nothing_changes(site.admin):
        with pytest.raises(InvalidArgument) as caught:
            await site.admin.goals.create("train " * (10_000_000 // 6))
    assert caught.value.reason == "REQUEST_TOO_LARGE"
    assert "shorten" in caught.value.message


async def test_a_request_that_even_grpc_will_not_take_is_refused(site: Site) -> None:
    body = goal_pb2.CreateGoalRequest(text="x" * 20_000_000, request_id="big").SerializeToString()
    key = (await site.admin.auth.create_api_key("big")).secret
    async with nothing_changes(site.admin):
        error = await send(site, "/orquanta.v1.GoalService/CreateGoal", body, credential=key)
    assert error.code == "RESOURCE_EXHAUSTED"


async def test_binary_garbage_is_refused_by_every_method(site: Site) -> None:
    key = (await site.admin.auth.create_api_key("garbage")).secret
    methods = [name for name, rule in RULES.items() if rule.port is Port.PEOPLE]
    async with nothing_changes(site.admin):
        for method in methods:
            error = await send(site, method, GARBAGE, credential=key)
            assert error.reason == "REQUEST_UNREADABLE", f"{method}: {error.reason}: {error}"
            assert isinstance(error, InvalidArgument)


async def test_no_method_answers_without_credentials(site: Site) -> None:
    protected = [name for name, rule in RULES.items() if rule.port is Port.PEOPLE and rule.needs is not Special.PUBLIC]
    async with nothing_changes(site.admin):
        for method in protected:
            error = await send(site, method, b"", credential="oqk_k-000000000000_" + "a" * 52)
            assert isinstance(error, Unauthenticated), f"{method}: {error}"


@pytest.mark.parametrize("port", ["people", "nodes"])
async def test_garbage_instead_of_tls_leaves_the_server_serving(site: Site, port: str) -> None:
    address = site.fleet.server if port == "people" else site.fleet.nodes_server
    host, _, number = address.rpartition(":")
    async with nothing_changes(site.admin):
        for _ in range(5):
            reader, writer = await asyncio.open_connection(host, int(number))
            try:
                writer.write(GARBAGE * 16)
                await writer.drain()
                async with asyncio.timeout(30):
                    await reader.read()  # the server hangs up
            except ConnectionError:
                pass
            finally:
                writer.transport.abort()
    assert (await site.admin.nodes.get(site.host.node_id)).connected


async def test_garbage_with_a_nodes_certificate_ends_only_that_stream(site: Site) -> None:
    async with nothing_changes(site.admin), site.host_channel() as channel:
        connect: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/orquanta.v1.NodeLinkService/Connect"
        )
        call = connect(timeout=30)
        await call.write(GARBAGE)
        answer = await call.read()
        assert isinstance(answer, bytes)
        said = node_link_pb2.ConnectResponse.FromString(answer)
        assert "cannot be read" in said.disconnect.reason
        call.cancel()
    assert (await site.admin.nodes.get(site.host.node_id)).connected


def _job_of_priority(number: int) -> bytes:
    spec = job_pb2.JobSpec(name="odd", command="true", resources=job_pb2.ResourceRequest(gpu_count=1))
    spec.MergeFromString(b"\x48" + bytes([number]))
    return job_pb2.SubmitJobRequest(request_id="enum", spec=spec).SerializeToString()


def _user_of_role(number: int) -> bytes:
    request = auth_pb2.CreateUserRequest(email="x@example.com", password="a long password", request_id="enum")
    request.MergeFromString(b"\x18" + bytes([number]))
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("method", "body", "field"),
    [
        ("JobService/SubmitJob", _job_of_priority(99), "priority"),
        ("JobService/ListJobs", b"\x1a\x01\x63", "states"),
        ("GoalService/ListGoals", b"\x1a\x01\x63", "states"),
        ("AuthService/CreateUser", _user_of_role(99), "role"),
    ],
)
async def test_an_unknown_enum_value_is_refused_by_name(site: Site, method: str, body: bytes, field: str) -> None:
    key = (await site.admin.auth.create_api_key("enum")).secret
    async with nothing_changes(site.admin):
        error = await send(site, f"/orquanta.v1.{method}", body, credential=key)
    assert isinstance(error, InvalidArgument)
    assert field in error.message
    assert "99" in error.message


@pytest.mark.parametrize(
    "resources",
    [
        ResourceRequest(gpu_count=-1),
        ResourceRequest(gpu_count=-8, gpu_types=("H100",), node_count=2),
        ResourceRequest(gpu_count=8, node_count=-2),
        ResourceRequest(gpu_count=2**31 - 1),
    ],
)
async def test_negative_and_absurd_gpu_counts_are_refused(site: Site, resources: ResourceRequest) -> None:
    async with nothing_changes(site.admin):
        with pytest.raises(OrQuantaError) as caught:
            await site.admin.jobs.submit(JobSpec(name="absurd", command="true", resources=resources))
    assert isinstance(caught.value, InvalidArgument), f"{caught.value.reason}: {caught.value}"
    assert "count" in caught.value.message


async def test_a_goal_for_negative_gpus_starts_nothing(site: Site) -> None:
    goal = await site.admin.goals.create("Train a model on -4 H100 for 1 hour")
    assert goal.state is GoalState.FAILED, f"{goal.state.value}: {goal.status_reason}"
    assert "at least 1" in goal.status_reason
    assert not (await site.admin.goals.get(goal.id)).jobs


async def test_an_expired_token_is_refused_and_says_what_to_do(site: Site) -> None:
    me = await site.admin.auth.who_am_i()
    secrets = SecretBox.load_or_create(site.fleet.state / "identity")
    long_ago = FakeClock(datetime.now(UTC) - timedelta(hours=1))
    token = AccessTokens(secrets.jwt_key, clock=long_ago).issue(UserId(me.id), me.email, Role.ADMIN)
    async with (
        nothing_changes(site.admin),
        AsyncClient(site.fleet.server, token=token.text, ca_certificate=site.fleet.ca_file) as client,
    ):
        with pytest.raises(Unauthenticated) as caught:
            await client.goals.create("benchmark one H100")
    assert caught.value.reason == "TOKEN_EXPIRED"
    assert "log in" in caught.value.message


async def test_a_token_signed_by_somebody_else_is_refused(site: Site) -> None:
    me = await site.admin.auth.who_am_i()
    token = AccessTokens(b"k" * 32, clock=SystemClock()).issue(UserId(me.id), me.email, Role.ADMIN)
    async with (
        nothing_changes(site.admin),
        AsyncClient(site.fleet.server, token=token.text, ca_certificate=site.fleet.ca_file) as client,
    ):
        with pytest.raises(Unauthenticated) as caught:
            await client.goals.create("benchmark one H100")
    assert caught.value.reason == "TOKEN_INVALID"


async def test_a_client_that_trusts_another_ca_is_told_so_at_once(site: Site, tmp_path: Path) -> None:
    other = CertificateAuthority.load_or_create(tmp_path, clock=SystemClock())
    async with (
        nothing_changes(site.admin),
        AsyncClient(
            site.fleet.server, api_key="oqk_k-000000000000_" + "a" * 52, ca_certificate=other.trust_pem
        ) as client,
    ):
        with pytest.raises(UntrustedServer) as caught:
            async with asyncio.timeout(30):
                await client.goals.create("benchmark one H100")
    assert "CA certificate" in caught.value.message
    assert site.fleet.server in caught.value.message


async def test_a_host_with_a_token_of_another_ca_does_not_join(site: Site, tmp_path: Path) -> None:
    other = CertificateAuthority.load_or_create(tmp_path / "ca", clock=SystemClock())
    token = (await site.admin.nodes.create_join_token()).secret
    forged = await run_join(site, tmp_path, _with_ca(token, other.root_der), "liar")
    async with nothing_changes(site.admin):
        assert forged[0] == 76
        assert "not the control plane" in forged[1]


async def test_a_replayed_join_token_admits_no_second_host(site: Site, tmp_path: Path) -> None:
    token = (await site.admin.nodes.create_join_token()).secret
    first = Host("first", tmp_path / "first", "1xL4", {})
    await first.join(site.fleet.server, token)
    second = Host("second", tmp_path / "second", "1xL4", {})
    async with nothing_changes(site.admin):
        with pytest.raises(FleetError, match=r"already used by another host.*orquanta node token create"):
            await second.join(site.fleet.server, token)
    assert not (tmp_path / "second" / "state" / "identity" / "current").exists()
    refused = [one async for one in site.admin.audit.list() if one.outcome == "refused" and one.action == "node.join"]
    assert "already used" in refused[0].reasoning
    await site.admin.nodes.revoke("first")


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_host_whose_clock_is_two_hours_off_does_not_join(site: Site, hours: int) -> None:
    token = (await site.admin.nodes.create_join_token()).secret
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + timedelta(hours=hours))
    request = node_link_pb2.JoinRequest(
        token=token, certificate_signing_request=_request(), node_name="adrift", host_time=stamp
    )
    async with nothing_changes(site.admin):
        error = await send(site, "/orquanta.v1.NodeLinkService/Join", request.SerializeToString(), credential="none")
    assert isinstance(error, PreconditionFailed)
    assert error.reason == "HOST_CLOCK_OFF"
    assert "timedatectl" in error.message
    assert ("ahead of" if hours > 0 else "behind") in error.message


async def test_a_second_control_plane_on_the_same_port_says_which_and_leaves_the_first_alone(
    site: Site, tmp_path: Path
) -> None:
    arguments = ["--people-address", site.fleet.server, "--nodes-address", f"127.0.0.1:{free_port()}"]
    async with nothing_changes(site.admin):
        code, said = await run_server(tmp_path, [*arguments, "--state-dir", str(tmp_path / "state")])
    assert code == 1
    assert site.fleet.server in said
    assert "--people-address" in said
    assert "Traceback" not in said


async def test_a_second_control_plane_on_the_same_directory_says_who_has_it(site: Site, tmp_path: Path) -> None:
    addresses = [text for name in ("people", "nodes") for text in (f"--{name}-address", f"127.0.0.1:{free_port()}")]
    async with nothing_changes(site.admin):
        code, said = await run_server(tmp_path, [*addresses, "--state-dir", str(site.fleet.state)])
    assert code == 1
    assert str(site.fleet.control_plane.pid) in said
    assert "--state-dir" in said
    assert "Traceback" not in said
    assert (site.fleet.state / "ready.json").exists()


async def run_server(directory: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Run a control plane that is expected to end by itself; return its exit code and what it said."""
    program = Program("second", ["-m", "control_plane", *arguments], directory / "second.log", {})
    program.start()
    code = await asyncio.to_thread(program.wait, 40)
    return code, program.tail()


async def run_join(site: Site, directory: Path, token: str, name: str) -> tuple[int, str]:
    arguments = ["-m", "node_agent", "join", "--server", site.fleet.server, "--token", token, "--name", name]
    program = Program("join", [*arguments, "--state-dir", str(directory / name)], directory / "join.log", {})
    program.start()
    code = await asyncio.to_thread(program.wait, 40)
    return code, program.tail()


def _with_ca(token: str, ca_der: bytes) -> str:
    """The token with another CA in it, as somebody in the middle might hand it out."""
    start = "_".join(token.split("_")[:3])
    return f"{start}_{base64.urlsafe_b64encode(ca_der).decode().rstrip('=')}"


def _request() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, SHA256()).public_bytes(Encoding.PEM)
