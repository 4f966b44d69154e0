"""pynvml's own functions and error translation on the virtual library."""

from collections.abc import Callable
from ctypes import c_uint

import pynvml
import pytest

from node_agent.virtual import GpuLoad, LoadTable, VirtualHost, virtual_gpus

GIBIBYTE = 1024**3


def handle(index: int = 0) -> pynvml.c_nvmlDevice_t:
    return pynvml.nvmlDeviceGetHandleByIndex(index)


def test_identity_of_a_gpu(host: VirtualHost) -> None:
    gpu = host.gpus[3]
    device = handle(3)
    assert pynvml.nvmlDeviceGetCount() == 8
    assert pynvml.nvmlDeviceGetName(device) == "NVIDIA H100 80GB HBM3"
    assert pynvml.nvmlDeviceGetUUID(device) == gpu.uuid
    assert pynvml.nvmlDeviceGetSerial(device) == gpu.identity.serial
    assert pynvml.nvmlDeviceGetMinorNumber(device) == pynvml.nvmlDeviceGetIndex(device) == 3
    assert pynvml.nvmlDeviceGetCudaComputeCapability(device) == (9, 0)
    assert pynvml.nvmlDeviceGetArchitecture(device) == pynvml.NVML_DEVICE_ARCH_HOPPER
    pci = pynvml.nvmlDeviceGetPciInfo(device)
    assert pci.busId == "00000000:61:00.0"
    assert (pci.bus, pci.pciDeviceId) == (0x61, 0x233010DE)


def test_a_gpu_is_found_by_uuid_by_pci_address_and_by_index_alike(host: VirtualHost) -> None:
    uuid = host.gpus[5].uuid
    by_uuid = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    by_pci = pynvml.nvmlDeviceGetHandleByPciBusId("0000:C3:00.0")
    assert pynvml.nvmlDeviceGetUUID(by_uuid) == pynvml.nvmlDeviceGetUUID(by_pci) == uuid
    assert pynvml.nvmlDeviceGetUUID(handle(5)) == uuid


def test_driver_versions(host: VirtualHost) -> None:
    assert pynvml.nvmlSystemGetDriverVersion() == "580.95.05"
    assert pynvml.nvmlSystemGetNVMLVersion() == "13.580.95.05"
    assert pynvml.nvmlSystemGetCudaDriverVersion() == pynvml.nvmlSystemGetCudaDriverVersion_v2() == 13000


@pytest.mark.parametrize("index", [8, 99, 0xFFFFFFFF])
def test_an_index_out_of_range_is_an_invalid_argument(host: VirtualHost, index: int) -> None:
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetHandleByIndex(index)


def test_unknown_uuids_and_addresses_are_not_found(host: VirtualHost) -> None:
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetHandleByUUID("GPU-00000000-0000-0000-0000-000000000000")
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetHandleByPciBusId("0000:FF:00.0")


def test_a_handle_that_was_never_given_is_an_invalid_argument(host: VirtualHost) -> None:
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetName(pynvml.c_nvmlDevice_t())
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetName(None)


def test_a_function_that_the_library_lacks_is_not_found(host: VirtualHost) -> None:
    with pytest.raises(pynvml.NVMLError_FunctionNotFound):
        pynvml.nvmlDeviceGetBridgeChipInfo(handle())


def test_an_old_driver_lacks_the_functions_that_it_is_told_to_lack() -> None:
    with virtual_gpus("1xH100", absent_symbols=["nvmlDeviceGetCurrentClocksEventReasons"]):
        pynvml.nvmlInit()
        with pytest.raises(pynvml.NVMLError_FunctionNotFound):
            pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle())
        assert pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle()) == 1


def test_what_a_model_does_not_have_is_not_supported() -> None:
    with virtual_gpus("1xT4"):
        pynvml.nvmlInit()
        for call in (
            pynvml.nvmlDeviceGetMigMode,
            pynvml.nvmlDeviceGetRemappedRows,
            pynvml.nvmlDeviceGetFanSpeed,
        ):
            with pytest.raises(pynvml.NVMLError_NotSupported):
                call(handle())
        with pytest.raises(pynvml.NVMLError_NotSupported):
            pynvml.nvmlDeviceGetNvLinkState(handle(), 0)


def test_every_call_before_init_and_after_shutdown_is_uninitialized() -> None:
    with virtual_gpus("1xH100"):
        with pytest.raises(pynvml.NVMLError_Uninitialized):
            pynvml.nvmlDeviceGetCount()
        pynvml.nvmlInit()
        pynvml.nvmlInit()
        device = handle()
        pynvml.nvmlShutdown()
        assert pynvml.nvmlDeviceGetIndex(device) == 0
        pynvml.nvmlShutdown()
        with pytest.raises(pynvml.NVMLError_Uninitialized):
            pynvml.nvmlDeviceGetIndex(device)
        with pytest.raises(pynvml.NVMLError_Uninitialized):
            pynvml.nvmlShutdown()


