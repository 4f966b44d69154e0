"""GPU metrics by the names, units and labels of NVIDIA's DCGM exporter, so that dashboards made for it work."""

from collections.abc import Callable
from typing import Final, NamedTuple

from node_agent.exporter.state import ExporterState, GpuLabels
from node_agent.exporter.text import Kind, family, label_text
from node_agent.probe.samples import GpuSample, NvlinkSample, RemappedRows, RetiredPages

_MEBIBYTE: Final = 1024 * 1024
MAXIMUM_GPUS: Final = 64


class _Metric(NamedTuple):
    name: str
    kind: Kind
    explanation: str
    value: Callable[[GpuSample], float | None]


def _memory(sample: GpuSample, figure: Callable[[int, int], int]) -> int | None:
    total, used = sample.memory_total_bytes, sample.memory_used_bytes
    return None if total is None or used is None else figure(total, used) // _MEBIBYTE


def _nvlinks(sample: GpuSample, figure: Callable[[NvlinkSample], int | None]) -> int | None:
    counts = [count for count in map(figure, sample.nvlinks or ()) if count is not None]
    return sum(counts) if counts else None


def _remapped(sample: GpuSample, figure: Callable[[RemappedRows], int]) -> int | None:
    return None if sample.remapped_rows is None else int(figure(sample.remapped_rows))


def _retired(sample: GpuSample, figure: Callable[[RetiredPages], int]) -> int | None:
    return None if sample.retired_pages is None else int(figure(sample.retired_pages))


_GAUGE, _COUNTER = Kind.GAUGE, Kind.COUNTER
_METRICS: Final = (
    _Metric("DCGM_FI_DEV_SM_CLOCK", _GAUGE, "SM clock, in MHz.", lambda gpu: gpu.sm_clock_mhz),
    _Metric("DCGM_FI_DEV_MEM_CLOCK", _GAUGE, "Memory clock, in MHz.", lambda gpu: gpu.memory_clock_mhz),
    _Metric("DCGM_FI_DEV_GPU_TEMP", _GAUGE, "GPU temperature, in C.", lambda gpu: gpu.temperature_celsius),
    _Metric("DCGM_FI_DEV_MEMORY_TEMP", _GAUGE, "Memory temperature, in C.", lambda gpu: gpu.memory_temperature_celsius),
    _Metric("DCGM_FI_DEV_POWER_USAGE", _GAUGE, "Power draw, in W.", lambda gpu: gpu.power_watts),
    _Metric("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", _GAUGE, "Power limit, in W.", lambda gpu: gpu.power_limit_watts),
    _Metric(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        _COUNTER,
        "Energy since the driver was loaded, in mJ.",
        lambda gpu: None if gpu.energy_joules is None else round(gpu.energy_joules * 1000),
    ),
    _Metric("DCGM_FI_DEV_GPU_UTIL", _GAUGE, "GPU utilisation, in %.", lambda gpu: gpu.utilization_percent),
    _Metric(
        "DCGM_FI_DEV_MEM_COPY_UTIL", _GAUGE, "Memory utilisation, in %.", lambda gpu: gpu.memory_utilization_percent
    ),
    _Metric("DCGM_FI_DEV_FB_TOTAL", _GAUGE, "Memory, in MiB.", lambda gpu: _memory(gpu, lambda total, _used: total)),
    _Metric(
        "DCGM_FI_DEV_FB_USED", _GAUGE, "Memory in use, in MiB.", lambda gpu: _memory(gpu, lambda _total, used: used)
    ),
    _Metric(
        "DCGM_FI_DEV_FB_FREE",
        _GAUGE,
        "Memory not in use, in MiB.",
        lambda gpu: _memory(gpu, lambda total, used: total - used),
    ),
    _Metric("DCGM_FI_DEV_PSTATE", _GAUGE, "Performance state, 0 the fastest.", lambda gpu: gpu.performance_state),
    _Metric(
        "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
        _GAUGE,
        "Why clocks are held back, as bits.",
        lambda gpu: None if gpu.throttle_reasons is None else int(gpu.throttle_reasons),
    ),
    _Metric("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", _COUNTER, "PCIe replays.", lambda gpu: gpu.pcie.replays),
    _Metric("DCGM_FI_DEV_PCIE_LINK_GEN", _GAUGE, "PCIe generation now.", lambda gpu: gpu.pcie.generation),
    _Metric("DCGM_FI_DEV_PCIE_LINK_WIDTH", _GAUGE, "PCIe lanes now.", lambda gpu: gpu.pcie.width),
    _Metric(
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        _COUNTER,
        "Corrected ECC errors since the driver was loaded.",
        lambda gpu: gpu.ecc.corrected_volatile,
    ),
    _Metric(
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        _COUNTER,
        "Uncorrected ECC errors since the driver was loaded.",
        lambda gpu: gpu.ecc.uncorrected_volatile,
    ),
    _Metric(
        "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL",
        _COUNTER,
        "Corrected ECC errors over the GPU's life.",
        lambda gpu: gpu.ecc.corrected_aggregate,
    ),
    _Metric(
        "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL",
        _COUNTER,
        "Uncorrected ECC errors over the GPU's life.",
        lambda gpu: gpu.ecc.uncorrected_aggregate,
    ),
    _Metric(
        "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
        _COUNTER,
        "Rows remapped for correctable errors.",
        lambda gpu: _remapped(gpu, lambda rows: rows.correctable),
    ),
    _Metric(
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
        _COUNTER,
        "Rows remapped for uncorrectable errors.",
        lambda gpu: _remapped(gpu, lambda rows: rows.uncorrectable),
    ),
    _Metric(
        "DCGM_FI_DEV_ROW_REMAP_FAILURE",
        _GAUGE,
        "1 if a row could not be remapped.",
        lambda gpu: _remapped(gpu, lambda rows: rows.failure),
    ),
    _Metric(
        "DCGM_FI_DEV_ROW_REMAP_PENDING",
        _GAUGE,
        "1 if a remapping waits for a reset.",
        lambda gpu: _remapped(gpu, lambda rows: rows.pending),
    ),
    _Metric(
        "DCGM_FI_DEV_RETIRED_SBE",
        _COUNTER,
        "Pages retired for single-bit errors.",
        lambda gpu: _retired(gpu, lambda pages: pages.single_bit),
    ),
    _Metric(
        "DCGM_FI_DEV_RETIRED_DBE",
        _COUNTER,
        "Pages retired for double-bit errors.",
        lambda gpu: _retired(gpu, lambda pages: pages.double_bit),
    ),
    _Metric(
        "DCGM_FI_DEV_RETIRED_PENDING",
        _GAUGE,
        "1 if pages wait to be retired.",
        lambda gpu: _retired(gpu, lambda pages: pages.pending),
    ),
    _Metric(
        "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL",
        _COUNTER,
        "NVLink replays, all links.",
        lambda gpu: _nvlinks(gpu, lambda link: link.replay_errors),
    ),
    _Metric(
        "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
        _COUNTER,
        "NVLink recoveries, all links.",
        lambda gpu: _nvlinks(gpu, lambda link: link.recovery_errors),
    ),
    _Metric(
        "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
        _COUNTER,
        "NVLink CRC errors, all links.",
        lambda gpu: _nvlinks(gpu, lambda link: link.crc_errors),
    ),
)


