"""A real directory in the form of /sys, with InfiniBand ports."""

import shutil
from pathlib import Path

from node_agent.probe.host_checks.port_files import COUNTERS


class PortsTree:
    """Writes what the kernel would show of ports."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, name: str) -> Path:
        device, _, port = name.partition("/")
        return self.root / "class/infiniband" / device / "ports" / port

    def put(self, name: str, state: str = "4: ACTIVE", physical: str = "5: LinkUp", rate: str = "400") -> None:
        directory = self.directory(name)
        (directory / "counters").mkdir(parents=True, exist_ok=True)
        (directory / "state").write_text(f"{state}\n")
        (directory / "phys_state").write_text(f"{physical}\n")
        (directory / "rate").write_text(f"{rate} Gb/sec (4X NDR)\n")
        for counter in COUNTERS:
            if not (directory / "counters" / counter).exists():
                self.count(name, counter, 0)

    def down(self, name: str) -> None:
        self.put(name, "1: DOWN", "2: Polling")

    def count(self, name: str, counter: str, value: int) -> None:
        (self.directory(name) / "counters" / counter).write_text(f"{value}\n")

    def pull(self, name: str) -> None:
        shutil.rmtree(self.root / "class/infiniband" / name.partition("/")[0])
