"""What the rules share: the host's GPUs and jobs, the book of conditions, the clock, the vendor's catalogue."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from node_agent.health.book import Book
from node_agent.health.catalogue import Catalogue
from node_agent.health.findings import name
from node_agent.health.model import GpuIdentity, JobOnGpu
from node_agent.health.rules import HealthRules

MAXIMUM_GPUS: Final = 256
"""GPUs of one host that are remembered, present or lost."""

_PCI: Final = re.compile(r"(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})(?:\.([0-7]))?")


@dataclass(slots=True)
class Host:
    """The host as the rules see it."""

    book: Book
    rules: HealthRules
    catalogue: Catalogue
    gpus: dict[str, GpuIdentity] = field(default_factory=dict)
    """By UUID, also those that are lost."""
    missing: set[str] = field(default_factory=set)
    """UUIDs that the inventory had before and has no more."""
    holders: Mapping[str, JobOnGpu] = field(default_factory=dict)
    lost_before_boot: set[str] = field(default_factory=set)
    """GPUs that were lost when the host was rebooted: another reboot will not bring them back."""
    _by_pci: dict[str, str] = field(default_factory=dict)

    def set_gpus(self, gpus: Sequence[GpuIdentity]) -> set[str]:
        """Take over the inventory; return the UUIDs that vanished. An empty inventory says nothing about any GPU."""
        if not gpus:
            return set()
        present = {gpu.uuid for gpu in gpus[:MAXIMUM_GPUS] if gpu.uuid}
        for gpu in gpus[:MAXIMUM_GPUS]:
            if gpu.uuid:
                self.gpus[gpu.uuid] = gpu
        vanished = set(self.gpus) - present
        for uuid in sorted(vanished)[: max(0, len(self.gpus) - MAXIMUM_GPUS)]:
            del self.gpus[uuid]
        self.missing = vanished & set(self.gpus)
        # Present GPUs last: a board that was put in a lost one's place has its address now.
        ordered = sorted(self.gpus.values(), key=lambda gpu: gpu.uuid in present)
        self._by_pci = {normalised(gpu.pci_bus_id): gpu.uuid for gpu in ordered if gpu.pci_bus_id}
        return set(self.missing)

    def forget_gpu(self, uuid: str) -> None:
        """Forget a GPU that is no longer in the host."""
        if uuid in self.missing:
            self.missing.discard(uuid)
            self.gpus.pop(uuid, None)
            self._by_pci = {pci: owner for pci, owner in self._by_pci.items() if owner != uuid}

    def gpu_at(self, pci_bus_id: str) -> str:
        """Return the UUID of the GPU at a PCI bus id; empty if none is known there."""
        return self._by_pci.get(pci_bus_id) or self._by_pci.get(normalised(pci_bus_id), "")

    def index_of(self, uuid: str) -> int | None:
        """Return the GPU's number on the host."""
        gpu = self.gpus.get(uuid)
        return None if gpu is None else gpu.index

    def present(self) -> int:
        """Return how many GPUs the host has now."""
        return len(self.gpus) - len(self.missing)

    def key(self, pci_bus_id: str) -> str:
        """Return by what a GPU at a PCI bus id is called in ids: its UUID, else `pci-...`."""
        return self.gpu_at(pci_bus_id) or f"pci-{name(pci_bus_id)}"


def normalised(pci_bus_id: str) -> str:
    """Return a PCI bus id as `0000:03:00.0`; text of another form as it is, in lower case.

    NVML gives `00000000:03:00.0`, kernel lines give `0000:03:00`.
    """
    match = _PCI.fullmatch(pci_bus_id.strip())
    if match is None:
        return name(pci_bus_id.strip().lower())
    domain, bus, device, function = match.groups()
    return f"{int(domain or '0', 16):04x}:{int(bus, 16):02x}:{int(device, 16):02x}.{function or '0'}"
