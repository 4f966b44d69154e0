"""A host that is booted anew is taken up as soon as the stream that it has left behind is known to be dead."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from control_plane.model.record import AuditRecord
from control_plane.services.link_terms import LinkTerms
from control_plane.store import audit
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Tx
from control_plane.store.pages import page_request
from tests.control_plane.services.node_link.hosts import Stream
from tests.control_plane.services.node_link.rig import Rig, running

CALM = LinkTerms(heartbeat_seconds=60.0, lease_seconds=180.0, flush_seconds=0.05, verdict_seconds=0.05)


class Machine:
    """The network stack of a host, between its daemon and the control plane.

    While it is off, what comes is lost. Once it is up again it knows nothing of the connections before: what comes for
    one of them then is answered by a reset.
    """

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._off = asyncio.Event()
        self._up = asyncio.Event()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection both ways until the machine goes off; once it is up again, reset it when asked."""
        above, out = await asyncio.open_connection(self._host, self._port)
        ways = [asyncio.create_task(_carry(reader, out)), asyncio.create_task(_carry(above, writer))]
        try:
            await self._off.wait()
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            ways.append(asyncio.create_task(_lose(above)))
            await self._up.wait()
            ways[-1].cancel()
            await asyncio.wait(ways)
            await above.read(1)
            out.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            for way in ways:
                way.cancel()
            out.transport.abort()
            writer.transport.abort()

    def go_off(self) -> None:
        """Forget every connection."""
        self._off.set()

    def come_up(self) -> None:
        """Answer again."""
        self._off.set()
        self._up.set()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


async def _lose(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


@asynccontextmanager
async def behind(rig: Rig) -> AsyncIterator[Machine]:
    """Have the rig's hosts speak through a machine of theirs from now on."""
    direct, machine = rig.nodes_address, Machine(rig.nodes_address)
    async with asyncio.TaskGroup() as carrying:

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            carrying.create_task(machine.carry(reader, writer))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        rig.nodes_address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield machine
        finally:
            rig.nodes_address = direct
            server.close()
            machine.come_up()


async def test_a_host_booted_anew_within_a_beat_is_taken_up_once_its_old_connection_is_reset(tmp_path: Path) -> None:
    async with running(tmp_path, terms=CALM) as rig:
        host = await rig.join("gpu-1")
        direct = rig.nodes_address
        async with behind(rig) as machine, host.connect() as old:
            await old.next("desired_state")
            await old.heartbeat(1)
            await old.next("heartbeat_ack")
            rig.nodes_address = direct
            machine.go_off()
            await asyncio.sleep(0)
            machine.come_up()
            assert (await rig.node(host.node_id)).connected, "nothing was said that could be answered by a reset"
            async with host.dial() as first:
                await first.send(hello=host.hello(boot_id="next-boot"))
                assert await _told_to_come_back(first) <= 5.0
            await rig.until_node(host.node_id, lambda node: not node.connected)
            async with host.connect(boot_id="next-boot"):
                assert (await rig.node(host.node_id)).connected
            assert await rig.audited(host.node_id, "link.refuse") == [], "nobody's key was copied"


async def test_a_host_that_is_asked_for_a_sign_of_life_takes_no_notice_of_it(tmp_path: Path) -> None:
    async with running(tmp_path, terms=CALM) as rig:
        host = await rig.join("gpu-1")
        async with host.connect() as alive, host.dial() as other:
            await other.send(hello=host.hello(boot_id="boot-of-the-clone"))
            await _told_to_come_back(other)
            assert (await alive.next("heartbeat_ack")).heartbeat_ack.sequence == 0, "no heartbeat of its own"
            await alive.heartbeat(1)
            assert (await alive.next("heartbeat_ack")).heartbeat_ack.sequence == 1


async def test_a_clone_that_was_let_in_is_on_record_as_soon_as_the_host_that_was_only_slow_calls_again(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, terms=CALM) as rig:
        host = await rig.join("gpu-1")
        async with host.connect() as slow:
            rig.clock.offset_seconds += 76
            async with host.connect(boot_id="boot-of-the-clone"):
                assert (await slow.farewell()).reason.startswith("replaced")
                async with host.dial() as back:
                    await back.send(hello=host.hello())
                    assert "join --force" in (await back.farewell()).reason
                    assert len(await rig.audited(host.node_id, "link.refuse")) == 1


async def test_a_clone_that_came_and_went_is_on_record_once_the_host_is_linked_again(tmp_path: Path) -> None:
    async with running(tmp_path, terms=CALM) as rig:
        host = await rig.join("gpu-1")
        async with host.connect():
            rig.clock.offset_seconds += 76
            async with host.connect(boot_id="boot-of-the-clone"):
                pass
        await rig.until_node(host.node_id, lambda node: not node.connected)
        async with host.connect():
            await rig.until(_refusals, lambda records: len(records) == 1)


def _refusals(tx: Tx) -> list[AuditRecord]:
    page = audit.page(tx, AuditFilter(), page_request(500, ""))
    return [record for record in page.items if record.action == "link.refuse"]


async def _told_to_come_back(stream: Stream) -> float:
    farewell = await stream.farewell()
    assert "may still be alive" in farewell.reason
    assert not farewell.permanent
    return farewell.retry_after.ToTimedelta().total_seconds()
