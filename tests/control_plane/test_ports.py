"""A port that is held goes to nobody but the server that it is held for."""

import asyncio
import errno
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc import aio

from control_plane.errors import PreconditionFailed
from control_plane.held_port import HeldPort
from control_plane.ports import hold_port, reachable
from control_plane.server import ControlPlane
from control_plane.services.composition import SERVER_OPTIONS
from control_plane.setting_addresses import join_address, split_address
from control_plane.settings import Settings

HOSTS = ["127.0.0.1", "0.0.0.0", "::1", "::"]


def taken(port: int, host: str = "127.0.0.1") -> bool:
    """Whether the kernel refuses the port to a program that asks for it, as it does to connections."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as other:
        try:
            other.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


@pytest.mark.parametrize("host", HOSTS)
async def test_a_held_port_is_refused_to_others_and_served_by_grpc(host: str) -> None:
    with HeldPort(host, 0) as held:
        assert taken(held.port, host)
        server = aio.server(options=SERVER_OPTIONS)
        assert server.add_insecure_port(join_address(host, held.port)) == held.port
        await server.start()
        near = "[::1]" if ":" in host else "127.0.0.1"
        async with aio.insecure_channel(f"{near}:{held.port}") as channel, asyncio.timeout(60):
            await channel.channel_ready()
        await server.stop(None)
        assert taken(held.port, host)
    assert not taken(held.port, host)


def test_two_that_hold_one_port_do_not_both_listen_on_it() -> None:
    with HeldPort("127.0.0.1", 0) as first, HeldPort("127.0.0.1", first.port) as second:
        server, late = (grpc.server(ThreadPoolExecutor(1), options=SERVER_OPTIONS) for _ in range(2))
        server.add_insecure_port(f"127.0.0.1:{first.port}")
        with pytest.raises(RuntimeError):
            late.add_insecure_port(f"127.0.0.1:{second.port}")


@pytest.mark.parametrize(
    ("address", "reason"),
    [(lambda port: f"127.0.0.1:{port}", "PORT_TAKEN"), (lambda port: f"203.0.113.1:{port}", "ADDRESS_UNUSABLE")],
)
def test_an_address_that_cannot_be_held_is_named_with_its_flag(address: Callable[[int], str], reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(PreconditionFailed) as caught:
        hold_port("people_address", address(listening.getsockname()[1]))
    assert caught.value.reason == reason
    assert "--people-address" in caught.value.message


def test_a_control_plane_holds_its_ports_from_the_moment_it_has_chosen_them(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, people_address="127.0.0.1:0", nodes_address="127.0.0.1:0")
    control_plane = ControlPlane(settings)
    servers = [control_plane._people_server, control_plane._nodes_server]
    with control_plane._held:
        assert all(taken(split_address(server)[1]) for server in servers)
    assert not any(taken(split_address(server)[1]) for server in servers)


def test_a_server_on_an_ipv6_address_is_named_as_clients_write_it() -> None:
    assert reachable("[::1]:0", 50051, ()) == "[::1]:50051"
