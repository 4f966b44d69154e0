"""A host's rights on the bus, against a real broker: what a stolen node credential can and cannot do."""

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
import pytest

from control_plane.bus.callout import AuthCallout
from control_plane.bus.client import Bus, Message
from control_plane.bus.embedded import EmbeddedNats
from control_plane.bus.nats_jwt import Issuer, claims_of
from control_plane.bus.streams import Stream, StreamSpec
from control_plane.bus.subjects import (
    ALL_TELEMETRY,
    EventNoun,
    event,
    node_inbox_prefix,
    node_log,
    node_telemetry,
)
from control_plane.errors import InvalidArgument
from control_plane.identity.ca import CertificateAuthority
from control_plane.model.ids import JOB, NodeId, new_id
from tests.control_plane.bus.conftest import (
    CLOCK,
    Connect,
    Node,
    NodeClient,
    Site,
    node_client,
)

Streams = tuple[StreamSpec, ...]


@pytest.fixture
def a(site: Site) -> Node:
    return site.join()


@pytest.fixture
def b(site: Site) -> Node:
    return site.join()


@pytest.fixture
async def as_a(connect: Connect, a: Node) -> NodeClient:
    return await connect(a.pem, node_inbox_prefix(a.node_id))


@pytest.fixture
async def as_b(connect: Connect, b: Node) -> NodeClient:
    return await connect(b.pem, node_inbox_prefix(b.node_id))


async def test_host_publishes_under_its_own_id_and_gets_its_acknowledgement(
    bus: Bus, streams: Streams, as_a: NodeClient, a: Node
) -> None:
    heard: asyncio.Queue[Message] = asyncio.Queue()
    await bus.subscribe(ALL_TELEMETRY, heard.put)
    js = as_a.client.jetstream()

    await as_a.client.publish(node_telemetry(a.node_id), b"sample")
    log = node_log(a.node_id, new_id(JOB))
    first = await js.publish(log, b"line", headers={"Nats-Msg-Id": "1"})
    again = await js.publish(log, b"line", headers={"Nats-Msg-Id": "1"})

    sample = await heard.get()
    assert (sample.subject, sample.data) == (node_telemetry(a.node_id), b"sample")
    assert (first.stream, first.duplicate, again.seq, again.duplicate) == ("ORQ_LOGS", None, first.seq, True)
    assert await as_a.violations() == []


@pytest.mark.parametrize(
    "subject",
    [
        "orq.node.{b}.telemetry",
        "orq.node.{b}.log.j-0123456789ab",
        "orq.event.job.x",
        "_INBOX.{b}.x",
        "$JS.API.STREAM.PURGE.ORQ_EVENTS",
        "$JS.API.STREAM.INFO.ORQ_LOGS",
        "$JS.ACK.ORQ_LOGS.c.1.1.1.1.1",
        "$SYS.REQ.USER.AUTH",
        "$SYS.REQ.SERVER.PING",
        "orq.node.telemetry",
        "elsewhere",
    ],
)
async def test_host_cannot_publish_elsewhere(
    bus: Bus, streams: Streams, as_a: NodeClient, b: Node, subject: str
) -> None:
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        if not message.subject.startswith("_INBOX.") or b.node_id in message.subject:
            heard.append(message)

    await bus.subscribe(">", hear)
    await as_a.client.publish(subject.format(b=b.node_id), b"forged")

    assert len(await as_a.violations()) == 1
    assert [message for message in heard if message.data == b"forged"] == []


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "*",
        "orq.>",
        "orq.node.{b}.>",
        "orq.node.{a}.>",
        "orq.event.>",
        "_INBOX.>",
        "_INBOX.{b}.>",
        "$SYS.>",
        "$JS.>",
    ],
)
async def test_host_cannot_subscribe_to_anything_but_its_inbox(
    as_a: NodeClient, a: Node, b: Node, subject: str
) -> None:
    async def ignore(message: Any) -> None:
        raise AssertionError(message)

    await as_a.client.subscribe(subject.format(a=a.node_id, b=b.node_id), cb=ignore)

    assert len(await as_a.violations()) == 1


