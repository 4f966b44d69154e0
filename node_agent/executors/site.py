"""What a daemon that hands its jobs on knows of the engine."""

from dataclasses import dataclass

from node_agent.jobs.executor import Executor
from orquanta.v1 import node_pb2


@dataclass(frozen=True, slots=True)
class Site:
    """An engine of the site. `gpus` are its GPUs as hosts tell of theirs, at most 64."""

    name: str
    executor: Executor
    gpus: tuple[node_pb2.GpuInventory, ...]
