"""The disk of a host is full."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from orquanta.gameday import kernel, local
from orquanta.gameday.fleet import FleetError, Host
from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Stage
from orquanta.gameday.tools import missing
from orquanta.types.incidents import IncidentState
from orquanta.types.nodes import NodeState

_SIZE = "24m"
_XIDS = (31, 13)
_STEPS = (1 << 20, 1 << 12, 1)
_SOONER = "[health]\nreport = { for_seconds = 0.0, clear_after_seconds = 1.0 }\n"
"""A disk that is short again and again must not count each time; half a minute of that would be spent for nothing."""


async def _play(stage: Stage) -> None:
    async with _small_disk(stage.fleet.directory / "small-disk") as disk:
        (host,) = await stage.add_hosts(1, state=disk, config=_SOONER)
        gpu = await stage.gpu(host)
        pid = host.daemon.pid
        ballast = _fill(disk)
        stage.note(f"{host.name}: the disk of its daemon is full")
        await stage.condition(host, "DISK_FULL")
        incident = await stage.incident(host, IncidentState.OPEN)
        stage.expect("no repair is made up for it", not incident.repairs, str(incident.repairs))
        for code in _XIDS:
            await stage.print(host, kernel.xid(gpu, code, "while the disk is full", pid=4321, name="python"))
        for code in _XIDS:
            await _until_known(stage, host, code)
        fault = (await local.status(host))["spool_state"]["fault"]
        stage.expect("the daemon says that its disk refuses", bool(fault), "its status names no fault of the spool")
        ballast.unlink()
        stage.note(f"{host.name}: there is space again")

        async def spool_is_empty() -> bool:
            state = (await local.status(host))["spool_state"]
            return not state["fault"] and bool(state["last"] == state["acknowledged"])

        await stage.until("the spool writes again, and nothing waits in it", spool_is_empty)
        await stage.condition(host, "DISK_FULL", present=False)
        await stage.incident(host, IncidentState.RESOLVED)
        counts = {one.code: one.count for one in (await stage.node(host)).conditions if one.code in _XIDS}
        stage.expect("each event is in the books once", counts == dict.fromkeys(_XIDS, 1), str(counts))
        stage.expect("the daemon is the same as before", host.daemon.pid == pid, host.daemon.tail())
        lost = (await local.status(host))["spool_state"]["lost_records"]
        stage.expect("no event was lost", lost == 0, f"{lost} were")
        await stage.becomes(host, NodeState.READY)
        await host.daemon.stop()


async def _until_known(stage: Stage, host: Host, code: int) -> None:
    async def known() -> bool:
        return any(one.code == code for one in (await stage.node(host)).conditions)

    await stage.until(f"XID {code} is in the books, though it cannot be stored", known)


def _fill(directory: Path) -> Path:
    """Take every byte that is left; return the file to remove again."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in _STEPS:
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return ballast


@contextlib.asynccontextmanager
async def _small_disk(directory: Path) -> AsyncIterator[Path]:
    await _run("mkdir", str(directory))
    await _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "tmpfs", str(directory))
    try:
        yield directory
    finally:
        await _run("umount", "--lazy", str(directory))


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    if process.returncode != 0:
        raise FleetError(f"{' '.join(command)}: {said.decode(errors='replace').strip()}")


def _obstacle() -> str:
    if os.geteuid() != 0:
        return "only root can mount a small disk"
    return missing("mount", "umount")


SCENARIO = Scenario(
    "full_disk",
    "The disk of a host is full",
    "The daemon says so, tells of faults from memory meanwhile, loses none, and goes on by itself once there is space.",
    _play,
    obstacle=_obstacle,
)