@pytest.mark.parametrize(
    "reply",
    [
        "orq.node.{b}.telemetry",
        "orq.node.{b}.log.j-0123456789ab",
        "orq.event.job.forged",
        "$JS.API.STREAM.PURGE.ORQ_EVENTS",
        "$JS.API.STREAM.DELETE.ORQ_EVENTS",
        "$SYS.REQ.USER.AUTH",
    ],
)
async def test_reply_subject_of_a_host_cannot_make_the_broker_speak_for_it(
    bus: Bus, streams: Streams, as_a: NodeClient, b: Node, reply: str
) -> None:
    await bus.publish_event(event(EventNoun.JOB, "j"), b"kept", message_id="1")
    forged: list[Message] = []

    async def hear(message: Message) -> None:
        forged.append(message)

    for subject in (ALL_TELEMETRY, f"orq.node.{b.node_id}.>", "orq.event.>"):
        await bus.subscribe(subject, hear)

    await as_a.client.publish(node_log(as_a.node_id, new_id(JOB)), b"x", reply=reply.format(b=b.node_id))
    own = await as_a.client.jetstream().publish(node_log(as_a.node_id, new_id(JOB)), b"last")
    await bus.publish_event(event(EventNoun.JOB, "k"), b"after", message_id="2")
    async for delivery in bus.consume(Stream.EVENTS, "check"):
        await delivery.ack()
        if delivery.data == b"after":
            break

    assert delivery.stream_sequence == 2
    assert own.seq <= 2
    assert [message.subject for message in forged] == ["orq.event.job.k"]


async def test_tracing_header_cannot_make_the_broker_publish_for_a_host(
    bus: Bus, streams: Streams, as_a: NodeClient, a: Node, b: Node
) -> None:
    trace = {"Nats-Trace-Dest": node_telemetry(b.node_id)}
    await as_a.client.publish(node_telemetry(a.node_id), b"x", headers=trace)

    assert len(await as_a.violations()) == 1


async def test_host_cannot_read_the_replies_of_another(streams: Streams, as_a: NodeClient, as_b: NodeClient) -> None:
    seen_by_a: list[Any] = []

    async def hear(message: Any) -> None:
        seen_by_a.append(message)

    await as_a.client.subscribe(f"{node_inbox_prefix(as_a.node_id)}.>", cb=hear)
    await as_b.client.jetstream().publish(node_log(as_b.node_id, new_id(JOB)), b"x")
    await as_a.client.flush()

    assert seen_by_a == []


async def refused(connect: Connect, pem: Path | None, **options: object) -> str:
    with pytest.raises((nats.errors.Error, OSError)) as caught:
        await connect(pem, "_INBOX.any", max_reconnect_attempts=1, reconnect_time_wait=0, **options)
    return str(caught.value)


async def test_client_without_a_certificate_is_refused(connect: Connect) -> None:
    await refused(connect, None)


async def test_certificate_of_another_ca_is_refused(connect: Connect, site: Site, tmp_path: Path) -> None:
    other = CertificateAuthority.load_or_create(tmp_path / "other-ca", clock=CLOCK)
    await refused(connect, site.join(ca=other).pem)


