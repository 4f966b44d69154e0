"""Virtual GPUs: a drop-in beneath `pynvml`'s library handle, so that all of pynvml's own code runs."""

from node_agent.virtual.device import VirtualGpu
from node_agent.virtual.host import VirtualHost
from node_agent.virtual.install import NvmlInUse, install, installed, uninstall, virtual_gpus
from node_agent.virtual.load import IDLE, GpuLoad, Load, LoadTable
from node_agent.virtual.spec import MAXIMUM_GPUS, BadSpec, GpuGroup, VirtualSpec, parse_spec

__all__ = [
    "IDLE",
    "MAXIMUM_GPUS",
    "BadSpec",
    "GpuGroup",
    "GpuLoad",
    "Load",
    "LoadTable",
    "NvmlInUse",
    "VirtualGpu",
    "VirtualHost",
    "VirtualSpec",
    "install",
    "installed",
    "parse_spec",
    "uninstall",
    "virtual_gpus",
]
