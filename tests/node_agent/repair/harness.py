"""A daemon with nothing but its repair engine, to be killed at chosen moments.

`python -m tests.node_agent.repair.harness DIRECTORY BOOT_ID [write N before|after]` carries out the order in
`DIRECTORY/order`, or what is left of it, and ends when it has ended.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from node_agent.health.model import Rung
from node_agent.repair.journal import Entry, RepairJournal
from tests.node_agent.repair.repair_host import Host, ended, running
from tests.node_agent.repair.stage import Stage
from tests.node_agent.repair.values import order


class DeadlyJournal(RepairJournal):
    """Kills its own process at one of its writes."""

    def __init__(self, directory: Path, number: int, *, before: bool) -> None:
        super().__init__(directory)
        self._left, self._before = number, before

    def write(self, entry: Entry, stamp: int) -> None:
        if self._left == 0 and self._before:
            os.kill(os.getpid(), signal.SIGKILL)
        super().write(entry, stamp)
        if self._left == 0 and not self._before:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


async def main(root: Path, boot_id: str, number: int, when: str) -> None:
    stage = Stage(root)
    host = Host(stage)
    document = json.loads((root / "order").read_text())
    wanted = order(Rung[document.pop("rung")], **document)
    engine = host.engine(boot_id=boot_id)
    engine._parts = engine._parts.__class__(  # the engine as it is, with another journal
        **{name: getattr(engine._parts, name) for name in engine._parts.__slots__ if name != "journal"},
        journal=DeadlyJournal(stage.journal_dir, number, before=when == "before"),
    )
    await host.hardware.reacquire()
    engine.order(wanted)
    try:
        async with running(engine):
            await ended(engine, wanted.id)
    finally:
        host.hardware.stop_probe()


if __name__ == "__main__":
    crash = sys.argv[3:]
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(crash[1]) if crash else -1, crash[2] if crash else ""))
