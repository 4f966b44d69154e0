"""A part of a GPU: what NVIDIA's Multi-Process Service (MPS) is told of a job's part, and whether it runs here.

Source: NVIDIA's MPS guide. CUDA_MPS_ACTIVE_THREAD_PERCENTAGE bounds the processors that a client may use, and
CUDA_MPS_PINNED_DEVICE_MEM_LIMIT the memory that it may allocate, as `<device>=<size>`; devices are counted as the
client sees them, so its one GPU is device 0. Without MPS a part is a promise that nothing enforces.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from node_agent.jobs.spec import MemberSpec

LIMIT: Final = "gpu_share"
"""The name of this limit among those that a host enforces."""
DEFAULT_PIPE_DIRECTORY: Final = Path("/tmp/nvidia-mps")  # noqa: S108 - MPS's own default
_CONTROL: Final = "control"
_MIB: Final = 1024 * 1024


def mps_runs(pipe_directory: Path) -> bool:
    """Return whether an MPS control daemon has its pipe in this directory."""
    return (pipe_directory / _CONTROL).exists()


def share_environment(spec: MemberSpec, pipe_directory: Path | None) -> Mapping[str, str]:
    """Return what a job with a part of a GPU is told; without `pipe_directory` no MPS runs to enforce it."""
    if not spec.gpu_milli:
        return {}
    told = {"ORQUANTA_GPU_MILLI": str(spec.gpu_milli)}
    if spec.share_memory_bytes:
        told["ORQUANTA_GPU_MEMORY_BYTES"] = str(spec.share_memory_bytes)
    if pipe_directory is None:
        return told
    told["CUDA_MPS_PIPE_DIRECTORY"] = str(pipe_directory)
    told["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = f"{spec.gpu_milli / 10:g}"
    if spec.share_memory_bytes:
        told["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={max(1, spec.share_memory_bytes // _MIB)}M"
    return told
