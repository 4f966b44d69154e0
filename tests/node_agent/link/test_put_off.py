"""A control plane that has too many hosts to greet sends one away for a while: it comes back then, and cheaply."""

import random
from datetime import timedelta
from pathlib import Path

import pytest

from node_agent.link.identity import IdentityStore
from node_agent.link.stream_end import disconnected
from orquanta.v1 import node_link_pb2
from tests.node_agent.link.conftest import Join
from tests.node_agent.link.scripted import linked
from tests.node_agent.plane import Plane


def put_off(seconds: float, *, permanent: bool = False) -> node_link_pb2.Disconnect:
    made = node_link_pb2.Disconnect(reason="the control plane is taking up other hosts", permanent=permanent)
    made.retry_after.FromTimedelta(timedelta(seconds=seconds))
    return made


async def test_a_host_that_is_put_off_comes_back_over_the_same_connection(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.refuse = put_off(0.05)
    async with linked(joined, store, tmp_path) as (_, host):
        await plane.wait_for(lambda: len(plane.streams) >= 3)
        plane.refuse = None
        await plane.up(streams=4)
    assert len(set(plane.peers)) == 1
    assert "the control plane is taking up other hosts" in [status.reason for status in host.statuses]


async def test_jobs_of_a_host_that_has_to_wait_run_on_if_the_control_plane_says_so(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.refuse = put_off(0.05)
    async with linked(joined, store, tmp_path) as (_, host):
        await plane.wait_for(lambda: len(plane.streams) >= 2)
        assert host.fences == []
        began = host.boottime()
        plane.refuse.fence.FromTimedelta(timedelta(seconds=100))
        await plane.wait_for(lambda: bool(host.fences))
        assert began + 100 - 30 < host.fences[0] < host.boottime() + 100


async def test_a_host_that_has_to_wait_never_has_its_fence_moved_back(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    async with linked(joined, store, tmp_path) as (_, host):
        stream = await plane.up()
        await host.wait_for(lambda: host.fences)
        plane.refuse = put_off(0.05)
        plane.refuse.fence.FromTimedelta(timedelta(seconds=3))
        stream.send(node_link_pb2.ConnectResponse(disconnect=put_off(0.05)))
        await plane.wait_for(lambda: len(plane.streams) >= 3)
        assert host.fences == sorted(host.fences)


async def test_a_stream_that_was_up_is_followed_by_a_connection_of_its_own(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    async with linked(joined, store, tmp_path):
        stream = await plane.up()
        stream.send(node_link_pb2.ConnectResponse(disconnect=put_off(0.05)))
        await plane.up(streams=2)
    assert len(set(plane.peers)) == 2


def test_a_host_waits_as_long_as_it_was_told_and_a_little_by_chance() -> None:
    chance = random.Random(1)
    pauses = [disconnected(put_off(10.0), chance).retry_after_seconds for _ in range(100)]
    assert min(pauses) >= 10.0
    assert max(pauses) <= 12.0
    assert len(set(pauses)) > 90


@pytest.mark.parametrize(("seconds", "permanent"), [(0.0, False), (-5.0, False), (10.0, True)])
def test_an_end_without_a_pause_or_for_good_is_not_being_put_off(seconds: float, *, permanent: bool) -> None:
    assert not disconnected(put_off(seconds, permanent=permanent)).is_put_off


def test_no_control_plane_can_send_a_host_away_for_a_day() -> None:
    assert disconnected(put_off(86_400.0)).retry_after_seconds == 600.0
