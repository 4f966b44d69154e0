"""Virtual GPUs: a drop-in beneath `pynvml`'s library handle, so that all of pynvml's own code runs.

Names are loaded when they are first used: the daemon needs the faults alone, and must not load `pynvml` for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node_agent.virtual.board import FaultBoard
    from node_agent.virtual.device import VirtualGpu
    from node_agent.virtual.fault import BadFault, VirtualFault, VirtualFaultKind, VirtualRepair
    from node_agent.virtual.host import VirtualHost
    from node_agent.virtual.install import NvmlInUse, installed, uninstall, virtual_gpus
    from node_agent.virtual.load import IDLE, GpuLoad, Load, LoadTable
    from node_agent.virtual.spec import MAXIMUM_GPUS, BadSpec, GpuGroup, VirtualSpec, parse_spec

_HOMES = {
    "IDLE": "load",
    "MAXIMUM_GPUS": "spec",
    "BadFault": "fault",
    "BadSpec": "spec",
    "FaultBoard": "board",
    "GpuGroup": "spec",
    "GpuLoad": "load",
    "Load": "load",
    "LoadTable": "load",
    "NvmlInUse": "install",
    "VirtualFault": "fault",
    "VirtualFaultKind": "fault",
    "VirtualGpu": "device",
    "VirtualHost": "host",
    "VirtualRepair": "fault",
    "VirtualSpec": "spec",
    "installed": "install",
    "parse_spec": "spec",
    "uninstall": "install",
    "virtual_gpus": "install",
}

__all__ = [
    "IDLE",
    "MAXIMUM_GPUS",
    "BadFault",
    "BadSpec",
    "FaultBoard",
    "GpuGroup",
    "GpuLoad",
    "Load",
    "LoadTable",
    "NvmlInUse",
    "VirtualFault",
    "VirtualFaultKind",
    "VirtualGpu",
    "VirtualHost",
    "VirtualRepair",
    "VirtualSpec",
    "installed",
    "parse_spec",
    "uninstall",
    "virtual_gpus",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
