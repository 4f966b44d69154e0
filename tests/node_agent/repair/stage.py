"""A GPU host made of ordinary files and processes: device files, services that hold them, scripts in place of tools."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from node_agent.repair import processes
from node_agent.repair.parts import Limits
from tests.node_agent.repair.stand_ins import BUG_REPORT, COMMON, HOLD, MODPROBE, NVIDIA_SMI, SYSTEMCTL

BOOT = "boot-one"


EXPORTER, DCGM, PERSISTENCED = "dcgm-exporter.service", "nvidia-dcgm.service", "nvidia-persistenced.service"


HOLDING = (EXPORTER, DCGM, PERSISTENCED)


class Stage:
    """The files and processes of one host, in one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.devices, self.state, self.tools = root / "devices", root / "state", root / "tools"
        self.journal_dir = root / "repairs"

    def build(self, services: Sequence[str] = HOLDING) -> None:
        for directory in (self.devices, self.state, self.tools):
            directory.mkdir(parents=True)
        for index in (0, 1):
            (self.devices / f"nvidia{index}").touch()
        self._script(self.root / "hold", HOLD)
        for name, text in (
            ("systemctl", SYSTEMCTL),
            ("nvidia-smi", NVIDIA_SMI),
            ("modprobe", MODPROBE),
            ("nvidia-bug-report.sh", BUG_REPORT),
        ):
            self._script(self.tools / name, COMMON + text)
        (self.state / "modules").write_text("nvidia_uvm 1 0 - Live 0x0\nnvidia 1 1 nvidia_uvm, Live 0x0\nxfs 1 0 -\n")
        for service in services:
            (self.state / f"installed-{service}").touch()
            subprocess.run([self.root / "hold", self.state / f"{service}.pid"], check=True)
        assert self.running_services() == set(services)

    def _script(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def limits(self) -> Limits:
        return Limits(
            terminate_seconds=30.0,
            kill_seconds=30.0,
            reboot_seconds=0.5,
            leftovers_seconds=30.0,
            stop_seconds=30.0,
            undo_pause_seconds=0.01,
            cuda_seconds=0.2,
            canary_seconds=0.1,
            device_prefix=str(self.devices / "nvidia"),
            modules_file=self.state / "modules",
        )

    def log(self) -> list[str]:
        """What the stand-ins were asked, without questions."""
        try:
            lines = (self.state / "log").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [line for line in lines if " show " not in line]

    def resets(self) -> int:
        try:
            return len((self.state / "resets").read_text().splitlines())
        except FileNotFoundError:
            return 0

    def fail(self, what: str) -> None:
        (self.state / f"fail-{what}").touch()

    def service_pid(self, service: str) -> int | None:
        try:
            return int((self.state / f"{service}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def running_services(self) -> set[str]:
        return {
            service
            for service in HOLDING
            if (pid := self.service_pid(service)) is not None and processes.look(pid) is not None
        }

    def destroy(self) -> None:
        for pid in processes.all_pids():
            try:
                targets = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
            except OSError:
                continue
            if pid != os.getpid() and any(target.startswith(str(self.devices)) for target in targets):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
