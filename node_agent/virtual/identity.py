"""Names of virtual GPUs: UUIDs, serial numbers and PCI addresses that stay the same over restarts."""

import uuid
from dataclasses import dataclass
from typing import Final

from node_agent.virtual.gpu_model import GpuModel

try:
    from _sha1 import sha1  # type: ignore[import-not-found] # CPython's own, without OpenSSL
except ImportError:
    from hashlib import sha1

_NAMESPACE: Final = uuid.UUID("8d3b7a9e-5c0f-5f0a-9d8e-6a1c2f4b7e10")

# The buses of an 8-GPU HGX board, then those that a second board would take.
_BUSES: Final = (
    0x1B, 0x43, 0x52, 0x61, 0x9D, 0xC3, 0xD1, 0xDF,
    0x1C, 0x44, 0x53, 0x62, 0x9E, 0xC4, 0xD2, 0xE0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PciAddress:
    """Where a GPU sits on the PCI bus."""

    domain: int
    bus: int
    device: int

    def __str__(self) -> str:
        """Return the address as NVML writes it, such as `00000000:1B:00.0`."""
        return f"{self.domain:08X}:{self.bus:02X}:{self.device:02X}.0"

    @property
    def legacy(self) -> str:
        """The address with a four-digit domain, such as `0000:1B:00.0`."""
        return f"{self.domain:04X}:{self.bus:02X}:{self.device:02X}.0"


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one virtual GPU from all others."""

    index: int
    uuid: str
    serial: str
    pci: PciAddress
    numa_node: int


def identify(host_identity: str, seed: int, index: int, gpu_count: int, model: GpuModel) -> Identity:
    """Derive the identity of one GPU from its host and place, so that it survives a restart of the daemon."""
    unique = _named(f"{host_identity}|{seed}|{index}|{model.key}")
    return Identity(
        index=index,
        uuid=f"GPU-{unique}",
        serial=f"1{unique.int % 10**12:012d}",
        pci=PciAddress(0, _BUSES[index], 0),
        numa_node=0 if index < max(1, (gpu_count + 1) // 2) else 1,
    )


def mig_uuid(gpu_uuid: str, instance: int, profile: str) -> str:
    """Derive the UUID of a MIG device from its GPU and place."""
    return f"MIG-{_named(f'{gpu_uuid}|{instance}|{profile}')}"


def _named(name: str) -> uuid.UUID:
    """Return what `uuid.uuid5` returns; that would load OpenSSL, half a megabyte, for one SHA-1."""
    digest = sha1(_NAMESPACE.bytes + name.encode()).digest()  # noqa: S324 - a name, not a secret
    return uuid.UUID(bytes=digest[:16], version=5)
