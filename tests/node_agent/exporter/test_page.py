from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from node_agent.exporter import ExporterState, GpuLabels
from node_agent.exporter.page import render
from node_agent.exporter.text import label_text, number
from node_agent.health.model import Condition, Rung, Scope, Severity
from node_agent.probe.dcgm import DcgmReading, Filler
from node_agent.probe.dcgm.page import DcgmPage
from node_agent.probe.samples import (
    EccCounts,
    GpuSample,
    HostSample,
    NvlinkSample,
    PcieLink,
    ReadFailure,
    RemappedRows,
    RetiredPages,
    TelemetryBatch,
    ThrottleReason,
    unread,
)
from node_agent.repair.model import RepairState
from tests.node_agent.probe.steps import START

UUIDS = ("GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52", "GPU-9a1f9d5e-7b3c-4d2e-8f10-0123456789ab")
LABELS = tuple(
    GpuLabels(uuid, index, f"0000:{index + 7:02x}:00.0", "NVIDIA H100 80GB HBM3") for index, uuid in enumerate(UUIDS)
)
HOST = HostSample(None, None, None, None, None, None, None, None)
MEBIBYTE = 1024 * 1024


def sample(index: int) -> GpuSample:
    return replace(
        unread(index, UUIDS[index], ReadFailure("", "")),
        failures=(),
        utilization_percent=97,
        memory_utilization_percent=61,
        memory_total_bytes=81559 * MEBIBYTE,
        memory_used_bytes=41559 * MEBIBYTE,
        power_watts=118.742,
        power_limit_watts=700.0,
        energy_joules=5123456.789,
        temperature_celsius=44,
        memory_temperature_celsius=52,
        sm_clock_mhz=1980,
        memory_clock_mhz=2619,
        performance_state=0,
        throttle_reasons=ThrottleReason.SW_POWER_CAP,
        ecc=EccCounts(7, 0, 70, 1),
        pcie=PcieLink(5, None, 16, None, 3),
        remapped_rows=RemappedRows(2, 1, pending=True, failure=False),
        retired_pages=RetiredPages(4, 5, pending=False),
        nvlinks=(NvlinkSample(0, active=True, crc_errors=5), NvlinkSample(1, active=False, crc_errors=6)),
    )


def batch(*gpus: GpuSample) -> TelemetryBatch:
    return TelemetryBatch(1, START, 0.0, None, HOST, gpus)


def condition(kind: str, severity: Severity) -> Condition:
    return Condition(f"host/{kind}", Scope.HOST, "", kind, severity, "", START, START)


STATE = ExporterState(
    hostname="gpu-host-1",
    version="0.2.0",
    driver_version="580.65.06",
    gpus=LABELS,
    batch=batch(sample(0), sample(1)),
    batch_age_seconds=0.25,
    last_xids={UUIDS[1]: 79},
    conditions=(
        condition("XID", Severity.FATAL),
        condition("XID", Severity.FATAL),
        condition("DISK_FULL", Severity.WARNING),
    ),
    spool_events=12,
    spool_bytes=4096,
    link_up=True,
    probe_stalls={"nvml": 2},
    repairs={(Rung.RESET_GPU, RepairState.SUCCEEDED): 3},
    kernel_lines_read=100_000,
)


def series(state: ExporterState, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Return the values of a metric by its labels, as Prometheus's own parser reads the page."""
    return {
        tuple(sample.labels.items()): sample.value
        for family in text_string_to_metric_families(render(state).decode())
        for sample in family.samples
        if sample.name in (name, f"{name}_total")  # the parser lengthens the names of counters
    }


def of_gpu(state: ExporterState, name: str) -> dict[str, float]:
    """Return the values of a metric by the GPU's index."""
    return {dict(labels)["gpu"]: value for labels, value in series(state, name).items()}


def test_labels_are_those_of_the_dcgm_exporter() -> None:
    (labels, _) = series(STATE, "DCGM_FI_DEV_GPU_UTIL")
    assert dict(labels) == {
        "gpu": "0",
        "UUID": UUIDS[0],
        "pci_bus_id": "00000000:07:00.0",
        "device": "nvidia0",
        "modelName": "NVIDIA H100 80GB HBM3",
        "Hostname": "gpu-host-1",
        "DCGM_FI_DRIVER_VERSION": "580.65.06",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DCGM_FI_DEV_GPU_UTIL", 97),
        ("DCGM_FI_DEV_FB_USED", 41559),
        ("DCGM_FI_DEV_FB_FREE", 40000),
        ("DCGM_FI_DEV_GPU_TEMP", 44),
        ("DCGM_FI_DEV_POWER_USAGE", 118.742),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 5123456789),
        ("DCGM_FI_DEV_SM_CLOCK", 1980),
        ("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", 70),
        ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", 0),
        ("DCGM_FI_DEV_ROW_REMAP_PENDING", 1),
        ("DCGM_FI_DEV_ROW_REMAP_FAILURE", 0),
        ("DCGM_FI_DEV_RETIRED_DBE", 5),
        ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", 4),
        ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", 3),
        ("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", 11),
        ("orquanta_node_gpu_up", 1),
        ("orquanta_node_gpu_nvlinks_active", 1),
    ],
)
def test_figures_have_dcgms_names_and_units(name: str, value: float) -> None:
    assert of_gpu(STATE, name) == {"0": value, "1": value}


