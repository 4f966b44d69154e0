"""`orquanta-sim` as a measurement runs it: started, followed by what it says each second, and ended."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orquanta.gameday.fleet import Fleet


@dataclass
class Simulation:
    """`orquanta-sim` with what it says each second."""

    process: asyncio.subprocess.Process
    figures: dict[str, float]

    def begin_script(self) -> None:
        """Count the moments of its script from now on, in all of its processes."""
        self.process.send_signal(signal.SIGUSR1)

    async def until(self, name: str, least: float, seconds: float) -> None:
        """Wait until one of its figures has reached this."""
        async with asyncio.timeout(seconds):
            while self.figures.get(name, 0) < least:
                if self.process.returncode is not None:
                    raise RuntimeError(f"the simulator ended: {self.figures}")
                await asyncio.sleep(0.2)


@asynccontextmanager
async def simulation(fleet: Fleet, hosts: int, processes: int, *arguments: str) -> AsyncIterator[Simulation]:
    """Run simulated hosts against the fleet."""
    command = [sys.executable, "-m", "simulator", "--server", fleet.server, "--hosts", str(hosts), "--follow"]
    command += ["--api-key-file", str(fleet.directory / "key"), "--ca-file", str(fleet.ca_file)]
    command += ["--telemetry", "none", "--processes", str(processes), "--script-on-signal", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, limit=1 << 20)
    made = Simulation(process, {})

    async def follow() -> None:
        while process.stdout is not None and (line := await process.stdout.readline()):
            made.figures.update(json.loads(line))

    following = asyncio.create_task(follow())
    try:
        yield made
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
        await following
