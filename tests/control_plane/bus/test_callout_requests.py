"""Requests that no broker and no honest host would send: garbage, claims without proof, the protocol by hand."""

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from control_plane.bus.callout import AuthCallout
from control_plane.bus.client import Bus, Message
from control_plane.bus.embedded import EmbeddedNats
from control_plane.bus.nats_jwt import Issuer, claims_of
from control_plane.bus.streams import Stream, StreamSpec
from control_plane.bus.subjects import (
    ALL_TELEMETRY,
    node_inbox_prefix,
    node_telemetry,
)
from control_plane.errors import InvalidArgument
from control_plane.model.ids import NodeId
from tests.control_plane.bus.conftest import (
    Connect,
    Node,
    Site,
)

Streams = tuple[StreamSpec, ...]


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


async def test_grant_for_a_hostile_node_id_is_never_made() -> None:
    with pytest.raises(InvalidArgument):
        node_telemetry(NodeId("n-*"))
