"""Hosts that are all in trouble at one moment, and what the books tell of each."""

from collections.abc import Sequence

from control_plane.governor import health
from control_plane.governor.health import Record
from control_plane.model.health import HealthEvent, HealthEventKind
from control_plane.model.incident import Incident
from control_plane.model.node import Node
from control_plane.store.database import Tx
from tests.control_plane.clinic import Clinic

HOSTS = 12


async def storm(clinic: Clinic, number: int = HOSTS) -> list[Node]:
    """Hosts that all say at the same moment that they are in trouble; nothing is done about it yet."""
    await clinic.treat()
    hosts = [
        await clinic.world.node(f"host-{index:02}", gpu=2, labels={"rack": f"rack-{index % 3}", "pool": "train"})
        for index in range(number)
    ]
    await breaks(clinic, hosts)
    return hosts


async def breaks(clinic: Clinic, hosts: Sequence[Node]) -> None:
    now = clinic.world.clock.now()

    def take(tx: Tx) -> None:
        health.load(tx, [host.id for host in hosts])
        for host in hosts:
            raised = HealthEvent("event-1", HealthEventKind.RAISED, clinic.trouble("gpu/xid-119", host), now)
            health.take(tx, host.id, "spool-1", [Record(1, now, raised)], live_from=None)

    await clinic.world.store.write(take)


def clears(clinic: Clinic, host: Node, tx: Tx) -> None:
    now = clinic.world.clock.now()
    over = HealthEvent("event-2", HealthEventKind.CLEARED, clinic.trouble("gpu/xid-119", host), now)
    health.take(tx, host.id, "spool-1", [Record(2, now, over)], live_from=None)


def told(incident: Incident) -> list[tuple[str, str]]:
    """An incident's entries in words that are the same on every host."""
    own = {incident.id, incident.node_name, *(repair.id for repair in incident.repairs)}
    found = []
    for entry in incident.entries:
        message = entry.message
        for name in own:
            message = message.replace(name, "…")
        found.append((entry.kind, message))
    return found
