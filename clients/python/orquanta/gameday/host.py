"""A GPU host of a game day's fleet."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

from orquanta.gameday.program import FleetError, Program, all_pids, kill, names, read_file

# $0 is a file with the id of the next boot; the rest is the program that must see it.
_WITH_BOOT_ID = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'


_PROBE = b"node_agent.probe.child"


class Host:
    """A GPU host: a daemon with virtual GPUs, its jobs and their supervisors.

    `kernel_log` is a FIFO of the host's own that stands for /dev/kmsg, unless the environment names another: hosts on
    one machine must not read each other's faults. `state` is below `directory` unless it is given.
    """

    def __init__(
        self, name: str, directory: Path, gpus: str, environment: Mapping[str, str], *, state: Path | None = None
    ) -> None:
        directory.mkdir()
        self.name = name
        self.node_id = ""
        self.state = state or directory / "state"
        self.socket = directory / "node.sock"
        self.kernel_log = directory / "kernel-log"
        os.mkfifo(self.kernel_log)
        environment = {
            "ORQUANTA_NODE_SOCKET": str(self.socket),
            "ORQUANTA_NODE_KERNEL_LOG": str(self.kernel_log),
            **environment,
        }
        self.kernel_log = Path(environment["ORQUANTA_NODE_KERNEL_LOG"])
        self._directory = directory
        self._environment = environment
        arguments = ["-m", "node_agent", "run", "--state-dir", str(self.state), "--virtual-gpus", gpus]
        self.daemon = Program(f"daemon of {name}", arguments, directory / "log", environment)

    async def join(self, server: str, token: str) -> None:
        """Join the fleet with a one-time token. Raises FleetError with the daemon's own words."""
        arguments = ["-m", "node_agent", "join", "--server", server, "--token", token]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            "--name",
            self.name,
            "--state-dir",
            str(self.state),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self._environment},
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise FleetError(f"{self.name} cannot join: {output.decode(errors='replace')}")

    @property
    def identity(self) -> Path:
        """The directory with the host's key and certificate of now."""
        return (self.state / "identity" / "current").resolve()

    def dial(self, server: str) -> None:
        """Have the daemon call `server` from its next start on, instead of the address it was given on joining."""
        path = self.identity / "node.json"
        identity = json.loads(path.read_text())
        identity["link_servers"] = [server]
        path.write_text(json.dumps(identity))

    def processes(self) -> list[int]:
        """Return every process of the host that is not the daemon's own: supervisors, jobs and what they started."""
        return [pid for pid in all_pids() if names(pid, str(self.state)) and not self._is_of_the_daemon(pid)]

    def _is_of_the_daemon(self, pid: int) -> bool:
        is_probe = self.daemon.running and _PROBE in read_file(Path("/proc", str(pid), "cmdline"))
        return pid == self.daemon.pid or is_probe

    def supervisors(self) -> list[int]:
        """Return the jobs' supervisors."""
        return [pid for pid in self.processes() if b"supervisor" in read_file(Path("/proc", str(pid), "cmdline"))]

    def lose_power(self) -> None:
        """Kill everything on the host at once, as a power cut would."""
        self.daemon.kill()
        while victims := self.processes():
            for pid in victims:
                kill(pid)

    def boot(self) -> None:
        """Start the daemon as after a reboot: in another boot of the kernel, as far as it can see. Needs root."""
        boot_id = self._directory / "boot-id"
        boot_id.write_text(f"{uuid.uuid4()}\n")
        self.daemon.start(("unshare", "--mount", "sh", "-c", _WITH_BOOT_ID, str(boot_id)))

    async def stop(self) -> None:
        """Stop the daemon, then whatever is left."""
        await self.daemon.stop()
        self.lose_power()