def test_the_last_xid_of_each_gpu_is_shown() -> None:
    assert of_gpu(STATE, "DCGM_FI_DEV_XID_ERRORS") == {"0": 0, "1": 79}


def test_figures_that_cannot_be_read_are_left_out_not_shown_as_zero() -> None:
    state = replace(STATE, batch=batch(replace(sample(0), temperature_celsius=None, nvlinks=None)))
    assert of_gpu(state, "DCGM_FI_DEV_GPU_TEMP") == {}
    assert of_gpu(state, "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL") == {}
    assert of_gpu(state, "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL") == {}


@pytest.mark.parametrize(
    "lost", [(), (unread(1, UUIDS[1], ReadFailure("nvmlDeviceGetMemoryInfo", "GPU_IS_LOST")),)], ids=["gone", "failing"]
)
def test_a_lost_gpu_is_a_metric_and_not_silence(lost: tuple[GpuSample, ...]) -> None:
    state = replace(STATE, batch=batch(sample(0), *lost))
    assert of_gpu(state, "orquanta_node_gpu_up") == {"0": 1, "1": 0}
    assert of_gpu(state, "DCGM_FI_DEV_XID_ERRORS")["1"] == 79
    assert of_gpu(state, "DCGM_FI_DEV_GPU_TEMP") == {"0": 44}


def test_no_sample_at_all_leaves_all_gpus_down_and_the_daemon_visible() -> None:
    state = replace(STATE, batch=None, batch_age_seconds=None)
    assert of_gpu(state, "orquanta_node_gpu_up") == {"0": 0, "1": 0}
    assert series(state, "orquanta_node_link_up") == {(): 1}
    assert series(state, "orquanta_node_sample_age_seconds") == {}


def test_the_daemons_own_figures_are_shown() -> None:
    assert series(STATE, "orquanta_node_conditions") == {
        (("kind", "DISK_FULL"), ("severity", "warning")): 1,
        (("kind", "XID"), ("severity", "fatal")): 2,
    }
    assert series(STATE, "orquanta_node_repairs") == {(("rung", "reset_gpu"), ("outcome", "succeeded")): 3}
    assert series(STATE, "orquanta_node_probe_stalls_total") == {(("probe", "nvml"),): 2}
    assert series(STATE, "orquanta_node_spool_events") == {(): 12}
    assert series(STATE, "orquanta_node_kernel_lines_read_total") == {(): 100_000}
    assert series(STATE, "orquanta_node_info") == {(("version", "0.2.0"), ("Hostname", "gpu-host-1")): 1}


def read_back(page: bytes) -> DcgmReading:
    pages = DcgmPage()
    pages.feed(page)
    gpus, unreadable = pages.end()
    assert unreadable == 0
    return DcgmReading(START, pages.hostname, gpus)


def test_our_dcgm_client_reads_back_what_the_endpoint_shows() -> None:
    reading = read_back(render(STATE))
    assert reading.hostname == "gpu-host-1"
    assert reading.gpus[UUIDS[1]].figures["DCGM_FI_DEV_GPU_TEMP"] == 44
    blank = replace(unread(0, UUIDS[0], ReadFailure("", "")), failures=())
    (gpu,) = Filler(reading).fill(batch(blank)).gpus
    assert gpu == replace(sample(0), nvlinks=None)  # shown as one sum of all links, which is no link's own figure


@given(st.text(max_size=60))
def test_hostile_names_stay_within_their_label(name: str) -> None:
    gpus = (replace(LABELS[0], product_name=name),)
    page = render(replace(STATE, gpus=gpus, hostname=name, version=name))
    assert page.count(b"\norquanta_node_gpu_up{") == 1
    assert list(read_back(page).gpus) == [UUIDS[0]]


def test_numbers_are_written_without_loss() -> None:
    assert [number(value) for value in (True, 3, 3.0, 0.1, 1e20, 2**63)] == [
        "1",
        "3",
        "3",
        "0.1",
        "1e+20",
        "9223372036854775808",
    ]
    assert label_text({}) == ""


def test_the_page_is_what_prometheus_own_parser_reads() -> None:
    families = {family.name: family for family in text_string_to_metric_families(render(STATE).decode())}
    assert families["DCGM_FI_DEV_GPU_TEMP"].type == "gauge"
    assert families["DCGM_FI_DEV_PCIE_REPLAY_COUNTER"].type == "counter"
    assert families["orquanta_node_kernel_lines_read"].samples[0].value == 100_000
    assert {sample.labels["UUID"] for sample in families["orquanta_node_gpu_up"].samples} == set(UUIDS)
    assert all(family.documentation for family in families.values())
