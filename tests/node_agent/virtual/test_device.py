import threading
from collections.abc import Callable

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.virtual import GpuLoad, LoadTable, VirtualHost, physics, virtual_gpus
from node_agent.virtual.catalogue import MODELS
from node_agent.virtual.gpu_model import GpuModel

GIBIBYTE = 1024**3
models = st.sampled_from(list(MODELS.values()))


@given(models, st.integers(0, 100), st.integers(0, 100))
def test_more_load_draws_more_power_and_settles_warmer(model: GpuModel, one: int, other: int) -> None:
    low, high = sorted((one, other))
    cool, warm = physics.demanded_watts(model, low), physics.demanded_watts(model, high)
    assert model.power_idle_watts <= cool <= warm <= model.power_limit_watts
    assert physics.settled_celsius(model, cool) <= physics.settled_celsius(model, warm)


@given(st.floats(20, 100), st.floats(20, 100), st.floats(0, 600), st.floats(0, 600))
def test_temperature_moves_steadily_to_where_it_settles(start: float, settled: float, one: float, other: float) -> None:
    earlier, later = sorted((one, other))
    first, second = (physics.warmed_celsius(start, settled, seconds) for seconds in (earlier, later))
    assert abs(second - settled) <= abs(first - settled) + 1e-9
    assert min(start, settled) - 1e-9 <= second <= max(start, settled) + 1e-9


def test_a_gpu_warms_up_under_load_and_cools_down_after_it(
    host: VirtualHost, load: LoadTable, advance: Callable[[float], None]
) -> None:
    gpu = host.gpus[0]
    idle = gpu.state().celsius
    load.put(gpu.uuid, GpuLoad(100, 70 * GIBIBYTE, (42,)))
    gpu.state()
    warming = []
    for _ in range(120):
        advance(1)
        warming.append(gpu.state().celsius)
    assert warming == sorted(warming)
    assert warming[0] < warming[20] < warming[-1] < gpu.model.slowdown_celsius
    assert warming[-1] > idle + 25
    load.clear(gpu.uuid)
    gpu.state()
    advance(200)
    assert gpu.state().celsius == pytest.approx(idle, abs=0.1)


def test_load_shows_at_once_in_utilisation_memory_power_and_clocks(host: VirtualHost, load: LoadTable) -> None:
    gpu, neighbour = host.gpus[0], host.gpus[1]
    before = gpu.state()
    load.put(gpu.uuid, GpuLoad(80, 30 * GIBIBYTE, (7, 8)))
    state = gpu.state()
    assert (state.load.utilization_percent, state.memory_used_bytes) == (80, 30 * GIBIBYTE)
    assert state.power_watts > before.power_watts + 300
    assert (before.sm_clock_mhz, state.sm_clock_mhz) == (345, 1980)
    assert neighbour.state().load.utilization_percent == 0


def test_replacing_the_load_table_makes_the_others_idle(host: VirtualHost, load: LoadTable) -> None:
    load.put(host.gpus[0].uuid, GpuLoad(80))
    load.replace({host.gpus[1].uuid: GpuLoad(60)})
    assert [gpu.state().load.utilization_percent for gpu in host.gpus[:3]] == [0, 60, 0]


