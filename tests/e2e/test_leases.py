"""Two control planes, of which one is killed: their hosts are judged by the leases that they were told."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import insert

from control_plane.clock import SystemClock
from control_plane.model.ids import NODE, NodeId, derived_id
from control_plane.store import audit, nodes, told_leases
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.pages import page_request
from control_plane.store.tables import NodeRow
from tests.e2e.replicas import ReplicatedFleet
from tests.postgresql import PostgreSql

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.postgres, pytest.mark.timeout(240)]

LEASE_SECONDS = 24.0


def _join_thousands(tx: Tx) -> None:
    """Join hosts that have never called, as many as make a lease of 24 seconds."""
    row = {"state": "joining", "labels": {}, "certificate_serial": "1", "certificate_expires_at": tx.now}
    names = [f"absent-{number}" for number in range(4_000)]
    tx.session.execute(
        insert(NodeRow), [{**row, "id": derived_id(NODE, name), "name": name, "created_at": tx.now} for name in names]
    )


async def test_hosts_of_a_control_plane_that_was_killed_are_lost_by_no_shorter_lease_than_they_were_told(
    tmp_path: Path, postgresql: PostgreSql
) -> None:
    with postgresql.database() as url:
        store = await Store.open(url, clock=SystemClock(), shared=True)
        try:
            await store.write(_join_thousands)
            async with ReplicatedFleet(tmp_path / "fleet", url) as fleet:
                clients = {one.name: await fleet.client(one) for one in fleet.replicas}
                first = await fleet.leader(clients["alpha"])
                (second,) = [one for one in fleet.replicas if one is not first]
                told = await store.read(told_leases.every)
                assert [one.seconds for one in told.values()] == [LEASE_SECONDS] * 2, "each has counted the fleet"
                host = await fleet.add_host(clients[second.name], second.server, "one", "4xH100")

                first.program.kill()
                await fleet.leader(clients[second.name], other_than=first.name)
                await first.start()
                assert len(await store.read(told_leases.every)) == 3, "what the killed one has told still counts"
                node_id = NodeId(host.node_id)
                before = (await store.read(nodes.sightings)).get(node_id)
                # It beats every eight seconds, more seldom than the lease that is set.
                async with asyncio.timeout(60):
                    while (await store.read(nodes.sightings)).get(node_id) in (None, before):  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
                page = await store.read(lambda tx: audit.page(tx, AuditFilter(node_id=node_id), page_request(500, "")))
                assert "node.lost" not in {record.action for record in page.items}
        finally:
            await store.close()
