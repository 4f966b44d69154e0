"""The values that are read every ten seconds."""

from datetime import datetime

import pynvml
import pytest

from node_agent.probe.nvml import Nvml
from node_agent.probe.samples import BankSpares, FabricState, NvlinkSample
from node_agent.probe.telemetry import SLOW_SECONDS, Telemetry
from node_agent.virtual import GpuLoad, LoadTable, virtual_gpus


class ManualClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        raise NotImplementedError

    def monotonic(self) -> float:
        return self.seconds


def telemetry(clock: ManualClock) -> Telemetry:
    nvml = Nvml()
    nvml.open()
    return Telemetry(nvml, clock)


def test_the_slow_set_is_read_every_ten_seconds_and_at_once_if_it_must_be_fresh() -> None:
    clock = ManualClock()
    with virtual_gpus("1xH100") as host:
        source = telemetry(clock)
        assert source.read().gpus[0].nvlinks_active == 18
        host.gpus[0].links[3].active = False
        clock.seconds += SLOW_SECONDS - 1
        assert source.read().gpus[0].nvlinks_active == 18
        clock.seconds += 1
        assert source.read().gpus[0].nvlinks_active == 17
        host.gpus[0].links[5].active = False
        assert source.read(fresh=True).gpus[0].nvlinks_active == 16


def test_a_gpu_that_comes_back_is_read_afresh() -> None:
    clock = ManualClock()
    with virtual_gpus("1xH100") as host:
        source = telemetry(clock)
        source.read()
        host.gpus[0].faults.lose()
        assert source.read().gpus[0].nvlinks is None
        host.gpus[0].reset()
        host.gpus[0].links[0].active = False
        assert source.read().gpus[0].nvlinks_active == 17


def test_an_hgx_board_tells_links_fabric_limits_and_spare_rows() -> None:
    with virtual_gpus("1xH100") as host:
        host.gpus[0].links[2].errors[pynvml.NVML_NVLINK_ERROR_DL_REPLAY] = 4
        host.gpus[0].links[2].errors[pynvml.NVML_NVLINK_ERROR_DL_CRC_FLIT] = 5
        gpu = telemetry(ManualClock()).read().gpus[0]
    assert gpu.nvlinks is not None
    assert gpu.nvlinks[2] == NvlinkSample(2, active=True, replay_errors=4, recovery_errors=0, crc_errors=5)
    assert gpu.nvlinks[2].errors == 9
    assert gpu.fabric is not None
    assert (gpu.fabric.state, gpu.fabric.degraded_bandwidth) == (FabricState.COMPLETED, False)
    assert gpu.fabric.access_timeout_recovery is None
    assert gpu.temperature_limits is not None
    assert (gpu.temperature_limits.slowdown_celsius, gpu.temperature_limits.shutdown_celsius) == (87, 92)
    assert gpu.temperature_celsius is not None
    assert gpu.temperature_margin_celsius == 87 - gpu.temperature_celsius
    assert gpu.bank_spares == BankSpares(2560, 0, 0, 0, 0)
    assert gpu.mig_enabled is False


def test_links_of_the_fifth_generation_count_other_things() -> None:
    with virtual_gpus("1xB200"):
        links = telemetry(ManualClock()).read().gpus[0].nvlinks
    assert links is not None
    assert links[0] == NvlinkSample(0, active=True, recovery_events=0, effective_errors=0)


def test_a_card_without_any_of_it_has_none_of_it_and_no_failure() -> None:
    with virtual_gpus("1xT4"):
        gpu = telemetry(ManualClock()).read().gpus[0]
    assert (gpu.nvlinks, gpu.nvlinks_active, gpu.fabric, gpu.bank_spares, gpu.mig_enabled, gpu.gpm) == (None,) * 6
    assert gpu.failures == ()


@pytest.mark.parametrize("absent", ["nvmlDeviceGetFieldValues", "nvmlDeviceGetMarginTemperature"])
def test_an_old_driver_is_asked_in_the_old_way(absent: str) -> None:
    with virtual_gpus("1xA100", absent_symbols=[absent]) as host:
        host.gpus[0].links[1].active = False
        gpu = telemetry(ManualClock()).read().gpus[0]
    assert gpu.nvlinks is not None
    assert [link.active for link in gpu.nvlinks] == [True, False] + [True] * 10
    assert gpu.nvlinks[0].crc_errors == 0
    assert gpu.temperature_margin_celsius is not None
    assert gpu.failures == ()


def test_gpm_means_the_time_since_the_reading_before() -> None:
    load, clock = LoadTable(), ManualClock()
    with virtual_gpus("1xH100+1xA100", load=load) as host:
        source = telemetry(clock)
        assert source.read().gpus[0].gpm is None
        load.put(host.gpus[0].uuid, GpuLoad(80))
        clock.seconds += SLOW_SECONDS
        hopper, ampere = source.read().gpus
        assert hopper.gpm is not None
        assert hopper.gpm.sm_percent == 40.0
        assert hopper.gpm.nvlink_transmit_mib_per_second is not None
        assert ampere.gpm is None
        clock.seconds += SLOW_SECONDS
        later = source.read().gpus[0].gpm
        assert later is not None
        assert later.sm_percent == 80.0
        source.forget()
        clock.seconds += SLOW_SECONDS
        assert source.read().gpus[0].gpm is None


@pytest.mark.parametrize("symbol", ["nvmlGpmQueryDeviceSupport", "nvmlGpmSampleGet"])
def test_counters_that_a_profiler_holds_are_no_failure_of_the_gpu(symbol: str) -> None:
    clock = ManualClock()
    with virtual_gpus("1xH100") as host:
        host.gpus[0].faults.fail(symbol, pynvml.NVML_ERROR_IN_USE)
        source = telemetry(clock)
        source.read()
        clock.seconds += SLOW_SECONDS
        gpu = source.read().gpus[0]
    assert (gpu.gpm, gpu.failures) == (None, ())


@pytest.mark.parametrize(
    "symbol",
    [
        "nvmlDeviceGetTemperatureThreshold",
        "nvmlDeviceGetMarginTemperature",
        "nvmlDeviceGetRowRemapperHistogram",
        "nvmlDeviceGetGpuFabricInfoV",
        "nvmlDeviceGetMigMode",
        "nvmlGpmSampleGet",
    ],
)
def test_every_call_of_the_slow_set_may_be_refused_or_absent_and_is_not_held_against_the_gpu(symbol: str) -> None:
    with virtual_gpus("1xH100") as host:
        host.gpus[0].faults.fail(symbol, pynvml.NVML_ERROR_INVALID_ARGUMENT)
        gpu = telemetry(ManualClock()).read().gpus[0]
        assert (gpu.nvlinks_active, gpu.failures) == (18, ())
    with virtual_gpus("1xH100", absent_symbols=[symbol]):
        assert telemetry(ManualClock()).read().gpus[0].failures == ()


def test_a_gpu_that_is_lost_in_the_middle_of_the_slow_set_is_lost() -> None:
    with virtual_gpus("1xH100") as host:
        host.gpus[0].faults.fail("nvmlDeviceGetRowRemapperHistogram", pynvml.NVML_ERROR_GPU_IS_LOST)
        gpu = telemetry(ManualClock()).read().gpus[0]
    assert gpu.error == "GPU_IS_LOST"
    assert gpu.power_watts is not None
