"""What is remembered of GPUs, so that one that is lost keeps its name, and one that vanishes is missed."""

from dataclasses import replace

from node_agent.probe.inventory import GpuInventory, NvmlInventory
from node_agent.probe.samples import GPU_MISSING, GpuSample, NvmlReading, ReadFailure, unread


class KnownGpus:
    """The GPUs seen since the daemon started, by UUID."""

    def __init__(self) -> None:
        self._gpus: dict[str, GpuInventory] = {}

    def inventory(self, found: NvmlInventory) -> NvmlInventory:
        """Return the inventory with all GPUs in it, and remember those that were read well.

        A GPU that cannot be read keeps what was known of it but its memory, whose absence marks it as unusable.
        """
        answering = [self._named(gpu) for gpu in found.gpus]
        here = {gpu.uuid for gpu in answering}
        error = found.nvml_error or GPU_MISSING
        away = [
            replace(gpu, failures=(ReadFailure("nvmlDeviceGetCount", error),), memory_bytes=None)
            for uuid, gpu in self._gpus.items()
            if uuid not in here
        ]
        gpus = sorted([*answering, *away], key=lambda gpu: gpu.index)
        for gpu in gpus:
            if gpu.uuid and (gpu.memory_bytes is not None or gpu.uuid not in self._gpus):
                self._gpus[gpu.uuid] = gpu
        return replace(found, gpus=tuple(gpus))

    def reading(self, found: NvmlReading) -> NvmlReading:
        """Return the reading with a sample of each known GPU in it."""
        by_index = {gpu.index: uuid for uuid, gpu in self._gpus.items()}
        here = {gpu.uuid for gpu in found.gpus if gpu.uuid}
        if not found.gpus or len(here) < len(self._gpus) or len(here) < len(found.gpus):
            named = [
                gpu if gpu.uuid or by_index.get(gpu.index) in here else replace(gpu, uuid=by_index.get(gpu.index, ""))
                for gpu in found.gpus
            ]
            return replace(found, gpus=self._complete(named, found.nvml_error or GPU_MISSING))
        return found

    def away(self, error: str) -> NvmlReading:
        """Return the reading for a moment in which nothing can be read."""
        return NvmlReading(duration_seconds=0.0, nvml_error=error, gpus=self._complete([], error))

    def _named(self, gpu: GpuInventory) -> GpuInventory:
        """Give a GPU that cannot be read what is known of it."""
        known = self._gpus.get(gpu.uuid)
        if known is None and not gpu.uuid:
            known = next((one for one in self._gpus.values() if one.index == gpu.index), None)
        if known is None or gpu.memory_bytes is not None:
            return gpu
        return replace(known, index=gpu.index, failures=gpu.failures, memory_bytes=None)

    def _complete(self, samples: list[GpuSample], error: str) -> tuple[GpuSample, ...]:
        here = {sample.uuid for sample in samples}
        failure = ReadFailure("nvmlDeviceGetCount", error)
        missing = [unread(gpu.index, uuid, failure) for uuid, gpu in self._gpus.items() if uuid not in here]
        return tuple(sorted([*samples, *missing], key=lambda sample: sample.index))