def gpu_lines(state: ExporterState) -> list[str]:
    """Return the lines of all GPU metrics.

    A GPU that is lost keeps its label set: `orquanta_node_gpu_up` is 0 for it, and its last XID stays. Figures that
    cannot be read are left out, as the exporter does, never shown as 0.
    """
    samples = {sample.uuid: sample for sample in state.batch.gpus} if state.batch else {}
    gpus = state.gpus[:MAXIMUM_GPUS]
    labels = {gpu.uuid: label_text(_labels(gpu, state)) for gpu in gpus}
    lines: list[str] = []
    for metric in _METRICS:
        values = ((gpu.uuid, metric.value(samples[gpu.uuid])) for gpu in gpus if gpu.uuid in samples)
        series = [(labels[uuid], value) for uuid, value in values if value is not None]
        lines += family(metric.name, metric.kind, metric.explanation, series)
    xids = [(labels[gpu.uuid], state.last_xids.get(gpu.uuid, 0)) for gpu in gpus]
    lines += family("DCGM_FI_DEV_XID_ERRORS", _GAUGE, "The last XID; 0 if there was none.", xids)
    up = [(labels[gpu.uuid], _is_up(samples.get(gpu.uuid))) for gpu in gpus]
    lines += family("orquanta_node_gpu_up", _GAUGE, "1 if the GPU answers, 0 if it is lost or hangs.", up)
    links = [(labels[uuid], sample.nvlinks_active) for uuid, sample in samples.items() if uuid in labels]
    active = [(label, count) for label, count in links if count is not None]
    return lines + family("orquanta_node_gpu_nvlinks_active", _GAUGE, "NVLinks that are up.", active)


def _is_up(sample: GpuSample | None) -> int:
    return int(sample is not None and sample.error is None)


def _labels(gpu: GpuLabels, state: ExporterState) -> dict[str, str]:
    labels = {"gpu": str(gpu.index), "UUID": gpu.uuid}
    if gpu.pci_bus_id:
        labels["pci_bus_id"] = _pci_bus_id(gpu.pci_bus_id)
    labels |= {"device": f"nvidia{gpu.index}", "modelName": gpu.product_name, "Hostname": state.hostname}
    if state.driver_version:
        labels["DCGM_FI_DRIVER_VERSION"] = state.driver_version
    return labels


def _pci_bus_id(text: str) -> str:
    """Return a PCI bus id as DCGM writes it: eight digits of domain, upper case."""
    domain, separator, rest = text.partition(":")
    return f"{domain:0>8}:{rest}".upper() if separator else text
