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
        _show(directory / "phys_state", f"{physical}\n")
        _show(directory / "rate", f"{rate} Gb/sec (4X NDR)\n")
        _show(directory / "state", f"{state}\n")
        for counter in COUNTERS:
            if not (directory / "counters" / counter).exists():
                self.count(name, counter, 0)

    def down(self, name: str) -> None:
        self.put(name, "1: DOWN", "2: Polling")

    def count(self, name: str, counter: str, value: int) -> None:
        _show(self.directory(name) / "counters" / counter, f"{value}\n")

    def pull(self, name: str) -> None:
        shutil.rmtree(self.root / "class/infiniband" / name.partition("/")[0])


def _show(file: Path, text: str) -> None:
    """Change what a file says in one step, as the kernel does: a check may look at any moment."""
    draft = file.with_name(f"{file.name}.new")
    draft.write_text(text)
    draft.replace(file)
