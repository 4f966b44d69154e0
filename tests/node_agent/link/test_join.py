"""Joining: what goes right, and that everything that goes wrong says so and changes nothing."""

import errno
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from node_agent.clock import SystemClock
from node_agent.errors import (
    AgentError,
    AlreadyJoined,
    JoinRefused,
    NotJoined,
    ServerNotTrusted,
    ServerUnreachable,
    SettingsInvalid,
    StateUnusable,
)
from node_agent.link.identity import IdentityStore
from node_agent.link.join import JoinOrder, join
from node_agent.link.tls import Address
from node_agent.link.token import JoinToken
from tests.node_agent.daemon_process import command
from tests.node_agent.link.conftest import Join
from tests.node_agent.pki import Authority, key_of_request
from tests.node_agent.plane import Plane


class SetClock(SystemClock):
    def __init__(self, ahead: timedelta) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead


def _order(plane: Plane, *, server: str = "", token: str = "", force: bool = False) -> JoinOrder:
    return JoinOrder(
        server=Address.parse(server or plane.join_address),
        token=JoinToken.parse(token or plane.token),
        node_name="host-1",
        labels={},
        agent_version="1.2.3",
        force=force,
    )


async def _fails(order: JoinOrder, store: IdentityStore, kind: type[AgentError], text: str) -> None:
    with pytest.raises(kind, match=text):
        await join(order, store, clock=SystemClock())
    assert not store.is_joined()


async def test_joining_stores_an_identity_that_only_its_owner_can_read(
    joined: Join, plane: Plane, store: IdentityStore
) -> None:
    identity = await joined()
    assert identity.node_id == "n-0123456789ab"
    assert store.load() == identity
    assert identity.link_servers == (plane.link_address,)
    assert stat.S_IMODE(identity.key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(identity.directory.stat().st_mode) == 0o700
    request = plane.joins[0]
    assert (request.node_name, dict(request.labels), request.agent_version) == ("host-1", {"rack": "7"}, "1.2.3")
    assert b"PRIVATE" not in request.SerializeToString()


async def test_a_retry_after_a_lost_answer_uses_the_same_key(plane: Plane, store: IdentityStore, joined: Join) -> None:
    plane.join_error = (grpc.StatusCode.UNAVAILABLE, "try again")
    await _fails(_order(plane), store, ServerUnreachable, "Run the same command again")
    plane.join_error = None
    await joined()
    keys = {key_of_request(request.certificate_signing_request) for request in plane.joins}
    assert len(keys) == 1


async def test_joining_twice_is_refused_and_force_replaces_the_identity(
    plane: Plane, store: IdentityStore, joined: Join
) -> None:
    first = await joined()
    with pytest.raises(AlreadyJoined, match=r"already node n-0123456789ab.*--force"):
        await joined()
    assert store.load() == first
    plane.token_used_by = b""
    second = await join(_order(plane, force=True), store, clock=SystemClock())
    assert second.certificate.serial != first.certificate.serial
    assert store.load() == second
    assert not first.directory.exists()


async def test_a_token_that_another_host_used_is_refused(plane: Plane, store: IdentityStore) -> None:
    plane.token_used_by = b"another key"
    await _fails(_order(plane), store, JoinRefused, "used already")


async def test_the_control_planes_reason_is_shown(plane: Plane, store: IdentityStore) -> None:
    plane.join_error = (grpc.StatusCode.UNAUTHENTICATED, "the join token has expired; make a new one")
    await _fails(_order(plane), store, JoinRefused, "has expired; make a new one")


async def test_a_token_of_another_control_plane_is_found_before_it_is_sent(plane: Plane, store: IdentityStore) -> None:
    other = Plane(Authority()).token
    await _fails(_order(plane, token=other), store, ServerNotTrusted, "not the control plane of the trusted")
    assert plane.joins == []


async def test_a_server_under_another_name_is_found(plane: Plane, store: IdentityStore) -> None:
    address = plane.join_address.replace("127.0.0.1", "127.0.0.2")
    async with _serving_on(plane, "127.0.0.2:0") as port:
        await _fails(
            _order(plane, server=f"127.0.0.2:{port}"), store, ServerNotTrusted, "certificate of .* is for another name"
        )
    assert address not in plane.join_address


def _serving_on(plane: Plane, address: str) -> "_Extra":
    return _Extra(plane, address)


class _Extra:
    def __init__(self, plane: Plane, address: str, not_after: datetime | None = None) -> None:
        pair = plane.authority.server(not_after=not_after)
        self._server = grpc.aio.server()
        self._port = self._server.add_secure_port(
            address, grpc.ssl_server_credentials([(pair.key_pem, pair.certificate_pem)])
        )

    async def __aenter__(self) -> int:
        await self._server.start()
        return self._port

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)