@pytest.mark.parametrize("arguments", [(101, 0), (-1, 0), (50, -1)])
def test_an_impossible_load_is_refused(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        GpuLoad(*arguments)


def test_an_idle_card_lowers_its_pcie_link_and_raises_it_under_load() -> None:
    load = LoadTable()
    with virtual_gpus("1xL4", load=load) as host:
        gpu = host.gpus[0]
        idle = gpu.state()
        assert (idle.pcie_generation, idle.performance_state, idle.memory_clock_mhz) == (1, 8, 405)
        load.put(gpu.uuid, GpuLoad(100))
        busy = gpu.state()
        assert (busy.pcie_generation, busy.performance_state, busy.memory_clock_mhz) == (4, 0, 6251)
        gpu.pcie_generation_cap = 2
        load.put(gpu.uuid, GpuLoad(99))
        assert gpu.state().pcie_generation == 2


def test_a_lowered_power_limit_caps_power_and_says_so(host: VirtualHost, load: LoadTable) -> None:
    gpu = host.gpus[0]
    gpu.power_limit_watts = 300
    load.put(gpu.uuid, GpuLoad(100))
    state = gpu.state()
    assert state.power_watts == 300
    assert state.throttle_reasons == pynvml.nvmlClocksEventReasonSwPowerCap
    assert state.sm_clock_mhz < gpu.model.sm_clock_mhz


def test_too_hot_a_gpu_slows_down(host: VirtualHost, load: LoadTable) -> None:
    gpu = host.gpus[0]
    load.put(gpu.uuid, GpuLoad(100))
    gpu.override_temperature(90)
    state = gpu.state()
    slowdown = pynvml.nvmlClocksEventReasonHwSlowdown | pynvml.nvmlClocksEventReasonHwThermalSlowdown
    assert state.throttle_reasons == slowdown
    assert state.sm_clock_mhz == 990
    gpu.override_temperature(None)
    assert gpu.state().throttle_reasons == 0


def test_a_forced_throttle_reason_is_shown_until_it_is_taken_back(host: VirtualHost) -> None:
    gpu = host.gpus[0]
    gpu.force_throttle(pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown)
    assert gpu.state().throttle_reasons & pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
    gpu.force_throttle(0)
    assert gpu.state().throttle_reasons == pynvml.nvmlClocksEventReasonGpuIdle


def test_a_lost_gpu_answers_no_call_and_its_neighbours_go_on(host: VirtualHost) -> None:
    device, neighbour = (pynvml.nvmlDeviceGetHandleByIndex(index) for index in (2, 3))
    host.gpus[2].faults.lose()
    for call in (pynvml.nvmlDeviceGetPowerUsage, pynvml.nvmlDeviceGetName, pynvml.nvmlDeviceGetUUID):
        with pytest.raises(pynvml.NVMLError_GpuIsLost):
            call(device)
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlDeviceGetHandleByIndex(2)
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlDeviceGetP2PStatus(neighbour, device, pynvml.NVML_P2P_CAPS_INDEX_NVLINK)
    assert pynvml.nvmlDeviceGetPowerUsage(neighbour) > 0
    host.gpus[2].reset()
    assert pynvml.nvmlDeviceGetPowerUsage(device) > 0


def test_one_function_can_fail_a_number_of_times(host: VirtualHost) -> None:
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    host.gpus[0].faults.fail("nvmlDeviceGetPowerUsage", pynvml.NVML_ERROR_UNKNOWN, times=2)
    for _ in range(2):
        with pytest.raises(pynvml.NVMLError_Unknown):
            pynvml.nvmlDeviceGetPowerUsage(device)
    assert pynvml.nvmlDeviceGetPowerUsage(device) > 0
    assert pynvml.nvmlDeviceGetName(device)


def test_a_fault_that_could_never_strike_is_refused(host: VirtualHost) -> None:
    with pytest.raises(ValueError, match="no GPU call 'nvmlDeviceGetPower'"):
        host.gpus[0].faults.fail("nvmlDeviceGetPower", pynvml.NVML_ERROR_UNKNOWN)


def test_a_hung_call_blocks_until_it_is_released(host: VirtualHost) -> None:
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    host.gpus[0].faults.hang("nvmlDeviceGetTemperature", 60)
    read: list[int] = []
    thread = threading.Thread(
        target=lambda: read.append(pynvml.nvmlDeviceGetTemperature(device, pynvml.NVML_TEMPERATURE_GPU))
    )
    thread.start()
    assert pynvml.nvmlDeviceGetPowerUsage(device) > 0
    assert not read
    host.gpus[0].faults.release()
    thread.join(timeout=60)
    assert len(read) == 1


def test_identities_survive_a_restart_and_differ_between_hosts_and_seeds() -> None:
    def uuids(spec: str, identity: str) -> list[str]:
        with virtual_gpus(spec, host_identity=identity) as host:
            return [gpu.uuid for gpu in host.gpus]

    first = uuids("8xH100", "host-a")
    assert uuids("8xH100", "host-a") == first
    others = {*uuids("8xH100", "host-b"), *uuids("8xH100:seed=7", "host-a")}
    assert len({*first, *others}) == 24