def test_error_texts_come_from_the_library(host: VirtualHost) -> None:
    assert pynvml.nvmlErrorString(pynvml.NVML_ERROR_IN_USE) == "In use"
    assert str(pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)) == "GPU is lost"


def test_memory_in_both_structure_versions(host: VirtualHost, load: LoadTable) -> None:
    load.put(host.gpus[0].uuid, GpuLoad(50, 10 * GIBIBYTE))
    first = pynvml.nvmlDeviceGetMemoryInfo(handle())
    second = pynvml.nvmlDeviceGetMemoryInfo(handle(), version=pynvml.nvmlMemory_v2)
    assert first.total == second.total == 81559 * 1024**2
    assert second.used == 10 * GIBIBYTE
    assert first.used == second.used + second.reserved
    assert first.free == second.free == first.total - first.used


def test_a_structure_of_an_unknown_version_is_refused(host: VirtualHost) -> None:
    with pytest.raises(pynvml.NVMLError_ArgumentVersionMismatch):
        pynvml.nvmlDeviceGetMemoryInfo(handle(), version=0x03000030)


def test_memory_in_use_never_exceeds_the_gpu(host: VirtualHost, load: LoadTable) -> None:
    load.put(host.gpus[0].uuid, GpuLoad(100, 10**15))
    info = pynvml.nvmlDeviceGetMemoryInfo(handle())
    assert (info.used, info.free) == (info.total, 0)


def test_processes_share_the_memory_of_the_load(host: VirtualHost, load: LoadTable) -> None:
    assert pynvml.nvmlDeviceGetComputeRunningProcesses(handle()) == []
    load.put(host.gpus[0].uuid, GpuLoad(90, 8 * GIBIBYTE, tuple(range(100, 140))))
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle())
    assert [process.pid for process in processes] == list(range(100, 140))
    assert {process.usedGpuMemory for process in processes} == {8 * GIBIBYTE // 40}


def test_field_values_carry_a_status_each(host: VirtualHost) -> None:
    host.gpus[0].pcie_replays = 5
    replay, memory_temperature, retired, unknown = pynvml.nvmlDeviceGetFieldValues(
        handle(),
        [
            pynvml.NVML_FI_DEV_PCIE_REPLAY_COUNTER,
            (pynvml.NVML_FI_DEV_MEMORY_TEMP, 0),
            pynvml.NVML_FI_DEV_RETIRED_SBE,
            9999,
        ],
    )
    assert (replay.nvmlReturn, replay.value.ullVal) == (pynvml.NVML_SUCCESS, 5)
    assert memory_temperature.value.uiVal > 25
    assert retired.nvmlReturn == unknown.nvmlReturn == pynvml.NVML_ERROR_NOT_SUPPORTED


def test_temperature_thresholds_and_the_versioned_temperature(host: VirtualHost) -> None:
    slowdown = pynvml.nvmlDeviceGetTemperatureThreshold(handle(), pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)
    shutdown = pynvml.nvmlDeviceGetTemperatureThreshold(handle(), pynvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN)
    assert (slowdown, shutdown) == (87, 92)
    plain = pynvml.nvmlDeviceGetTemperature(handle(), pynvml.NVML_TEMPERATURE_GPU)
    assert pynvml.nvmlDeviceGetTemperatureV(handle(), pynvml.NVML_TEMPERATURE_GPU) == plain
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetTemperature(handle(), 7)


def test_ecc_errors_are_counted_by_location_and_forgotten_by_a_reset(host: VirtualHost) -> None:
    gpu = host.gpus[0]
    gpu.record_memory_errors(corrected=3)
    gpu.record_memory_errors(corrected=2, uncorrected=1, location=pynvml.NVML_MEMORY_LOCATION_SRAM)
    corrected, uncorrected = pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    volatile, aggregate = pynvml.NVML_VOLATILE_ECC, pynvml.NVML_AGGREGATE_ECC
    assert pynvml.nvmlDeviceGetEccMode(handle()) == [1, 1]
    assert pynvml.nvmlDeviceGetTotalEccErrors(handle(), corrected, volatile) == 5
    assert pynvml.nvmlDeviceGetTotalEccErrors(handle(), uncorrected, volatile) == 1
    in_sram = pynvml.nvmlDeviceGetMemoryErrorCounter(handle(), corrected, aggregate, pynvml.NVML_MEMORY_LOCATION_SRAM)
    assert in_sram == 2
    gpu.reset()
    assert pynvml.nvmlDeviceGetTotalEccErrors(handle(), corrected, volatile) == 0
    assert pynvml.nvmlDeviceGetTotalEccErrors(handle(), corrected, aggregate) == 5
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetTotalEccErrors(handle(), corrected, 9)


def test_remapped_rows_on_a_new_model_and_retired_pages_on_an_old_one() -> None:
    with virtual_gpus("1xH100+1xV100") as host:
        pynvml.nvmlInit()
        for gpu in host.gpus:
            gpu.repairs.correctable, gpu.repairs.uncorrectable, gpu.repairs.pending = 2, 1, True
        assert pynvml.nvmlDeviceGetRemappedRows(handle(0)) == (2, 1, 1, 0)
        double_bit = pynvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR
        assert len(pynvml.nvmlDeviceGetRetiredPages(handle(1), double_bit)) == 1
        assert pynvml.nvmlDeviceGetRetiredPagesPendingStatus(handle(1)) == 1
        with pytest.raises(pynvml.NVMLError_NotSupported):
            pynvml.nvmlDeviceGetRetiredPages(handle(0), double_bit)


def test_nvlinks_lead_to_switches_on_a_hopper_board(host: VirtualHost) -> None:
    host.gpus[0].links[4].active = False
    states = [pynvml.nvmlDeviceGetNvLinkState(handle(), link) for link in range(18)]
    assert states.count(1) == 17
    assert states[4] == 0
    assert pynvml.nvmlDeviceGetNvLinkVersion(handle(), 0) == 4
    kind = pynvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle(), 0)
    assert kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetNvLinkState(handle(), 18)


