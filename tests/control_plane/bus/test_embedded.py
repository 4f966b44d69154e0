"""The embedded broker as a process: starting, dying, being left behind, being in the way."""

import asyncio
import os
import pickle
import re
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.bus import cancellation
from control_plane.bus.broker_process import NO_ANSWER
from control_plane.bus.client import Bus, Message
from control_plane.bus.embedded import BrokerConfig, EmbeddedNats
from control_plane.errors import OrQuantaError, Unavailable
from control_plane.identity.key_pairs import ensure_server_certificate
from tests.control_plane.bus.conftest import CLOCK, Site, eventually
from tests.standstill import stand_still

CHILD = textwrap.dedent(
    """
    import asyncio, pickle, sys
    from control_plane.bus.embedded import EmbeddedNats
    from control_plane.clock import SystemClock

    async def main():
        broker = EmbeddedNats(pickle.loads(bytes.fromhex(sys.argv[1])), clock=SystemClock())
        await broker.start()
        print("ready", broker.pid, broker.port, flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
    """
)


def control_plane_process(config: BrokerConfig) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, pickle.dumps(config).hex()], stdout=subprocess.PIPE, text=True
    )


def ready(process: subprocess.Popen[str]) -> tuple[int, int]:
    """The broker's pid and port, once it serves."""
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.match(r"ready (\d+) (\d+)", line):
            return int(match[1]), int(match[2])
    raise AssertionError("the child did not start its broker")


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def wait_until_gone(pid: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while runs(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


async def until_restarted(broker: EmbeddedNats, restarts: int) -> None:
    await eventually(lambda: broker.restarts >= restarts and broker.healthy)


async def test_start_serves_and_stop_leaves_no_process(site: Site) -> None:
    broker = EmbeddedNats(site.broker_config(), clock=CLOCK)
    await broker.start()
    pid = broker.pid
    assert pid is not None
    assert broker.healthy
    async with Bus(site.endpoint(broker.url)) as bus:
        assert bus.healthy

    await broker.stop()
    await broker.stop()
    assert not broker.healthy
    assert not runs(pid)


async def test_killed_broker_comes_back_on_the_same_port(broker: EmbeddedNats) -> None:
    pid, url = broker.pid, broker.url
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until_restarted(broker, 1)
    assert broker.url == url
    assert broker.pid != pid


async def test_port_of_a_broker_that_is_away_goes_to_nobody_else(
    broker: EmbeddedNats, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.bus.embedded._MAX_BACKOFF_SECONDS", 0.05)
    store = site.directory / "nats" / "store"
    assert broker.pid is not None
    stand_still(broker.pid)
    store.rename(store.with_name("aside"))
    store.write_text("not a directory")
    os.kill(broker.pid, signal.SIGKILL)
    await eventually(lambda: broker.restarts >= 2)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", broker.port))
    await broker.stop()
    with socket.socket() as other:
        other.bind(("127.0.0.1", broker.port))


async def test_broker_that_hangs_is_replaced(broker: EmbeddedNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control_plane.bus.embedded._PROBE_EVERY_SECONDS", 0.05)
    monkeypatch.setattr("control_plane.bus.broker_process._PROBE_SECONDS", 0.1)
    pid = broker.pid
    assert pid is not None
    stand_still(pid)
    await eventually(lambda: broker.complaint == NO_ANSWER)
    assert not broker.healthy
    await until_restarted(broker, 1)
    assert not runs(pid)


async def test_broker_is_retried_until_what_hinders_it_is_gone(
    broker: EmbeddedNats, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.bus.embedded._MAX_BACKOFF_SECONDS", 0.05)
    store = site.directory / "nats" / "store"
    assert broker.pid is not None
    stand_still(broker.pid)
    store.rename(store.with_name("aside"))
    store.write_text("not a directory")
    os.kill(broker.pid, signal.SIGKILL)
    await eventually(lambda: broker.restarts >= 3)
    assert not broker.healthy

    store.unlink()
    store.with_name("aside").rename(store)
    await until_restarted(broker, 3)


async def test_killed_control_plane_leaves_no_broker(site: Site) -> None:
    child = control_plane_process(site.broker_config())
    try:
        pid, _ = ready(child)
        assert runs(pid)
    finally:
        end(child)
    wait_until_gone(pid)


async def test_broker_that_outlived_its_control_plane_is_stopped_by_the_next_start(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process ignores SIGTERM, so the kernel's signal at its parent's death does not end it."""
    monkeypatch.setattr("control_plane.bus.embedded._STRAY_SECONDS", 0.5)
    child = control_plane_process(site.broker_config())
    try:
        pid, port = ready(child)
        stand_still(pid)
    finally:
        end(child)
    assert runs(pid)

    async with EmbeddedNats(replace(site.broker_config(), port=port), clock=CLOCK) as broker:
        assert broker.port == port
        assert not runs(pid)


async def test_second_control_plane_on_the_same_directory_is_refused_and_hurts_nobody(
    site: Site, broker: EmbeddedNats
) -> None:
    with pytest.raises(Unavailable) as caught:
        await EmbeddedNats(site.broker_config(), clock=CLOCK).start()
    assert caught.value.reason == "BROKER_DIRECTORY_IN_USE"
    assert broker.pid is not None
    assert runs(broker.pid)


async def test_taken_port_is_named(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        broker = EmbeddedNats(replace(site.broker_config(), port=port), clock=CLOCK)
        with pytest.raises(Unavailable) as caught:
            await broker.start()
    assert caught.value.reason == "BROKER_PORT_TAKEN"
    assert f"127.0.0.1:{port}" in caught.value.message
    async with broker:
        assert broker.healthy


async def test_missing_binary_is_named(site: Site) -> None:
    config = replace(site.broker_config(), binary=Path("/nowhere/nats-server"))
    with pytest.raises(Unavailable) as caught:
        await EmbeddedNats(config, clock=CLOCK).start()
    assert caught.value.reason == "BROKER_BINARY_MISSING"
    assert "/nowhere/nats-server" in caught.value.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"host": "203.0.113.1"}, "203.0.113.1"),
        ({"certificate_file": Path("/nowhere.pem")}, "nowhere.pem"),
        ({"issuer_public_key": "x"}, "nkey"),
        ({"binary": Path("/bin/false")}, "status 1"),
    ],
)
async def test_broker_that_cannot_start_says_why(site: Site, change: dict[str, object], said: str) -> None:
    config = replace(site.broker_config(), **change)  # type: ignore[arg-type] # fields by name
    with pytest.raises(Unavailable) as caught:
        await EmbeddedNats(config, clock=CLOCK).start()
    assert caught.value.reason == "BROKER_START_FAILED"
    assert said in caught.value.message


async def test_broker_that_never_gets_ready_is_given_up_and_ended(site: Site, tmp_path: Path) -> None:
    sleeper = tmp_path / "nats-server"
    sleeper.write_text("#!/bin/sh\nwhile :; do sleep 0.05; done\n")
    sleeper.chmod(0o755)
    config = replace(site.broker_config(), binary=sleeper, start_timeout_seconds=0.2)
    with pytest.raises(Unavailable) as caught:
        await EmbeddedNats(config, clock=CLOCK).start()
    assert "not ready in 0.2 seconds" in caught.value.message
    await eventually(lambda: [pid for pid in processes() if str(sleeper) in command_line(pid)] == [])


async def test_a_start_that_is_cancelled_again_and_again_leaves_no_process(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.bus.broker_process._STOP_SECONDS", 0.5)
    stubborn, started = tmp_path / "nats-server", tmp_path / "started"
    stubborn.write_text(f"#!/bin/sh\ntrap '' TERM\ntouch {started}\nwhile :; do sleep 0.05; done\n")
    stubborn.chmod(0o755)
    broker = EmbeddedNats(replace(site.broker_config(), binary=stubborn), clock=CLOCK)
    starting = asyncio.ensure_future(broker.start())
    await eventually(started.exists)
    await cancellation.end(starting)
    assert starting.cancelled()
    # A shell that is just about to turn into its next command ends by itself.
    await eventually(lambda: [pid for pid in processes() if str(stubborn) in command_line(pid)] == [])


async def test_unusable_directory_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OrQuantaError) as caught:
        await EmbeddedNats(replace(site.broker_config(), directory=tmp_path / "file"), clock=CLOCK).start()
    assert caught.value.reason == "PATH_UNUSABLE"
    assert str(tmp_path / "file") in caught.value.message


async def test_configuration_and_data_are_private(site: Site, broker: EmbeddedNats) -> None:
    directory = site.directory / "nats"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "nats-server.conf").stat().st_mode & 0o777 == 0o600


async def test_renewed_certificate_is_shown_after_reload_and_the_control_plane_stays_connected(
    site: Site, tmp_path: Path
) -> None:
    files = ensure_server_certificate(site.ca, tmp_path / "own-tls", ["127.0.0.1"], clock=CLOCK)
    config = replace(site.broker_config(), certificate_file=files.certificate, key_file=files.key)
    async with EmbeddedNats(config, clock=CLOCK) as broker, Bus(site.endpoint(broker.url)) as bus:
        heard: asyncio.Queue[Message] = asyncio.Queue()
        await bus.subscribe("x", heard.put)
        before = await server_certificate(site, broker.port)
        ensure_server_certificate(site.ca, tmp_path / "own-tls", ["127.0.0.1", "localhost"], clock=CLOCK)
        broker.reload()

        async def renewed() -> bool:
            return await server_certificate(site, broker.port) != before

        await eventually(renewed)
        await bus.publish("x", b"same connection")
        await heard.get()
        assert bus.reconnects == 0


async def server_certificate(site: Site, port: int) -> bytes | None:
    context = site.tls()
    context.load_cert_chain(site.client.certificate, site.client.key)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True)
    finally:
        writer.transport.abort()


async def test_nothing_is_said_in_plain_text(broker: EmbeddedNats) -> None:
    """A server that says INFO first could be imitated by one that says that TLS is not needed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    try:
        writer.write(b"CONNECT {}\r\nPING\r\n")
        assert b"INFO" not in await reader.read(1024)
    except ConnectionResetError:
        pass
    finally:
        writer.close()


async def test_health_port_tells_nothing_to_who_does_not_know_its_path(broker: EmbeddedNats) -> None:
    assert broker._broker is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", broker._broker.monitor_port)
    writer.write(b"GET /connz HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b" 404 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "tls://127.0.0.1:4222"),
        ("0.0.0.0", "tls://127.0.0.1:4222"),
        ("::", "tls://[::1]:4222"),
        ("fd00::1", "tls://[fd00::1]:4222"),
    ],
)
def test_url_for_clients_on_this_machine(site: Site, host: str, url: str) -> None:
    assert EmbeddedNats(replace(site.broker_config(), host=host, port=4222), clock=CLOCK).url == url