async def test_server_certificate_is_no_client_certificate(connect: Connect, site: Site, tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    pem.write_bytes(site.server.key.read_bytes() + site.server.certificate.read_bytes())
    await refused(connect, pem)


async def test_the_control_planes_certificate_alone_opens_nothing(connect: Connect, site: Site, tmp_path: Path) -> None:
    pem = tmp_path / "client.pem"
    pem.write_bytes(site.client.key.read_bytes() + site.client.certificate.read_bytes())
    assert "Authorization Violation" in await refused(connect, pem)


@pytest.mark.parametrize(
    "credentials",
    [
        {"user": "control", "password": "guessed"},
        {"user": "somebody", "password": "x"},
        {"token": "t"},
    ],
)
async def test_node_certificate_with_other_credentials_is_refused(
    connect: Connect, a: Node, credentials: dict[str, str]
) -> None:
    assert "Authorization Violation" in await refused(connect, a.pem, **credentials)


async def test_revoked_node_is_refused(connect: Connect, site: Site, a: Node) -> None:
    site.allowed.clear()
    assert "Authorization Violation" in await refused(connect, a.pem)


async def test_old_certificate_of_a_node_is_refused_when_only_its_new_serial_is_allowed(
    connect: Connect, site: Site, a: Node
) -> None:
    site.allowed.discard((a.node_id, a.serial))
    renewed = site.join(a.node_id)

    await connect(renewed.pem, node_inbox_prefix(a.node_id))
    assert "Authorization Violation" in await refused(connect, a.pem)


async def test_disconnect_cuts_a_revoked_node_at_once(
    callout: AuthCallout, site: Site, as_a: NodeClient, as_b: NodeClient, a: Node
) -> None:
    site.allowed.discard((a.node_id, a.serial))
    await callout.disconnect(a.node_id)

    await as_a.closed.wait()
    await as_b.client.flush()
    assert not as_b.closed.is_set()


async def test_failing_check_refuses_and_later_ones_work(bus: Bus, broker: EmbeddedNats, site: Site, a: Node) -> None:
    failures = iter([RuntimeError("database is down")])

    async def check(node_id: NodeId, serial: str) -> bool:
        for failure in failures:
            raise failure
        return True

    async with AuthCallout(bus, issuer_seed=site.secrets.nats_issuer_seed, is_node_allowed=check, clock=CLOCK):
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            async with node_client(site, broker.url, a.pem, "_INBOX.x"):
                pass
        async with node_client(site, broker.url, a.pem, node_inbox_prefix(a.node_id)) as client:
            assert client.client.is_connected


async def test_grant_ends_and_the_host_can_come_again(bus: Bus, broker: EmbeddedNats, site: Site, a: Node) -> None:
    async with AuthCallout(
        bus,
        issuer_seed=site.secrets.nats_issuer_seed,
        is_node_allowed=site.is_allowed,
        clock=CLOCK,
        grant_seconds=1,
    ):
        for _ in range(2):
            async with node_client(site, broker.url, a.pem, node_inbox_prefix(a.node_id)) as client:
                await client.closed.wait()


GARBAGE: list[bytes] = [
    b"",
    b"garbage",
    b"a.b.c",
    b"..",
    b"\xff\xfe\x00" * 1000,
    b"e30.W10.x",
    b"e30." + b"A" * 100_000 + b".x",
    b"e30.e30.x",
]


@pytest.mark.parametrize(
    "nats_claim",
    [
        None,
        [],
        {"user_nkey": 7, "server_id": {"id": "N"}},
        {"user_nkey": "U" * 56},
        {"user_nkey": "U" * 56, "server_id": {"id": "../../etc"}},
        {"user_nkey": "U" * 56, "server_id": "x"},
        {"user_nkey": "U" * 56, "server_id": {"id": "N" * 56}, "connect_opts": []},
        {"user_nkey": "U" * 56, "server_id": {"id": "N" * 56}, "client_tls": "x"},
    ],
)
async def test_malformed_claims_get_no_answer(callout: AuthCallout, site: Site, nats_claim: object) -> None:
    request = Issuer(site.secrets.nats_issuer_seed).sign({"nats": nats_claim})
    assert await callout.answer(request.encode()) is None


@pytest.mark.parametrize(
    "client_tls",
    [
        {},
        {"verified_chains": []},
        {"verified_chains": [[]]},
        {"verified_chains": [[7]]},
        {"verified_chains": "x"},
        {"verified_chains": [["not a certificate"]]},
        {"verified_chains": [["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]]},
    ],
)
async def test_request_without_a_usable_certificate_is_answered_with_an_error(
    callout: AuthCallout, site: Site, client_tls: dict[str, Any]
) -> None:
    claims = {"user_nkey": "U" * 56, "server_id": {"id": "N" * 56}, "client_tls": client_tls}
    answer = await callout.answer(Issuer(site.secrets.nats_issuer_seed).sign({"nats": claims}).encode())

    assert answer is not None
    said = claims_of(answer)
    assert "error" in said["nats"]
    assert "jwt" not in said["nats"]
    assert (said["sub"], said["aud"]) == ("U" * 56, "N" * 56)


async def test_unverified_certificates_in_a_request_are_not_believed(callout: AuthCallout, site: Site, a: Node) -> None:
    claims = {
        "user_nkey": "U" * 56,
        "server_id": {"id": "N" * 56},
        "client_tls": {"certs": [a.pem.read_text()]},
    }
    answer = await callout.answer(Issuer(site.secrets.nats_issuer_seed).sign({"nats": claims}).encode())
    assert answer is not None
    assert "error" in claims_of(answer)["nats"]


async def test_garbage_requests_do_not_stop_the_answers(
    bus: Bus, callout: AuthCallout, connect: Connect, a: Node
) -> None:
    for garbage in GARBAGE:
        await bus.publish("$SYS.REQ.USER.AUTH", garbage)

    client = await connect(a.pem, node_inbox_prefix(a.node_id))
    assert client.client.is_connected


RawConnect = Callable[..., contextlib.AbstractAsyncContextManager[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
def raw_connect(site: Site, broker: EmbeddedNats, callout: AuthCallout) -> RawConnect:
    return functools.partial(raw_connection, site, broker.url)


@contextlib.asynccontextmanager
async def raw_connection(
    site: Site, url: str, node: Node, **options: object
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A host that speaks the protocol by hand, past every check of a client library."""
    host, port = url.removeprefix("tls://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port), ssl=site.tls(node.pem))
    try:
        assert (await reader.readline()).startswith(b"INFO ")
        connect = {"verbose": False, "headers": True} | options
        writer.write(b"CONNECT " + json.dumps(connect).encode() + b"\r\nPING\r\n")
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    "credentials",
    [
        {"user": "control"},
        {"user": "control", "pass": ""},
        {"user": "control", "pass": "x"},
        {"user": "somebody"},
        {"pass": "x"},
        {"auth_token": "control"},
        {"nkey": "UAAA", "sig": "AAAA"},
    ],
)
async def test_protocol_level_credentials_of_a_host_are_refused(
    raw_connect: RawConnect, a: Node, credentials: dict[str, str]
) -> None:
    async with raw_connect(a, **credentials) as (reader, _):
        assert b"Authorization Violation" in await reader.readline()


async def test_subjects_and_headers_that_are_not_text_do_not_hurt_the_control_plane(
    raw_connect: RawConnect, bus: Bus, streams: Streams, a: Node
) -> None:
    heard: asyncio.Queue[Message] = asyncio.Queue()
    await bus.subscribe(ALL_TELEMETRY, heard.put)
    own = f"orq.node.{a.node_id}".encode()
    hostile_headers = [
        b"NATS/1.0 \xff\xff\xff \xfe\r\n\r\n",
        b"NATS/1.0\r\n\xff: \xff\r\n\r\n",
        b"NATS/1.0 404\r\nStatus: 404\r\n\r\n",
        b"NATS/1.0 100 Idle\r\nNats-Consumer-Stalled: orq.event.x\r\n\r\n",
    ]
    async with raw_connect(a) as (reader, writer):
        assert await reader.readline() == b"PONG\r\n"
        writer.write(b"PUB " + own + b".log.\xff\xfe 1\r\nx\r\n")
        for headers in hostile_headers:
            for subject in (own + b".telemetry", own + b".log.j"):
                writer.write(b"HPUB %s %d %d\r\n%sx\r\n" % (subject, len(headers), len(headers) + 1, headers))
        for subject in (own + b".telemetry", own + b".log.j"):
            writer.write(b"PUB " + subject + b" 4\r\ngood\r\n")
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"PONG\r\n"

    async for delivery in bus.consume(Stream.LOGS, "reader"):
        await delivery.ack()
        if delivery.data == b"good":
            break
    while (await heard.get()).data != b"good":
        pass
    assert bus.healthy
    assert bus.reconnects == 0


async def test_host_that_floods_its_log_does_not_push_out_events(streams: Streams) -> None:
    by_stream = {spec.stream: spec for spec in streams}
    assert set(by_stream[Stream.EVENTS].subjects).isdisjoint(by_stream[Stream.LOGS].subjects)


async def test_grant_for_a_hostile_node_id_is_never_made() -> None:
    with pytest.raises(InvalidArgument):
        node_telemetry(NodeId("n-*"))


async def test_reload_of_the_broker_lets_hosts_come_again_and_keeps_the_control_plane(
    bus: Bus, broker: EmbeddedNats, connect: Connect, a: Node
) -> None:
    before = await connect(a.pem, node_inbox_prefix(a.node_id))
    broker.reload()
    await before.closed.wait()

    after = await connect(a.pem, node_inbox_prefix(a.node_id))
    await after.client.publish(node_telemetry(a.node_id), b"x")
    assert await after.violations() == []
    assert bus.reconnects == 0
