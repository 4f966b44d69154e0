"""The hosts: processes of the simulator with a part of them each, which write what happens on them to a journal."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chaos.plan import faults
from orquanta.gameday.fleet import Program

AWAY_SECONDS: Final = 22.0
"""Longer than lease, fence and margin together (19 s): the jobs of such a host run elsewhere then."""

GPUS: Final = 4
_PARTS: Final = 2


class Hosts:
    """Half of the hosts in each of two processes. `started_at` is monotonic."""

    def __init__(self, directory: Path, count: int, seed: int, seconds: float, *, server: str, ca_file: Path) -> None:
        self.count = count
        self.started_at = 0.0
        self._directory = directory
        self._seed = seed
        self._seconds = seconds
        self._server = server
        self._ca_file = ca_file
        self._programs: dict[int, Program] = {}

    @property
    def journals(self) -> tuple[Path, ...]:
        """Where what happened is written."""
        return tuple(self._directory / f"journal-{part}" for part in range(_PARTS))

    @property
    def key_file(self) -> Path:
        """Where the key is expected with which hosts are joined."""
        return self._directory / "key"

    def start(self) -> None:
        """Start all."""
        self.started_at = time.monotonic()
        for part in range(_PARTS):
            self.start_part(part)

    def start_part(self, part: int) -> None:
        """Start one process, or start it again: its hosts come back, and remember what ran on them."""
        self._programs[part] = Program(
            f"hosts {part}",
            ["-m", "simulator", *self._arguments(part)],
            self._directory / f"hosts-{part}.log",
            {},
        )
        self._programs[part].start()

    def kill_part(self, place: float) -> int:
        """`kill -9` one of the processes; return which. Its journal says when all was over on its hosts."""
        part = min(int(place * _PARTS), _PARTS - 1)
        self._programs[part].kill()
        line = json.dumps({"at": round(time.monotonic(), 6), "what": "killed"}) + "\n"
        descriptor = os.open(self.journals[part], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)
        return part

    def check(self) -> None:
        """Raise RuntimeError if a process has ended by itself."""
        for program in self._programs.values():
            if not program.running:
                raise RuntimeError(f"{program.name} ended by itself:\n{program.tail()}")

    async def stop(self) -> None:
        """End all."""
        for program in self._programs.values():
            program.signal(signal.SIGTERM)
        await asyncio.gather(*(program.stop() for program in self._programs.values()))

    def _arguments(self, part: int) -> list[str]:
        count = self.count * (part + 1) // _PARTS - self.count * part // _PARTS
        options: Mapping[str, Any] = {  # Any: what is written as text
            "hosts": count,
            "gpus": GPUS,
            "racks": 8,
            "name": f"host-{part}",
            "seed": self._seed,
            "server": self._server,
            "api-key-file": self.key_file,
            "ca-file": self._ca_file,
            "state-dir": self._directory / f"hosts-{part}",
            "journal": self.journals[part],
            "job-seconds": "lognormal:4,0.6",
            "job-failures": 0.03,
            "repair-seconds": "uniform:1,3",
            "reboot-seconds": "uniform:3,6",
            "offline-seconds": AWAY_SECONDS,
            "telemetry-seconds": 5,
        }
        arguments = [str(text) for key, value in options.items() for text in (f"--{key}", value)]
        passed = time.monotonic() - self.started_at
        for number, (name, at) in enumerate(faults(self._seed, self._seconds, self.count)):
            if number % _PARTS == part and at > passed:
                arguments += ["--fault", f"{name}@{at - passed:.2f}:1"]
        return arguments
