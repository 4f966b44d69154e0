from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from node_agent.clock import SystemClock
from node_agent.probe.host import HostSampler
from node_agent.probe.nvml import Nvml
from node_agent.probe.samples import (
    EccCounts,
    GpuProcess,
    RecoveryAction,
    RemappedRows,
    RetiredPages,
    ThrottleReason,
)
from node_agent.probe.telemetry import Telemetry
from node_agent.virtual import GpuLoad, LoadTable, VirtualHost, virtual_gpus

GIBIBYTE = 1024**3


@pytest.fixture
def load() -> LoadTable:
    return LoadTable()


@pytest.fixture
def host(load: LoadTable) -> Iterator[VirtualHost]:
    with virtual_gpus("4xH100", load=load) as host:
        yield host


def telemetry() -> Telemetry:
    nvml = Nvml()
    nvml.open()
    return Telemetry(nvml, SystemClock())


def test_an_idle_gpu_has_every_value(host: VirtualHost) -> None:
    batch = telemetry().read()
    assert batch.nvml_error is None
    assert [gpu.uuid for gpu in batch.gpus] == [gpu.uuid for gpu in host.gpus]
    gpu = batch.gpus[0]
    absent = {name for name in gpu.__slots__ if getattr(gpu, name) is None}
    assert absent == {"retired_pages", "gpm"}
    assert gpu.failures == ()
    assert gpu.error is None
    assert (gpu.utilization_percent, gpu.power_watts, gpu.power_limit_watts) == (0, 70.0, 700.0)
    assert gpu.throttle_reasons == ThrottleReason.GPU_IDLE
    assert (gpu.sm_clock_mhz, gpu.memory_clock_mhz, gpu.performance_state) == (345, 2619, 0)
    assert (gpu.pcie.generation, gpu.pcie.generation_maximum, gpu.pcie.width, gpu.pcie.replays) == (5, 5, 16, 0)
    assert (gpu.processes, gpu.recovery_action) == ((), RecoveryAction.NONE)


def test_a_job_shows_on_its_gpu_alone(host: VirtualHost, load: LoadTable) -> None:
    source = telemetry()
    load.put(host.gpus[2].uuid, GpuLoad(90, 40 * GIBIBYTE, (4711,)))
    batch = source.read()
    busy = batch.gpus[2]
    assert (busy.utilization_percent, busy.memory_utilization_percent) == (90, 54)
    assert busy.processes == (GpuProcess(4711, 40 * GIBIBYTE),)
    assert busy.power_watts is not None
    assert busy.power_watts > 500
    assert busy.memory_used_bytes is not None
    assert busy.memory_used_bytes > 40 * GIBIBYTE
    assert busy.throttle_reasons == ThrottleReason.NONE
    assert [gpu.utilization_percent for gpu in batch.gpus] == [0, 0, 90, 0]


def test_signs_of_a_failing_gpu_are_in_the_sample(host: VirtualHost) -> None:
    gpu = host.gpus[0]
    gpu.record_memory_errors(corrected=7, uncorrected=1)
    gpu.repairs.uncorrectable, gpu.repairs.pending, gpu.repairs.failed = 1, True, True
    gpu.pcie_generation_cap, gpu.pcie_width, gpu.pcie_replays = 3, 8, 12
    gpu.recovery_action = 1
    gpu.override_temperature(91)
    sample = telemetry().read().gpus[0]
    assert sample.ecc == EccCounts(7, 1, 7, 1)
    assert sample.remapped_rows == RemappedRows(0, 1, pending=True, failure=True)
    assert (sample.pcie.generation, sample.pcie.width, sample.pcie.replays) == (3, 8, 12)
    assert sample.recovery_action is RecoveryAction.GPU_RESET
    assert sample.temperature_celsius == 91
    assert sample.throttle_reasons is not None
    assert ThrottleReason.HW_THERMAL_SLOWDOWN in sample.throttle_reasons
    gpu.recovery_action = 77
    assert telemetry().read().gpus[0].recovery_action is RecoveryAction.UNKNOWN


def test_an_old_card_has_retired_pages_and_no_memory_temperature() -> None:
    with virtual_gpus("1xT4") as host:
        host.gpus[0].repairs.correctable = 2
        sample = telemetry().read().gpus[0]
    assert sample.retired_pages == RetiredPages(2, 0, pending=False)
    assert (sample.remapped_rows, sample.memory_temperature_celsius, sample.failures) == (None, None, ())


def test_a_lost_gpu_keeps_its_name_in_the_batch_and_does_not_disturb_the_others(host: VirtualHost) -> None:
    source = telemetry()
    host.gpus[1].faults.lose()
    batch = source.read()
    lost = batch.gpus[1]
    assert (lost.uuid, lost.error) == (host.gpus[1].uuid, "GPU_IS_LOST")
    assert len(lost.failures) == 1  # after the first answer no other call is tried
    assert (lost.power_watts, lost.temperature_celsius, lost.processes) == (None, None, None)
    assert [gpu.error for gpu in batch.gpus] == [None, "GPU_IS_LOST", None, None]
    host.gpus[1].reset()
    assert source.read().gpus[1].error is None


def test_a_gpu_that_appears_after_the_start_is_sampled_from_then_on(host: VirtualHost) -> None:
    host.gpus[3].faults.lose()
    source = telemetry()
    assert source.read().gpus[3].uuid == ""
    host.gpus[3].faults.clear()
    sample = source.read().gpus[3]
    assert (sample.uuid, sample.error) == (host.gpus[3].uuid, None)


