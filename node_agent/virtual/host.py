"""The virtual driver of one host: its versions and its GPUs."""

from collections.abc import Collection
from typing import Final

from node_agent.clock import Clock
from node_agent.virtual.device import VirtualGpu
from node_agent.virtual.events import EventHub
from node_agent.virtual.identity import identify
from node_agent.virtual.load import Load
from node_agent.virtual.spec import BadSpec, VirtualSpec
from node_agent.virtual.topology import link_ends, nvlink_connected

DRIVER_VERSION: Final = "580.95.05"
NVML_VERSION: Final = "13.580.95.05"
CUDA_DRIVER_VERSION: Final = 13000
"""As NVML numbers it: 1000 times major plus 10 times minor."""


class VirtualHost:
    """All virtual GPUs of this process, in index order."""

    def __init__(
        self, spec: VirtualSpec, *, host_identity: str, load: Load, clock: Clock, symbols: Collection[str]
    ) -> None:
        """Raises BadSpec if a GPU cannot be divided as the specification says."""
        self.spec = spec
        self.models = spec.models
        self.events = EventHub()
        self.gpus = tuple(
            VirtualGpu(
                model,
                identify(host_identity, spec.seed, index, len(self.models), model),
                link_ends=link_ends(self.models, index),
                load=load,
                clock=clock,
                symbols=symbols,
            )
            for index, model in enumerate(self.models)
        )
        for gpu, profiles in zip(self.gpus, spec.partitions, strict=True):
            try:
                gpu.partition(profiles or None)
            except ValueError as error:
                raise BadSpec(str(error)) from error

    def by_uuid(self, uuid: str) -> VirtualGpu:
        """Return the GPU with this UUID.

        Raises:
            KeyError: this host has no such GPU.
        """
        for gpu in self.gpus:
            if gpu.uuid == uuid:
                return gpu
        raise KeyError(uuid)

    def nvlinked(self, first: VirtualGpu, second: VirtualGpu) -> bool:
        """Return whether two GPUs reach each other over NVLinks that are up at both ends."""
        one, other = first.identity.index, second.identity.index
        if not nvlink_connected(self.models, one, other):
            return False
        return any(link.active for link in first.links) and any(link.active for link in second.links)
