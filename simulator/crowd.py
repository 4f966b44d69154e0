"""The hosts shared among several processes of this program: one event loop is one core at most."""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from typing import Final

from simulator.faults import Script
from simulator.identity import SimulatorError
from simulator.options import Options

_STOP_SECONDS: Final = 10.0
_LINE_BYTES: Final = 1 << 20


class Crowd:
    """Processes of this program with a part of the hosts each. `run` until cancelled, or until all have ended."""

    def __init__(self, options: Options, arguments: Sequence[str]) -> None:
        self._options = options
        self._arguments = list(arguments)
        self._figures: dict[int, dict[str, int | float | str]] = {}
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    def figures(self) -> dict[str, int | float | str]:
        """Return what happened so far in all processes together: counts added up, of latencies the worst process's."""
        total: dict[str, int | float | str] = {}
        for figures in self._figures.values():
            for name, value in figures.items():
                before = total.get(name, 0)
                if isinstance(value, str) or isinstance(before, str):
                    total[name] = value or before
                else:
                    total[name] = before + value if isinstance(value, int) else max(before, value)
        return total

    def begin_script(self) -> None:
        """Have all processes count the moments of the script from now on."""
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGUSR1)

    async def run(self) -> None:
        """Run the processes. Raises SimulatorError if one of them ends by itself with an error."""
        async with asyncio.TaskGroup() as group:
            first = self._options.first
            for part in range(self._options.processes):
                hosts = _share(self._options.hosts, part, self._options.processes)
                group.create_task(self._run_part(part, first, hosts))
                first += hosts

    async def _run_part(self, part: int, first: int, hosts: int) -> None:
        command = [sys.executable, "-m", "simulator", *_without(self._arguments, "--fault", "--processes", "--hosts")]
        command += ["--hosts", str(hosts), "--first", str(first), "--follow"]
        for script in self._options.scripts:
            command += ["--fault", _part_of(script, part, self._options.processes)]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, limit=_LINE_BYTES
        )
        self._processes[part] = process
        try:
            while process.stdout is not None and (line := await process.stdout.readline()):
                self._figures[part] = json.loads(line)
            if await process.wait() != 0:
                raise SimulatorError(f"the process of the hosts from {self._options.host_name(first)} on has ended")
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(_STOP_SECONDS):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()


def _share(total: int, part: int, parts: int) -> int:
    return total * (part + 1) // parts - total * part // parts


def _part_of(script: Script, part: int, parts: int) -> str:
    if not script.at_seconds and not script.hosts:
        return f"{script.name}:{script.rate_per_host_hour}"
    return f"{script.name}@{script.at_seconds}:{_share(script.hosts, part, parts)}"


def _without(arguments: Sequence[str], *names: str) -> list[str]:
    """Return the arguments without these options and their values."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in names:
            skip = True
        elif argument.partition("=")[0] not in names:
            kept.append(argument)
    return kept