async def test_an_expired_server_certificate_points_to_the_clock(plane: Plane, store: IdentityStore) -> None:
    extra = _Extra(plane, "127.0.0.1:0", not_after=datetime.now(UTC) - timedelta(hours=1))
    async with extra as port:
        await _fails(_order(plane, server=f"127.0.0.1:{port}"), store, ServerNotTrusted, "clock")


async def test_nothing_listening_is_said(plane: Plane, store: IdentityStore) -> None:
    await _fails(
        _order(plane, server="127.0.0.1:1"), store, ServerUnreachable, "Connection refused|Connect call failed"
    )


async def test_the_daemons_port_is_not_the_place_to_join(plane: Plane, store: IdentityStore) -> None:
    await _fails(_order(plane, server=plane.link_address), store, ServerUnreachable, "port for people")
    assert plane.joins == []


async def test_a_clock_two_hours_off_is_refused(plane: Plane, store: IdentityStore) -> None:
    with pytest.raises(JoinRefused, match=r"clock is 2\.0 hours off"):
        await join(_order(plane), store, clock=SetClock(timedelta(hours=2)))
    assert not store.is_joined()


async def test_a_certificate_that_is_not_valid_at_the_hosts_time_is_not_stored(
    plane: Plane, store: IdentityStore
) -> None:
    plane.certificate_starts_in = timedelta(hours=2)
    plane.certificate_lifetime = timedelta(hours=9)
    await _fails(_order(plane), store, JoinRefused, "Set the clock")


async def test_a_full_disk_before_the_call_leaves_the_token_unused(
    plane: Plane, store: IdentityStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    await _fails(_order(plane), store, StateUnusable, r"No space left.*token was not used")
    assert plane.joins == []


async def test_a_state_directory_that_cannot_be_made_is_said(plane: Plane, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    await _fails(_order(plane), IdentityStore(tmp_path / "file" / "state"), StateUnusable, "cannot be written")
    assert plane.joins == []


async def test_a_damaged_identity_is_said(store: IdentityStore, joined: Join) -> None:
    identity = await joined()
    (identity.directory / "node.json").write_text("{")
    with pytest.raises(StateUnusable, match="cannot be read"):
        store.load()


def test_no_identity_says_how_to_get_one(store: IdentityStore) -> None:
    with pytest.raises(NotJoined, match="orquanta-node join"):
        store.load()


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:x", "host:0", "host:65536", "host:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="HOST:PORT"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "host", "port"), [("h:1", "h", 1), ("[::1]:2", "::1", 2), (" 10.0.0.1:50051 ", "10.0.0.1", 50051)]
)
def test_addresses_are_read_and_written(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert str(address) == text.strip()


async def test_the_command_line_joins_with_a_token_from_its_input(plane: Plane, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    done = await command(
        *("join", "--server", plane.join_address, "--token", "-", "--state-dir", state, "--label", "rack=7"),
        stdin=plane.token + "\n",
    )
    assert (done.exit_code, done.errors) == (0, "")
    assert "Joined as node n-0123456789ab" in done.output
    assert dict(plane.joins[0].labels) == {"rack": "7"}


async def test_the_command_line_shows_an_error_and_never_the_token(plane: Plane, tmp_path: Path) -> None:
    plane.join_error = (grpc.StatusCode.UNAUTHENTICATED, "the join token has expired")
    state = str(tmp_path / "state")
    done = await command("join", "--server", plane.join_address, "--state-dir", state, ORQUANTA_NODE_TOKEN=plane.token)
    assert done.exit_code == 77
    assert "has expired" in done.errors
    assert "Traceback" not in done.errors
    assert "ssss" not in done.errors
