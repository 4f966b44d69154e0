import socket
from pathlib import Path
from typing import Any

import pynvml
import pytest

from node_agent.probe.gpu_inventory import read_inventory
from node_agent.probe.inventory import NvmlInventory, host_inventory
from node_agent.probe.nvml import Nvml, NvmlUnavailable
from node_agent.virtual import VirtualHost, virtual_gpus


def inventory_of(spec: str) -> NvmlInventory:
    with virtual_gpus(spec, host_identity="inventory"):
        return opened_inventory()


def opened_inventory() -> NvmlInventory:
    nvml = Nvml()
    nvml.open()
    try:
        return read_inventory(nvml, virtual=True)
    finally:
        nvml.close()


def test_a_hopper_board_is_described_in_full() -> None:
    inventory = inventory_of("8xH100")
    assert inventory.virtual
    assert inventory.nvml_error is None
    assert (inventory.driver_version, inventory.cuda_driver_version) == ("580.95.05", "13.0")
    assert inventory.nvml_version == "13.580.95.05"
    gpu = inventory.gpus[5]
    assert (gpu.index, gpu.minor_number, gpu.model, gpu.name) == (5, 5, "H100", "NVIDIA H100 80GB HBM3")
    assert gpu.uuid.startswith("GPU-")
    assert (gpu.memory_bytes, gpu.power_limit_watts) == (81559 * 1024**2, 700.0)
    assert (gpu.pci_bus_id, gpu.numa_node, gpu.compute_capability) == ("00000000:C3:00.0", 1, (9, 0))
    assert gpu.serial is not None
    assert gpu.nvlink_count == 18
    assert gpu.nvlink_peers == tuple(other.uuid for other in inventory.gpus if other is not gpu)
    assert (gpu.mig_enabled, gpu.mig_devices, gpu.error) == (False, (), None)


def test_pcie_cards_have_no_peers_and_no_mig() -> None:
    inventory = inventory_of("2xH100+2xL4+1xT4")
    assert [gpu.model for gpu in inventory.gpus] == ["H100", "H100", "L4", "L4", "T4"]
    assert [len(gpu.nvlink_peers) for gpu in inventory.gpus] == [1, 1, 0, 0, 0]
    assert [gpu.nvlink_count for gpu in inventory.gpus] == [18, 18, 0, 0, 0]
    assert [gpu.mig_enabled for gpu in inventory.gpus] == [False, False, None, None, None]
    assert all(gpu.error is None for gpu in inventory.gpus)


def test_direct_links_give_only_the_neighbours_as_peers() -> None:
    gpus = inventory_of("8xV100").gpus
    assert gpus[0].nvlink_peers == tuple(gpus[index].uuid for index in (1, 2, 3, 4))
    assert gpus[0].nvlink_count == 6


def test_a_gpu_whose_links_are_down_is_nobodys_peer() -> None:
    with virtual_gpus("4xA100") as host:
        for link in host.gpus[1].links:
            link.active = False
        gpus = opened_inventory().gpus
    assert (gpus[1].nvlink_count, gpus[1].nvlink_peers) == (0, ())
    assert gpus[0].nvlink_peers == (gpus[2].uuid, gpus[3].uuid)


def test_mig_devices_are_listed_with_profile_and_memory() -> None:
    with virtual_gpus("1xA100") as host:
        host.gpus[0].partition(("1g.10gb", "3g.40gb"))
        gpu = opened_inventory().gpus[0]
    assert gpu.mig_enabled is True
    assert [device.profile for device in gpu.mig_devices] == ["1g.10gb", "3g.40gb"]
    assert [device.gpu_instance_id for device in gpu.mig_devices] == [1, 2]
    assert all(device.uuid.startswith("MIG-") and device.compute_instance_id == 0 for device in gpu.mig_devices)
    assert gpu.mig_devices[0].memory_bytes is not None
    assert gpu.error is None


