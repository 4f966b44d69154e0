from dataclasses import replace
from datetime import timedelta

from node_agent.probe.dcgm import DcgmGpu, DcgmReading, Filler
from node_agent.probe.dcgm.page import DcgmPage
from node_agent.probe.samples import (
    EccCounts,
    GpuSample,
    HostSample,
    PcieLink,
    ReadFailure,
    RemappedRows,
    RetiredPages,
    TelemetryBatch,
    ThrottleReason,
    unread,
)
from tests.node_agent.probe.dcgm.pages import NEW, UUIDS
from tests.node_agent.probe.steps import START

HOST = HostSample(None, None, None, None, None, None, None, None)
NOTHING = replace(unread(0, UUIDS[0], ReadFailure("", "")), failures=())
MEBIBYTE = 1024 * 1024


def batch(*gpus: GpuSample) -> TelemetryBatch:
    return TelemetryBatch(1, START, 0.0, None, HOST, gpus)


def reading(**figures: float) -> DcgmReading:
    return DcgmReading(START, gpus={UUIDS[0]: DcgmGpu(UUIDS[0], "0", "", "", figures)})


def merge(sampled: TelemetryBatch, read: DcgmReading) -> TelemetryBatch:
    return Filler(read).fill(sampled)


def page_reading() -> DcgmReading:
    pages = DcgmPage()
    pages.feed(NEW.encode())
    return DcgmReading(START, gpus=pages.end()[0])


def test_dcgm_fills_what_nvml_lacks_in_our_units() -> None:
    (gpu,) = merge(batch(NOTHING), page_reading()).gpus
    assert gpu.utilization_percent == 97
    assert gpu.memory_used_bytes == 41559 * MEBIBYTE
    assert gpu.memory_total_bytes == 81559 * MEBIBYTE
    assert gpu.power_watts == 118.742
    assert gpu.energy_joules == 5123456.789
    assert (gpu.temperature_celsius, gpu.memory_temperature_celsius) == (44, 52)
    assert gpu.ecc == EccCounts(7, 0, None, None)
    assert gpu.pcie == PcieLink(None, None, None, None, 3)
    assert gpu.remapped_rows == RemappedRows(2, 1, pending=False, failure=False)
    assert gpu.retired_pages is None


def test_nvml_wins_where_both_have_a_value_and_nothing_is_added_up() -> None:
    own = replace(
        NOTHING,
        utilization_percent=0,
        power_watts=90.0,
        ecc=EccCounts(100, None, None, None),
        remapped_rows=RemappedRows(0, 0, pending=True, failure=False),
    )
    (gpu,) = merge(batch(own), page_reading()).gpus
    assert (gpu.utilization_percent, gpu.power_watts) == (0, 90.0)
    assert gpu.ecc == EccCounts(100, 0, None, None)
    assert gpu.remapped_rows == own.remapped_rows
    assert gpu.memory_temperature_celsius == 52


def test_figures_go_to_the_gpu_with_the_same_uuid_only() -> None:
    other = replace(NOTHING, uuid="GPU-other")
    merged = merge(batch(other, replace(NOTHING, uuid=UUIDS[1], index=1)), page_reading())
    assert merged.gpus[0] is other
    assert merged.gpus[1].temperature_celsius == 44
    assert len(merged.gpus) == 2


def test_a_gpu_that_nvml_cannot_read_is_not_made_to_look_well() -> None:
    lost = unread(0, UUIDS[0], ReadFailure("nvmlDeviceGetMemoryInfo", "GPU_IS_LOST"))
    before = batch(lost)
    assert merge(before, page_reading()) is before


def test_old_and_failed_readings_fill_nothing() -> None:
    before = batch(NOTHING)
    assert merge(before, replace(page_reading(), scraped_at=START - timedelta(minutes=5))) is before
    assert merge(before, DcgmReading(START)) is before


def test_a_batch_that_lacks_nothing_is_left_as_it_is() -> None:
    full = merge(batch(NOTHING), page_reading())
    assert merge(full, page_reading()) is full


def test_bits_states_and_pages_are_read() -> None:
    (gpu,) = merge(
        batch(NOTHING),
        reading(
            DCGM_FI_DEV_CLOCK_THROTTLE_REASONS=0x48,
            DCGM_FI_DEV_PSTATE=0,
            DCGM_FI_DEV_RETIRED_SBE=1,
            DCGM_FI_DEV_RETIRED_DBE=2,
            DCGM_FI_DEV_RETIRED_PENDING=1,
            DCGM_FI_DEV_PCIE_LINK_WIDTH=16,
        ),
    ).gpus
    assert gpu.throttle_reasons == ThrottleReason.HW_SLOWDOWN | ThrottleReason.HW_THERMAL_SLOWDOWN
    assert gpu.performance_state == 0
    assert gpu.retired_pages == RetiredPages(1, 2, pending=True)
    assert gpu.pcie.width == 16


def test_negative_figures_are_none() -> None:
    (gpu,) = merge(batch(NOTHING), reading(DCGM_FI_DEV_POWER_USAGE=-1, DCGM_FI_DEV_GPU_UTIL=-5)).gpus
    assert gpu.power_watts is None
    assert gpu.utilization_percent is None
