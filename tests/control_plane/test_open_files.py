"""However many connect, files are left for what the control plane needs itself."""

import asyncio
import resource

import grpc
import pytest
from grpc import aio

from control_plane.listeners import _CONNECTIONS_MAX
from control_plane.open_files import Connections, connections, raise_limit


@pytest.mark.parametrize(
    ("files", "shared"),
    [
        (64, Connections(people=16, hosts=32)),
        (1_024, Connections(people=256, hosts=512)),
        (20_000, Connections(people=4_096, hosts=15_136)),
        (65_536, Connections(people=4_096, hosts=60_672)),
        (1_048_576, Connections(people=4_096, hosts=1_043_712)),
    ],
)
def test_connections_leave_files_for_everything_else(files: int, shared: Connections) -> None:
    assert connections(files) == shared


def test_all_files_that_may_be_taken_are_taken() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, before[1]))
    try:
        taken = raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (taken, before[1])
        assert taken >= 1_024
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_who_connects_beyond_the_bound_is_hung_up_on_until_another_one_goes() -> None:
    server = aio.server(options=[(_CONNECTIONS_MAX, 1)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    apart = (("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100))
    try:
        async with asyncio.timeout(60), aio.insecure_channel(f"127.0.0.1:{port}", options=apart) as second:
            async with aio.insecure_channel(f"127.0.0.1:{port}", options=apart) as first:
                await first.channel_ready()
                second.get_state(try_to_connect=True)
                state = grpc.ChannelConnectivity.IDLE
                while state is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    await second.wait_for_state_change(state)
                    state = second.get_state(try_to_connect=True)
            await second.channel_ready()
    finally:
        await server.stop(None)
