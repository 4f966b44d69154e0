"""Which executor the settings ask for, and the GPUs that it offers."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from node_agent.errors import SettingsInvalid
from node_agent.executors import kubernetes, slurm
from node_agent.executors.kubernetes import Kubernetes
from node_agent.executors.kubernetes_api import ApiAccess, ApiError
from node_agent.executors.site import Site
from node_agent.executors.slurm import NoSlurmError, Slurm
from node_agent.probe.model_name import short_model_name
from node_agent.settings import ExecutorKind, Settings
from node_agent.virtual.catalogue import find_model
from orquanta.v1 import node_pb2

GPUS_MAX: Final = 64


def choose(settings: Settings, node_id: str = "") -> Site | None:
    """Look at the engine that the settings name; None if jobs run on this host. Its jobs bear `node_id`.

    Raises SettingsInvalid where a setting is missing or the engine cannot be used.
    """
    match settings.executor:
        case ExecutorKind.SLURM:
            return _slurm(settings, node_id)
        case ExecutorKind.KUBERNETES:
            return _kubernetes(settings, node_id)
        case ExecutorKind.HOST:
            return None


def _slurm(settings: Settings, node_id: str) -> Site:
    if not settings.slurm_output_dir:
        raise SettingsInvalid(
            "executor is slurm, and slurm_output_dir is not set: name a directory that the cluster's nodes share."
        )
    if settings.run_as:
        raise SettingsInvalid(
            "executor is slurm, and run_as is set: Slurm runs jobs as whoever submits them; run this daemon as "
            f"{settings.run_as} and leave run_as out."
        )
    environment = {"SLURM_CONF": settings.slurm_conf} if settings.slurm_conf else {}
    found = Slurm(Path(settings.slurm_output_dir), settings.slurm_partition, settings.slurm_arguments, environment)
    try:
        nodes = found.nodes()
    except NoSlurmError as error:
        raise SettingsInvalid(f"executor is slurm: {error}.") from error
    most = max((node.gpu_count for node in nodes), default=0)
    models = [node.gpu_type for node in nodes for _ in range(node.gpu_count)]
    gpus = _gpus(models, lambda model, number: (slurm.gpu_uuid(model, number), model))
    return Site("slurm", replace(found, gpus_per_node=most, node_id=node_id), gpus)


def _kubernetes(settings: Settings, node_id: str) -> Site:
    if not settings.kubernetes_server:
        raise SettingsInvalid(
            "executor is kubernetes, and kubernetes_server is not set: name the API, or run this daemon in the cluster."
        )
    access = ApiAccess(
        settings.kubernetes_server,
        settings.kubernetes_ca,
        settings.kubernetes_token,
        settings.kubernetes_certificate,
        settings.kubernetes_key,
    )
    found = Kubernetes(access, settings.kubernetes_namespace, settings.kubernetes_image)
    try:
        nodes = found.nodes()
    except ApiError as error:
        raise SettingsInvalid(f"executor is kubernetes: {error}.") from error
    most = max((node.gpu_count for node in nodes), default=0)
    products = [node.product for node in nodes for _ in range(node.gpu_count)]
    gpus = _gpus(products, lambda product, number: (kubernetes.gpu_uuid(product, number), _model_of(product)))
    return Site("kubernetes", replace(found, gpus_per_node=most, node_id=node_id), gpus)


def _model_of(product: str) -> str:
    return short_model_name(product) if product else ""


def _gpus(kinds: Iterable[str], name: Callable[[str, int], tuple[str, str]]) -> tuple[node_pb2.GpuInventory, ...]:
    """Return GPUs, like beside like; `name` gives the name that one goes by, and its model."""
    return tuple(_gpu(index, *name(kind, index)) for index, kind in enumerate(sorted(kinds)[:GPUS_MAX]))


def _gpu(index: int, uuid: str, model_name: str) -> node_pb2.GpuInventory:
    model = find_model(model_name) if model_name else None
    return node_pb2.GpuInventory(
        index=index,
        uuid=uuid,
        gpu_type=model.key if model is not None else model_name.upper() or "GPU",
        product_name=model.name if model is not None else model_name or "GPU",
        memory_bytes=model.memory_bytes if model is not None else 1,
    )
