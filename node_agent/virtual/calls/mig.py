"""Functions of Multi-Instance GPU: the mode of a GPU, and its MIG devices."""

from typing import Any, Final

import pynvml

from node_agent.virtual.calls.table import (
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    SUCCESS,
    CallTable,
    put,
    put_text,
    target_of,
)
from node_agent.virtual.device import MigInstance, VirtualGpu

MIG_MODE_CALLS: Final = CallTable()
"""On a GPU."""
MIG_INSTANCE_CALLS: Final = CallTable()
"""On a MIG device: the handler takes its GPU, the instance and the other C arguments."""
_MAXIMUM_INSTANCES: Final = 7


@MIG_MODE_CALLS.named("nvmlDeviceGetMigMode")
def _mig_mode(gpu: VirtualGpu, current: Any, pending: Any) -> int:
    if not gpu.model.mig:
        return NOT_SUPPORTED
    mode = pynvml.NVML_DEVICE_MIG_DISABLE if gpu.mig is None else pynvml.NVML_DEVICE_MIG_ENABLE
    put(current, mode)
    return put(pending, mode)


@MIG_MODE_CALLS.named("nvmlDeviceGetMaxMigDeviceCount")
def _max_mig_devices(gpu: VirtualGpu, count: Any) -> int:
    return put(count, _MAXIMUM_INSTANCES if gpu.model.mig else 0)


@MIG_MODE_CALLS.named("nvmlDeviceIsMigDeviceHandle")
def _is_not_mig_device(_gpu: VirtualGpu, answer: Any) -> int:
    return put(answer, 0)


@MIG_INSTANCE_CALLS.named("nvmlDeviceIsMigDeviceHandle")
def _is_mig_device(_gpu: VirtualGpu, _instance: MigInstance, answer: Any) -> int:
    return put(answer, 1)


@MIG_INSTANCE_CALLS.named("nvmlDeviceGetUUID")
def _uuid(_gpu: VirtualGpu, instance: MigInstance, text: Any, length: Any) -> int:
    return put_text(text, length, instance.uuid)


@MIG_INSTANCE_CALLS.named("nvmlDeviceGetName")
def _name(gpu: VirtualGpu, instance: MigInstance, text: Any, length: Any) -> int:
    return put_text(text, length, f"{gpu.model.name} MIG {instance.profile}")


@MIG_INSTANCE_CALLS.named("nvmlDeviceGetGpuInstanceId")
def _gpu_instance_id(_gpu: VirtualGpu, instance: MigInstance, identifier: Any) -> int:
    return put(identifier, instance.gpu_instance_id)


@MIG_INSTANCE_CALLS.named("nvmlDeviceGetComputeInstanceId")
def _compute_instance_id(_gpu: VirtualGpu, _instance: MigInstance, identifier: Any) -> int:
    return put(identifier, 0)


@MIG_INSTANCE_CALLS.named("nvmlDeviceGetMemoryInfo")
def _memory_info(_gpu: VirtualGpu, instance: MigInstance, info: Any) -> int:
    memory = target_of(info)
    memory.total = memory.free = instance.memory_bytes
    memory.used = 0
    return SUCCESS


def not_a_gpu_instance(_gpu: VirtualGpu, _identifier: Any) -> int:
    """Refuse a question about the MIG instance of a whole GPU."""
    return INVALID_ARGUMENT


MIG_MODE_CALLS["nvmlDeviceGetGpuInstanceId"] = not_a_gpu_instance
MIG_MODE_CALLS["nvmlDeviceGetComputeInstanceId"] = not_a_gpu_instance
