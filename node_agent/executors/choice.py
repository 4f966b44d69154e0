"""Which executor the settings ask for, and the GPUs that it offers."""

from dataclasses import dataclass
from pathlib import Path

from node_agent.errors import SettingsInvalid
from node_agent.executors.slurm import GPUS_MAX, NoSlurmError, Slurm, gpu_uuid
from node_agent.jobs.executor import Executor
from node_agent.settings import ExecutorKind, Settings
from node_agent.virtual.catalogue import find_model
from orquanta.v1 import node_pb2


@dataclass(frozen=True, slots=True)
class Site:
    """An engine of the site. `gpus` are its GPUs as hosts tell of theirs, at most 64."""

    name: str
    executor: Executor
    gpus: tuple[node_pb2.GpuInventory, ...]


def choose(settings: Settings) -> Site | None:
    """Look at the engine that the settings name; None if jobs run on this host.

    Raises SettingsInvalid where a setting is missing or the engine cannot be used.
    """
    if settings.executor is ExecutorKind.HOST:
        return None
    if not settings.slurm_output_dir:
        raise SettingsInvalid(
            "executor is slurm, and slurm_output_dir is not set: name a directory that the cluster's nodes share."
        )
    environment = {"SLURM_CONF": settings.slurm_conf} if settings.slurm_conf else {}
    slurm = Slurm(Path(settings.slurm_output_dir), settings.slurm_partition, settings.slurm_arguments, environment)
    try:
        nodes = slurm.nodes()
    except NoSlurmError as error:
        raise SettingsInvalid(f"executor is slurm: {error}.") from error
    most = max((node.gpu_count for node in nodes), default=0)
    slurm = Slurm(slurm.output_dir, slurm.partition, slurm.arguments, environment, gpus_per_node=most)
    types = [node.gpu_type for node in nodes for _ in range(node.gpu_count)][:GPUS_MAX]
    return Site("slurm", slurm, tuple(_gpu(index, gpu_type) for index, gpu_type in enumerate(sorted(types))))


def _gpu(index: int, gpu_type: str) -> node_pb2.GpuInventory:
    model = find_model(gpu_type) if gpu_type else None
    return node_pb2.GpuInventory(
        index=index,
        uuid=gpu_uuid(gpu_type, index),
        gpu_type=model.key if model is not None else gpu_type.upper() or "GPU",
        product_name=model.name if model is not None else f"{gpu_type or 'GPU'} of Slurm",
        memory_bytes=model.memory_bytes if model is not None else 1,
    )
