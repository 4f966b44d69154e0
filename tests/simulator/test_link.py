"""A virtual host's link to a real control plane."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.services.link_terms import LinkTerms
from simulator.counts import HostCounts, Latencies
from simulator.draws import Duration
from simulator.host import Terms, VirtualHost
from simulator.identity import Identity
from simulator.link import HostLink, LinkCounts
from simulator.members import JobTerms
from simulator.models import MODELS
from simulator.repairs import RepairTerms
from tests.control_plane.services.node_link.hosts import Host, key_pem
from tests.control_plane.services.node_link.rig import running

NOW = 1_800_000_000.0
SELDOM = LinkTerms(heartbeat_seconds=600.0, lease_seconds=1_800.0, verdict_seconds=0.05)


@dataclass
class Fences:
    """Each fence of a host after one of its streams began or ended, or an order came."""

    seen: list[float] = field(default_factory=list)
    ordered: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, host: VirtualHost) -> None:
        self.seen.append(host.fence_at)
        if len(self.seen) > 1:
            self.ordered.set()


def virtual(host: Host, fences: Fences) -> HostLink:
    """Return the link of a virtual host that has the identity of another one."""
    terms = Terms(
        MODELS["H100"],
        2,
        JobTerms(Duration.parse("30"), 0, 1),
        RepairTerms(Duration.parse("2"), Duration.parse("20"), 0, 1),
        1,
    )
    body = VirtualHost(0, host.name, host.node_id, terms, HostCounts(), Latencies(), NOW)
    identity = Identity(
        host.name,
        host.node_id,
        key_pem(host.key).decode(),
        host.certificate.decode(),
        host.rig.ca.trust_pem.decode(),
        (host.rig.nodes_address,),
    )
    return HostLink(body, identity, LinkCounts(), on_change=fences.note, on_nats=lambda _: None, dice=random.Random(1))


async def test_a_sign_of_life_before_the_first_heartbeat_moves_no_fence(tmp_path: Path) -> None:
    fences = Fences()
    async with running(tmp_path, terms=SELDOM) as rig:
        host = await rig.join("gpu-1")
        link = virtual(host, fences)
        running_link = asyncio.create_task(link.run())
        try:
            async with asyncio.timeout(30):
                await fences.ordered.wait()
            async with host.dial() as other:
                await other.send(hello=host.hello(boot_id="another-boot"))
                await other.farewell()
            fences.ordered.clear()
            await rig.place(await rig.launch(1), (host, list(link.host.body.uuids[:1])))
            async with asyncio.timeout(30):
                await fences.ordered.wait()
            assert fences.seen[-1] == fences.seen[0], "what was said last comes after the sign of life"
        finally:
            running_link.cancel()
            with suppress(asyncio.CancelledError):
                await running_link
