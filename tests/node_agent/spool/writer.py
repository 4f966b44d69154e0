"""A process that appends to a spool until it is killed, and says which sequences it was promised."""

import asyncio
import sys
from pathlib import Path

from node_agent.clock import SystemClock
from node_agent.spool.spool import Spool
from orquanta.v1 import health_pb2, node_link_pb2


def event(name: str) -> node_link_pb2.SpoolRecord:
    return node_link_pb2.SpoolRecord(health_event=health_pb2.HealthEvent(id=name, reason="x" * 200))


async def _append_for_ever(directory: Path, run: str) -> None:
    async with Spool(directory, SystemClock()) as spool, asyncio.TaskGroup() as group:
        group.create_task(spool.run())
        number = 0
        while True:
            names = [f"{run}-{number + offset}" for offset in range(3)]
            number += len(names)
            last = await spool.append(*map(event, names), state={"newest": names[-1].encode()})
            sys.stdout.write(f"{last} {' '.join(names)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_append_for_ever(Path(sys.argv[1]), sys.argv[2]))
