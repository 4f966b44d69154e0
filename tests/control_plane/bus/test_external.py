"""A NATS server of your own, set up as docs/operating-nats.md says and not by us."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from control_plane.bus.broker_config import security
from control_plane.bus.callout import AuthCallout
from control_plane.bus.client import Bus, Message
from control_plane.bus.streams import stream_specs
from control_plane.bus.subjects import ALL_TELEMETRY, node_inbox_prefix, node_log, node_telemetry
from control_plane.model.ids import JOB, new_id
from tests.control_plane.bus.conftest import CLOCK, Site, eventually, node_client

DOCUMENT = Path(__file__).parents[3] / "docs" / "operating-nats.md"


def documented_configuration() -> str:
    found = re.search(r"```\n(tls \{.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
async def url(site: Site) -> AsyncIterator[str]:
    text = documented_configuration()
    for name, value in {
        "SERVER_CERTIFICATE": site.server.certificate,
        "SERVER_KEY": site.server.key,
        "CA_CERTIFICATES": site.ca_file,
        "STORE": site.directory / "store",
        "ISSUER_PUBLIC_KEY": site.secrets.nats_issuer_public_key,
        "CONTROL_PASSWORD": site.secrets.nats_control_password,
    }.items():
        text = re.sub(rf"\b{name}\b", str(value), text)
    config = site.directory / "own.conf"
    config.write_text(f'listen: "127.0.0.1:-1"\nports_file_dir: "{site.directory}"\n{text}')  # any free port
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("nats-server"), "-c", config, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        ports = site.directory / f"nats-server_{process.pid}.ports"
        await eventually(lambda: client_port(ports) != 0)
        yield f"tls://127.0.0.1:{client_port(ports)}"
    finally:
        process.terminate()
        await process.wait()


def client_port(ports: Path) -> int:
    """The port for clients, which the server writes into a file once it listens; 0 before."""
    try:
        found = urlsplit(str(json.loads(ports.read_bytes())["nats"][0])).port
    except (FileNotFoundError, ValueError, KeyError, IndexError):
        return 0
    return found or 0


async def test_documented_configuration_serves_hosts_and_keeps_them_apart(site: Site, url: str) -> None:
    a, b = site.join(), site.join()
    heard: asyncio.Queue[Message] = asyncio.Queue()
    async with (
        Bus(site.endpoint(url)) as bus,
        AuthCallout(
            bus, issuer_seed=site.secrets.nats_issuer_seed, is_node_allowed=site.is_allowed, clock=CLOCK
        ) as callout,
        node_client(site, url, a.pem, node_inbox_prefix(a.node_id)) as client,
    ):
        await bus.ensure_streams(stream_specs())
        await bus.subscribe(ALL_TELEMETRY, heard.put)

        stored = await client.stream().publish(node_log(a.node_id, new_id(JOB)), b"x")
        await client.client.publish(node_telemetry(b.node_id), b"forged")
        await client.client.publish(node_telemetry(a.node_id), b"own")

        assert (stored.stream, stored.seq) == ("ORQ_LOGS", 1)
        assert (await heard.get()).data == b"own"
        assert len(await client.violations()) == 1
        await callout.disconnect(a.node_id)
        await client.closed.wait()


def test_documented_accounts_are_those_of_the_embedded_broker() -> None:
    text = documented_configuration()
    for name, account in security("x", "y")["accounts"].items():
        assert re.search(rf"^  {name} \{{", text, re.MULTILINE)
        for kind in ("exports", "imports"):
            for entry in account.get(kind, []):
                for subject in re.findall(r"'((?:orq|\$SYS)\.[^']+)'", str(entry)):
                    assert f'"{subject}"' in text
