"""GPU performance monitoring (GPM): means between two snapshots of the hardware's counters, on Hopper and later."""

from typing import Any, Final

import pynvml

from node_agent.clock import Clock
from node_agent.probe.nvml import Reader
from node_agent.probe.samples import GpmSample

_METRICS: Final = (
    pynvml.NVML_GPM_METRIC_SM_UTIL,
    pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL,
    pynvml.NVML_GPM_METRIC_PCIE_TX_PER_SEC,
    pynvml.NVML_GPM_METRIC_PCIE_RX_PER_SEC,
    pynvml.NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC,
    pynvml.NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC,
)
"""In the order of the fields of `GpmSample`."""
_SHORTEST_SECONDS: Final = 0.1  # what the driver asks for between two snapshots


class Gpm:
    """Holds the last snapshot of each GPU. Not for use from two threads at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Any: opaque handles; None marks a GPU that has no GPM.
        self._last: dict[str, tuple[float, Any] | None] = {}

    def read(self, reader: Reader) -> GpmSample | None:
        """Return the means since the snapshot before; None at first, and for a GPU without GPM.

        What fails is no failure of the GPU: GPM is refused while a profiler holds the counters.
        """
        reader = reader.again()
        last = self._last.get(reader.uuid, (0.0, None))
        if last is None:
            return None
        taken_at, before = last
        if before is None and not self._supported(reader):
            return None
        now = self._clock.monotonic()
        if before is not None and now - taken_at < _SHORTEST_SECONDS:
            return None
        snapshot = _take_snapshot(reader)
        if snapshot is None:
            return None
        self._last[reader.uuid] = now, snapshot
        if before is None:
            return None
        try:
            return _means(reader, before, snapshot)
        finally:
            _free(before)

    def forget(self) -> None:
        """Free all snapshots; to be called before NVML is closed."""
        for last in self._last.values():
            if last is not None:
                _free(last[1])
        self._last.clear()

    def _supported(self, reader: Reader) -> bool:
        support = reader.read(pynvml.nvmlGpmQueryDeviceSupport)
        if support is None or not support.isSupportedDevice:
            self._last[reader.uuid] = None
            return False
        return True


# Any: handles and structures of pynvml, which ships no types.
def _take_snapshot(reader: Reader) -> Any:
    try:
        snapshot = pynvml.nvmlGpmSampleAlloc()
    except pynvml.NVMLError:
        return None
    if reader.read(pynvml.nvmlGpmSampleGet, snapshot) is None:
        _free(snapshot)
        return None
    return snapshot


def _free(snapshot: Any) -> None:
    try:
        pynvml.nvmlGpmSampleFree(snapshot)
    except pynvml.NVMLError:  # the driver is gone, and the snapshot with it
        return


def _means(reader: Reader, before: Any, after: Any) -> GpmSample | None:
    request = pynvml.c_nvmlGpmMetricsGet_t()
    request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
    request.numMetrics = len(_METRICS)
    request.sample1, request.sample2 = before, after
    for place, metric in enumerate(_METRICS):
        request.metrics[place].metricId = metric
    if reader.read(_get_metrics, request) is None:
        return None
    answers = request.metrics[: len(_METRICS)]
    values = [float(answer.value) if answer.nvmlReturn == pynvml.NVML_SUCCESS else None for answer in answers]
    return GpmSample(*values)


def _get_metrics(_handle: Any, request: Any) -> Any:
    return pynvml.nvmlGpmMetricsGet(request)
