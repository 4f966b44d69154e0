"""The only values that reach a command line: checked by kind, never free text."""

import re
from collections.abc import Sequence
from typing import Final

from node_agent.repair.errors import BadArgument

FABRIC_MANAGER: Final = "nvidia-fabricmanager.service"

HOLDING_SERVICES: Final = (
    "dcgm-exporter.service",
    "nvidia-dcgm-exporter.service",
    "nvidia_gpu_exporter.service",
    "prometheus-dcgm-exporter.service",
    "nvidia-dcgm.service",
    "dcgm.service",
    "nvidia-persistenced.service",
)
"""Services that keep GPUs open and may be stopped for a reset, in the order in which they are stopped."""

SERVICES: Final = frozenset(
    {
        *HOLDING_SERVICES,
        FABRIC_MANAGER,
        "nvidia-imex.service",
        "chrony.service",
        "chronyd.service",
        "systemd-timesyncd.service",
    }
)
"""All services that a repair may touch."""

MODULES: Final = ("nvidia_peermem", "nvidia_fs", "nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia")
"""The driver's kernel modules, in the order in which they are unloaded."""

MAXIMUM_GPUS: Final = 64
_PCI_BUS_ID: Final = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", re.ASCII | re.IGNORECASE)
_REPORT_NAME: Final = re.compile(r"/[A-Za-z0-9/._-]{1,300}", re.ASCII)


def service(name: str) -> str:
    """Return the full name of a service that a repair may touch; raises BadArgument."""
    full = name if name.endswith(".service") else f"{name}.service"
    if full not in SERVICES:
        raise BadArgument(f"{name[:80]!r} is not a service that a repair may touch: {', '.join(sorted(SERVICES))}")
    return full


def services(names: Sequence[str]) -> tuple[str, ...]:
    """Return the full names of services that a repair may touch; raises BadArgument."""
    if not 0 < len(names) <= len(SERVICES):
        raise BadArgument(f"{len(names)} services, not 1 to {len(SERVICES)}")
    return tuple(service(name) for name in names)


def module(name: str) -> str:
    """Return the name of a module of the driver; raises BadArgument."""
    if name not in MODULES:
        raise BadArgument(f"{name[:80]!r} is not a module of the driver")
    return name


def pci_bus_ids(ids: Sequence[str]) -> str:
    """Return PCI bus ids as nvidia-smi takes them; raises BadArgument."""
    if not 0 < len(ids) <= MAXIMUM_GPUS:
        raise BadArgument(f"{len(ids)} GPUs, not 1 to {MAXIMUM_GPUS}")
    for bus_id in ids:
        if not _PCI_BUS_ID.fullmatch(bus_id):
            raise BadArgument(f"{bus_id[:80]!r} is not a PCI bus id such as 00000000:1B:00.0")
    return ",".join(ids)


def report_file(path: str) -> str:
    """Return an absolute path of plain characters; raises BadArgument."""
    if not _REPORT_NAME.fullmatch(path) or ".." in path:
        raise BadArgument(f"{path[:80]!r} is not a plain absolute path")
    return path