def test_a_failing_call_costs_its_own_value_alone(host: VirtualHost) -> None:
    host.gpus[0].faults.fail("nvmlDeviceGetPowerUsage", pynvml.NVML_ERROR_UNKNOWN)
    sample = telemetry().read().gpus[0]
    assert sample.power_watts is None
    assert [(failure.function, failure.error) for failure in sample.failures] == [
        ("nvmlDeviceGetPowerUsage", "UNKNOWN")
    ]
    assert sample.temperature_celsius is not None


@pytest.mark.parametrize(
    "symbol",
    [
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetEnforcedPowerLimit",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetPerformanceState",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetTotalEccErrors",
        "nvmlDeviceGetCurrPcieLinkGeneration",
        "nvmlDeviceGetCurrPcieLinkWidth",
        "nvmlDeviceGetComputeRunningProcesses_v3",
    ],
)
def test_every_call_of_a_sample_may_fail_or_be_absent(symbol: str) -> None:
    with virtual_gpus("1xH100") as host:
        host.gpus[0].faults.fail(symbol, pynvml.NVML_ERROR_TIMEOUT)
        assert telemetry().read().gpus[0].error == "TIMEOUT"
    with virtual_gpus("1xH100", absent_symbols=[symbol]):
        assert telemetry().read().gpus[0].failures == ()


def test_throttle_reasons_are_read_under_their_former_name_from_old_drivers() -> None:
    with virtual_gpus("1xH100", absent_symbols=["nvmlDeviceGetCurrentClocksEventReasons"]):
        assert telemetry().read().gpus[0].throttle_reasons == ThrottleReason.GPU_IDLE


def test_a_gpu_in_mig_mode_has_no_utilisation_and_no_failure(host: VirtualHost) -> None:
    host.gpus[0].partition(("7g.80gb",))
    sample = telemetry().read().gpus[0]
    assert (sample.utilization_percent, sample.failures) == (None, ())


def test_processes_are_bounded(host: VirtualHost, load: LoadTable) -> None:
    load.put(host.gpus[0].uuid, GpuLoad(1, 0, tuple(range(1, 1001))))
    processes = telemetry().read().gpus[0].processes
    assert processes is not None
    assert len(processes) == 256


def test_processes_that_draw_are_seen_where_none_computes(host: VirtualHost, load: LoadTable) -> None:
    def pids() -> list[int]:
        return [process.pid for process in telemetry().read().gpus[0].processes or ()]

    host.gpus[0].graphics_process_ids = (41, 42)
    assert pids() == [41, 42]
    load.put(host.gpus[0].uuid, GpuLoad(1, 0, (7,)))
    assert pids() == [7]


def test_drivers_that_tell_of_no_processes_that_draw_have_no_failure() -> None:
    with virtual_gpus("1xH100", absent_symbols=["nvmlDeviceGetGraphicsRunningProcesses_v3"]):
        sample = telemetry().read().gpus[0]
    assert (sample.processes, sample.failures) == ((), ())


def test_while_nvml_is_closed_its_gpus_are_reported_as_out_of_reach(host: VirtualHost) -> None:
    nvml = Nvml()
    nvml.open()
    source = Telemetry(nvml, SystemClock())
    nvml.close()
    batch = source.read()
    assert batch.nvml_error == "UNINITIALIZED"
    assert [(gpu.uuid, gpu.error) for gpu in batch.gpus] == [(gpu.uuid, "UNINITIALIZED") for gpu in host.gpus]
    nvml.open()
    assert source.read().gpus[0].error is None


def write_proc(root: Path, stat: str) -> None:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text(stat + "\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    (root / "proc/loadavg").write_text("1.50 2.25 3.00 2/300 12345\n")
    (root / "proc/uptime").write_text("98765.43 1234.00\n")
    (root / "proc/meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 600 kB\nSwapTotal: 200 kB\nSwapFree: 150 kB\n")


def test_host_values_come_from_proc(tmp_path: Path) -> None:
    sampler = HostSampler(tmp_path)
    write_proc(tmp_path, "cpu  100 0 100 800 0 0 0 0 0 0")
    first = sampler.sample()
    assert first.cpu_percent is None
    assert (first.load_1m, first.load_5m, first.load_15m) == (1.5, 2.25, 3.0)
    assert (first.memory_total_bytes, first.memory_available_bytes) == (1024000, 614400)
    assert (first.swap_used_bytes, first.uptime_seconds) == (50 * 1024, 98765.43)
    write_proc(tmp_path, "cpu  125 0 125 850 0 0 0 0 50 0")
    assert sampler.sample().cpu_percent == 50.0


@pytest.mark.parametrize("stat", ["", "cpu", "cpu a b c d e f g h i", "intr 1 2 3 4 5 6 7 8 9"])
def test_an_odd_proc_gives_no_value_and_no_error(tmp_path: Path, stat: str) -> None:
    write_proc(tmp_path, stat)
    (tmp_path / "proc/loadavg").write_text("garbage\n")
    (tmp_path / "proc/uptime").unlink()
    sample = HostSampler(tmp_path).sample()
    assert (sample.cpu_percent, sample.load_1m, sample.load_5m, sample.uptime_seconds) == (None,) * 4


def test_the_real_proc_can_be_read() -> None:
    sampler = HostSampler()
    sampler.sample()
    sample = sampler.sample()
    assert sample.memory_total_bytes
    assert sample.load_1m is not None
    assert sample.cpu_percent is None or 0 <= sample.cpu_percent <= 100
