"""The slow set of a GPU: values that change rarely or cost much to read, together about 130 fields on an H100."""

from dataclasses import dataclass, replace
from typing import Final

import pynvml

from node_agent.probe.gpm import Gpm
from node_agent.probe.nvml import Reader
from node_agent.probe.samples import (
    BankSpares,
    Fabric,
    FabricState,
    GpmSample,
    GpuSample,
    NvlinkSample,
    ReadFailure,
    TemperatureLimits,
)

_LINK_FIELDS: Final = (
    pynvml.NVML_FI_DEV_NVLINK_GET_STATE,
    pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY,
    pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY,
    pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_CRC,
    pynvml.NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS,
    pynvml.NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_ERRORS,
)
_LINK_DOWN: Final = 0
"""A link that sleeps to save power (2) is up."""
_FABRIC_BITS: Final = 0b11
_FABRIC_TRUE: Final = 1
_FABRIC_FALSE: Final = 2


@dataclass(frozen=True, slots=True)
class SlowSet:
    """What is read every few seconds; see `GpuSample` for each value."""

    temperature_limits: TemperatureLimits
    nvlinks: tuple[NvlinkSample, ...] | None
    bank_spares: BankSpares | None
    fabric: Fabric | None
    mig_enabled: bool | None
    gpm: GpmSample | None


def read_slow_set(reader: Reader, gpm: Gpm) -> SlowSet:
    """Read the slow set of one GPU; what cannot be read is None, and its failure is with the reader."""
    mig_mode = reader.read(pynvml.nvmlDeviceGetMigMode)
    return SlowSet(
        temperature_limits=_temperature_limits(reader),
        nvlinks=read_nvlinks(reader),
        bank_spares=_bank_spares(reader),
        fabric=_fabric(reader),
        mig_enabled=None if mig_mode is None else mig_mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE,
        gpm=gpm.read(reader),
    )


def with_slow_set(sample: GpuSample, slow: SlowSet, failures: tuple[ReadFailure, ...]) -> GpuSample:
    """Return the sample of the fast set with the slow set put in."""
    margin = sample.temperature_margin_celsius
    limit = slow.temperature_limits.slowdown_celsius
    if margin is None and limit is not None and sample.temperature_celsius is not None:
        margin = limit - sample.temperature_celsius  # before driver 560 the margin is not told
    return replace(
        sample,
        failures=failures,
        temperature_margin_celsius=margin,
        temperature_limits=slow.temperature_limits,
        nvlinks=slow.nvlinks,
        bank_spares=slow.bank_spares,
        fabric=slow.fabric,
        mig_enabled=slow.mig_enabled,
        gpm=slow.gpm,
    )


def _temperature_limits(reader: Reader) -> TemperatureLimits:
    # Readers of their own: a driver refuses the thresholds that it does not know as invalid arguments.
    def limit(kind: int) -> int | None:
        value = reader.again().read(pynvml.nvmlDeviceGetTemperatureThreshold, kind)
        return None if value is None else int(value)

    return TemperatureLimits(
        slowdown_celsius=limit(pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
        shutdown_celsius=limit(pynvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN),
        memory_maximum_celsius=limit(pynvml.NVML_TEMPERATURE_THRESHOLD_MEM_MAX),
    )


def read_nvlinks(reader: Reader) -> tuple[NvlinkSample, ...] | None:
    """Read state and error counters of all links in one call, or link by link from drivers that have no such fields."""
    count = reader.read_fields((pynvml.NVML_FI_DEV_NVLINK_LINK_COUNT,)).get(pynvml.NVML_FI_DEV_NVLINK_LINK_COUNT)
    if count is None:
        return _read_each_link(reader, pynvml.NVML_NVLINK_MAX_LINKS)
    count = min(count, pynvml.NVML_NVLINK_MAX_LINKS)
    if not count:
        return None
    found = reader.read_scoped_fields(tuple((field, link) for link in range(count) for field in _LINK_FIELDS))
    links = [_link_of_fields(found, link) for link in range(count)]
    return tuple(link for link in links if link is not None) or _read_each_link(reader, count)


def _link_of_fields(found: dict[tuple[int, int], int], link: int) -> NvlinkSample | None:
    state, replay, recovery, crc, events, effective = (found.get((field, link)) for field in _LINK_FIELDS)
    return None if state is None else NvlinkSample(link, state != _LINK_DOWN, replay, recovery, crc, events, effective)


def _read_each_link(reader: Reader, count: int) -> tuple[NvlinkSample, ...] | None:
    links: list[NvlinkSample] = []
    for number in range(count):
        probe = reader.again()  # links above what the model has are refused as an invalid argument
        state = probe.read(pynvml.nvmlDeviceGetNvLinkState, number)
        if state is None:
            break
        crc = probe.read(pynvml.nvmlDeviceGetNvLinkErrorCounter, number, pynvml.NVML_NVLINK_ERROR_DL_CRC_FLIT)
        replay = probe.read(pynvml.nvmlDeviceGetNvLinkErrorCounter, number, pynvml.NVML_NVLINK_ERROR_DL_REPLAY)
        recovery = probe.read(pynvml.nvmlDeviceGetNvLinkErrorCounter, number, pynvml.NVML_NVLINK_ERROR_DL_RECOVERY)
        links.append(NvlinkSample(number, state == pynvml.NVML_FEATURE_ENABLED, replay, recovery, crc))
    return tuple(links) or None


def _bank_spares(reader: Reader) -> BankSpares | None:
    values = reader.read(pynvml.nvmlDeviceGetRowRemapperHistogram)
    if values is None:
        return None
    return BankSpares(
        maximum=int(values.max),
        high=int(values.high),
        partial=int(values.partial),
        low=int(values.low),
        none=int(values.none),
    )


def _fabric(reader: Reader) -> Fabric | None:
    info = pynvml.c_nvmlGpuFabricInfoV_t()
    if reader.read(pynvml.nvmlDeviceGetGpuFabricInfoV, pynvml.byref(info)) is None:
        return None
    if info.state == pynvml.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED:
        return None

    def bit(shift: int) -> bool | None:
        return {_FABRIC_TRUE: True, _FABRIC_FALSE: False}.get(info.healthMask >> shift & _FABRIC_BITS)

    return Fabric(
        state=_fabric_state(int(info.state)),
        status=int(info.status),
        degraded_bandwidth=bit(pynvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_DEGRADED_BW),
        route_recovery=bit(pynvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ROUTE_RECOVERY),
        route_unhealthy=bit(pynvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ROUTE_UNHEALTHY),
        access_timeout_recovery=bit(pynvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ACCESS_TIMEOUT_RECOVERY),
    )


def _fabric_state(number: int) -> FabricState:
    try:
        return FabricState(number)
    except ValueError:
        return FabricState.UNKNOWN