def test_a_gpu_that_was_lost_before_the_start_is_listed_with_the_reason() -> None:
    with virtual_gpus("2xH100") as host:
        host.gpus[1].faults.lose()
        first, second = opened_inventory().gpus
    assert first.error is None
    assert (second.index, second.uuid, second.model, second.name) == (1, "", "GPU", None)
    assert second.error == "GPU_IS_LOST"
    assert len(second.failures) == 1


def test_one_broken_value_costs_only_itself() -> None:
    with virtual_gpus("1xH100") as host:
        host.gpus[0].faults.fail("nvmlDeviceGetSerial", pynvml.NVML_ERROR_CORRUPTED_INFOROM)
        gpu = opened_inventory().gpus[0]
    assert (gpu.serial, gpu.model) == (None, "H100")
    assert [(failure.function, failure.error) for failure in gpu.failures] == [
        ("nvmlDeviceGetSerial", "CORRUPTED_INFOROM")
    ]


def answers_garbage(buffer: Any) -> int:
    buffer.value = b"\xff\xfe"
    return 0


def test_a_name_that_is_not_text_is_a_failure_and_no_crash() -> None:
    with virtual_gpus("1xH100"):
        pynvml.nvmlLib.nvmlDeviceGetName = lambda _handle, buffer, _length: answers_garbage(buffer)
        gpu = opened_inventory().gpus[0]
    assert (gpu.name, gpu.model, gpu.error) == (None, "GPU", "UNREADABLE")
    assert gpu.serial is not None


def test_what_an_old_driver_lacks_is_absent_and_no_failure() -> None:
    missing = ["nvmlDeviceGetMemoryAffinity", "nvmlDeviceGetP2PStatus", "nvmlDeviceGetMigMode"]
    with virtual_gpus("2xA100", absent_symbols=missing):
        gpu = opened_inventory().gpus[0]
    assert (gpu.numa_node, gpu.nvlink_peers, gpu.mig_enabled, gpu.error) == (None, (), None, None)


def test_a_host_without_a_driver_still_has_an_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_library)
    nvml = Nvml()
    with pytest.raises(NvmlUnavailable, match="install the NVIDIA driver") as caught:
        nvml.open()
    inventory = host_inventory(read_inventory(nvml, virtual=False, nvml_error=caught.value.error))
    assert (inventory.gpus, inventory.nvml_error) == ((), "LIBRARY_NOT_FOUND")
    assert (inventory.driver_version, inventory.virtual) == (None, False)
    assert inventory.cpu_count >= 1


def test_host_facts_come_from_the_files_below_the_root(tmp_path: Path) -> None:
    for path, text in {
        "etc/machine-id": "abc123\n",
        "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 24.04.1 LTS"\n',
        "proc/sys/kernel/random/boot_id": "b00t\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8480C\n",
        "proc/meminfo": "MemTotal:       2113400000 kB\nHugePages_Total:       0\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    inventory = host_inventory(read_inventory(Nvml(), virtual=False), root=tmp_path)
    assert (inventory.machine_id, inventory.boot_id, inventory.os) == ("abc123", "b00t", "Ubuntu 24.04.1 LTS")
    assert inventory.cpu_model == "Intel(R) Xeon(R) Platinum 8480C"
    assert inventory.memory_bytes == 2113400000 * 1024
    assert inventory.hostname == socket.gethostname()


def test_missing_host_files_give_no_values_and_no_error(tmp_path: Path) -> None:
    inventory = host_inventory(read_inventory(Nvml(), virtual=False), root=tmp_path)
    assert (inventory.machine_id, inventory.boot_id, inventory.os) == (None, None, None)
    assert (inventory.memory_bytes, inventory.nvml_error) == (None, "UNINITIALIZED")


def test_closing_lets_go_of_the_driver_and_opening_again_finds_the_same_gpus() -> None:
    with virtual_gpus("2xH100") as host:
        nvml = Nvml()
        nvml.open()
        library = pynvml.nvmlLib
        nvml.close()
        nvml.close()
        assert not library.open
        host.gpus[0].faults.lose()
        nvml.open()
        assert [slot.uuid for slot in nvml.slots()] == uuids(host)
        nvml.close()


def uuids(host: VirtualHost) -> list[str]:
    return [gpu.uuid for gpu in host.gpus]
