"""What the resources that a job asks for must be."""

import re
from typing import Final

from control_plane.model.job import ResourceRequest, TopologyDomain
from control_plane.services.convert.jobs import TOPOLOGY
from control_plane.services.convert.scalars import from_wire
from control_plane.services.validate.fields import Fields, shown
from orquanta.v1 import job_pb2

GPU_COUNT_MAX: Final = 4_096
GPU_TYPES_MAX: Final = 16
MEMORY_BYTES_MAX: Final = 1 << 50  # a pebibyte
CPU_MILLI_MAX: Final = 10_000_000
EXCLUDE_NODES_MAX: Final = 256
WHOLE_GPU_MILLI: Final = 1_000

_GPU_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_MIG_PROFILE: Final = re.compile(r"[1-9]g\.[1-9][0-9]{0,3}gb(\+me(\.all)?|\+gfx|-me)?")
_NODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_WORD: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_TOPOLOGIES: Final = from_wire(TOPOLOGY)


def resources(fields: Fields, path: str, message: job_pb2.ResourceRequest) -> ResourceRequest:
    """Check what a job asks for, field by field, and return it."""
    gpu_count = fields.integer(f"{path}.gpu_count", message.gpu_count, least=0, most=GPU_COUNT_MAX)
    node_count = fields.integer(f"{path}.node_count", message.node_count, least=0, most=GPU_COUNT_MAX)
    if gpu_count > 0 and node_count > 0 and gpu_count % node_count:
        fields.wrong(
            f"{path}.node_count",
            f"is {node_count}, over which {gpu_count} GPUs cannot be spread evenly",
            "GANG_UNEVEN",
        )
    _part(fields, path, message)
    return ResourceRequest(
        gpu_types=_gpu_types(fields, f"{path}.gpu_types", tuple(message.gpu_types)),
        gpu_count=gpu_count,
        node_count=node_count,
        min_gpu_memory_bytes=fields.integer(
            f"{path}.min_gpu_memory_bytes", message.min_gpu_memory_bytes, least=0, most=MEMORY_BYTES_MAX
        ),
        exclude_gpu_types=_gpu_types(fields, f"{path}.exclude_gpu_types", tuple(message.exclude_gpu_types)),
        cpu_milli=fields.integer(f"{path}.cpu_milli", message.cpu_milli, least=0, most=CPU_MILLI_MAX),
        memory_bytes=fields.integer(f"{path}.memory_bytes", message.memory_bytes, least=0, most=MEMORY_BYTES_MAX),
        gpu_milli=message.gpu_milli,
        share_memory_bytes=fields.integer(
            f"{path}.share_memory_bytes", message.share_memory_bytes, least=0, most=MEMORY_BYTES_MAX
        ),
        mig_profile=_mig_profile(fields, f"{path}.mig_profile", message),
        node_labels=tuple(sorted(fields.labels(f"{path}.node_labels", message.node_labels).items())),
        exclude_nodes=_exclude_nodes(fields, f"{path}.exclude_nodes", tuple(message.exclude_nodes)),
        anti_affinity=_anti_affinity(fields, f"{path}.anti_affinity", message.anti_affinity),
        exclusive_nodes=message.exclusive_nodes,
        topology=_topology(fields, f"{path}.topology", message),
    )


def gpu_type(fields: Fields, path: str, value: str) -> str:
    """Check the name of a GPU model."""
    if not _GPU_TYPE.fullmatch(value):
        fields.wrong(path, f"{shown(value)} is not the name of a GPU model such as H100", "GPU_TYPE_INVALID")
    return value


def _gpu_types(fields: Fields, path: str, values: tuple[str, ...]) -> tuple[str, ...]:
    kept = fields.count(path, values, most=GPU_TYPES_MAX)
    for index, value in enumerate(kept):
        gpu_type(fields, f"{path}[{index}]", value)
    return kept


def _part(fields: Fields, path: str, message: job_pb2.ResourceRequest) -> None:
    """A part is of one GPU, and its memory goes with it."""
    milli = message.gpu_milli
    if milli >= WHOLE_GPU_MILLI:
        fields.wrong(
            f"{path}.gpu_milli",
            f"is {milli}; a part has 1 to {WHOLE_GPU_MILLI - 1} thousandths, and 0 means whole GPUs",
            "GPU_SHARE_INVALID",
        )
    elif milli and message.gpu_count != 1:
        fields.wrong(
            f"{path}.gpu_milli", f"is a part of one GPU, but gpu_count is {message.gpu_count}", "GPU_SHARE_INVALID"
        )
    elif milli and message.mig_profile:
        fields.wrong(f"{path}.gpu_milli", "cannot be used with a mig_profile; give one of them", "GPU_SHARE_INVALID")
    if message.share_memory_bytes and not milli:
        fields.wrong(
            f"{path}.share_memory_bytes",
            "is used only with gpu_milli; for whole GPUs use min_gpu_memory_bytes",
            "GPU_SHARE_INVALID",
        )


def _mig_profile(fields: Fields, path: str, message: job_pb2.ResourceRequest) -> str:
    profile = message.mig_profile.lower()
    if profile and not _MIG_PROFILE.fullmatch(profile):
        fields.wrong(path, f"{shown(message.mig_profile)} is not a MIG profile such as 1g.10gb", "MIG_PROFILE_INVALID")
    elif profile and message.gpu_count < 1:
        fields.wrong(path, "needs a gpu_count of at least 1: it counts MIG devices", "MIG_PROFILE_INVALID")
    return profile


def _exclude_nodes(fields: Fields, path: str, values: tuple[str, ...]) -> tuple[str, ...]:
    kept = tuple(dict.fromkeys(fields.count(path, values, most=EXCLUDE_NODES_MAX)))
    for index, value in enumerate(kept):
        if not _NODE.fullmatch(value):
            fields.wrong(f"{path}[{index}]", f"{shown(value)} is not the name or id of a node", "NODE_INVALID")
    return kept


def _anti_affinity(fields: Fields, path: str, value: str) -> str:
    if value and not _WORD.fullmatch(value):
        fields.wrong(
            path,
            f"{shown(value)} is not a word: use 1 to 63 letters, digits, '-', '_' or '.', beginning and ending with a "
            "letter or digit",
            "ANTI_AFFINITY_INVALID",
        )
    return value


def _topology(fields: Fields, path: str, message: job_pb2.ResourceRequest) -> TopologyDomain:
    if message.topology == job_pb2.TOPOLOGY_DOMAIN_UNSPECIFIED:
        return TopologyDomain.ANY
    found = fields.enum(path, message.topology, _TOPOLOGIES, TopologyDomain.ANY)
    on_one_host = found in (TopologyDomain.NVLINK, TopologyDomain.NODE)
    if message.gpu_count == 0:
        fields.wrong(path, "is about GPUs, and the job asks for none", "TOPOLOGY_IMPOSSIBLE")
    elif on_one_host and message.node_count > 1:
        fields.wrong(path, f"keeps all GPUs on one host, but node_count is {message.node_count}", "TOPOLOGY_IMPOSSIBLE")
    return found
