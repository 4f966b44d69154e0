"""A node's certificate is about to run out: the daemon gets a fresh one over the link, and no job notices."""

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.clock import SystemClock
from control_plane.identity.ca import CertificateAuthority
from control_plane.model.ids import NodeId
from node_agent.link import keys
from node_agent.link.identity import IdentityStore
from orquanta.gameday.fleet import Fleet, Host, wait_until
from orquanta.types.jobs import JobSpec, JobState, ResourceRequest
from tests.e2e.conftest import output, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(180)]

LIFE = timedelta(seconds=12)


def shorten(fleet: Fleet, host: Host) -> None:
    """Give the host a certificate that runs out within seconds, as if it had slept for most of a long one's life."""
    store = IdentityStore(host.state)
    identity = store.load()
    ca = CertificateAuthority.load_or_create(fleet.state / "identity" / "ca", clock=SystemClock())
    request = keys.make_request(store.pending_key_file)
    issued = ca.sign_node_csr(request, NodeId(host.node_id), lifetime=LIFE)
    facts = keys.inspect(store.pending_key_file, ca.trust_pem, issued.certificate_pem)
    store.save(
        node_name=identity.node_name,
        link_servers=identity.link_servers,
        facts=facts,
        certificate_pem=issued.certificate_pem,
        ca_pem=ca.trust_pem,
    )
    with sqlite3.connect(fleet.state / "orquanta.db", timeout=10) as database:
        database.execute("UPDATE nodes SET certificate_serial = ? WHERE id = ?", (issued.serial, host.node_id))
    database.close()


async def test_a_certificate_is_renewed_over_the_link_while_a_job_runs(quick_fleet: Callable[..., Fleet]) -> None:
    async with quick_fleet() as fleet:
        admin = await fleet.client()
        host = await fleet.add_host(admin, "host", "1xL4")
        command = "for i in $(seq 1 30); do echo $i; sleep 0.5; done"
        spec = JobSpec("working", ResourceRequest(1, ("L4",)), command=command, max_runtime_seconds=300)
        job = (await admin.jobs.submit(spec)).job
        await reaches(admin, job.id, JobState.RUNNING)
        await host.daemon.stop()
        shorten(fleet, host)
        short = host.identity
        host.daemon.start()
        await wait_until(lambda: host.identity != short, "the daemon has a fresh certificate")
        node = await admin.nodes.get(host.node_id)
        assert node.certificate_expires_at is not None
        assert node.certificate_expires_at > datetime.now(UTC) + timedelta(hours=23)
        done = await admin.jobs.wait(job.id)  # well after the short certificate has run out
        assert (done.state, done.epoch) == (JobState.SUCCEEDED, 1), done.status_reason
        async with asyncio.timeout(30):  # it comes back under the fresh certificate, at any moment
            async for seen in admin.nodes.watch():
                if seen.id == host.node_id and seen.connected:
                    break
        assert await output(admin, job.id, follow=True) == b"".join(b"%d\n" % number for number in range(1, 31))
        assert "link.certificate_renewed" in host.daemon.tail()