def test_v100_links_form_the_cube_mesh_of_a_dgx1() -> None:
    with virtual_gpus("8xV100") as host:
        pynvml.nvmlInit()
        assert all(len(gpu.links) == 6 for gpu in host.gpus)
        reached = {
            second
            for second in range(1, 8)
            if pynvml.nvmlDeviceGetP2PStatus(handle(0), handle(second), pynvml.NVML_P2P_CAPS_INDEX_NVLINK)
            == pynvml.NVML_P2P_STATUS_OK
        }
        assert reached == {1, 2, 3, 4}


def test_topology_tells_numa_nodes_apart(host: VirtualHost) -> None:
    assert pynvml.nvmlDeviceGetTopologyCommonAncestor(handle(0), handle(3)) == pynvml.NVML_TOPOLOGY_NODE
    assert pynvml.nvmlDeviceGetTopologyCommonAncestor(handle(0), handle(4)) == pynvml.NVML_TOPOLOGY_SYSTEM
    assert list(pynvml.nvmlDeviceGetMemoryAffinity(handle(7), 2, 0)) == [2, 0]


def test_mig_devices_have_their_own_handles(host: VirtualHost) -> None:
    gpu = host.gpus[0]
    assert pynvml.nvmlDeviceGetMigMode(handle()) == [0, 0]
    gpu.partition(("3g.40gb", "4g.40gb"))
    assert pynvml.nvmlDeviceGetMigMode(handle()) == [1, 1]
    mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle(), 1)
    assert pynvml.nvmlDeviceGetName(mig) == "NVIDIA H100 80GB HBM3 MIG 4g.40gb"
    assert pynvml.nvmlDeviceIsMigDeviceHandle(mig).value == 1
    uuid = pynvml.nvmlDeviceGetUUID(mig)
    assert uuid.startswith("MIG-")
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByUUID(uuid)) == uuid
    parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig)
    assert pynvml.nvmlDeviceGetUUID(parent) == gpu.uuid
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle(), 2)
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetPowerUsage(mig)
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetUtilizationRates(handle())


def test_mig_profiles_that_do_not_fit_are_refused(host: VirtualHost) -> None:
    for profiles in (("4g.40gb", "4g.40gb"), ("7g.141gb",), ("1g10gb",)):
        with pytest.raises(ValueError, match=r"fit|no MIG profile"):
            host.gpus[0].partition(profiles)
    assert host.gpus[0].mig is None


def test_a_name_that_does_not_fit_its_buffer_is_refused(host: VirtualHost) -> None:
    function = pynvml._nvmlGetFunctionPointer("nvmlDeviceGetName")
    buffer = pynvml.create_string_buffer(8)
    assert function(handle(), buffer, c_uint(8)) == pynvml.NVML_ERROR_INSUFFICIENT_SIZE


def test_energy_is_power_over_time(host: VirtualHost, load: LoadTable, advance: Callable[[float], None]) -> None:
    load.put(host.gpus[0].uuid, GpuLoad(100))
    before = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle())
    watts = pynvml.nvmlDeviceGetPowerUsage(handle()) / 1000
    advance(60)
    joules = (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle()) - before) / 1000
    assert joules == pytest.approx(watts * 60)
