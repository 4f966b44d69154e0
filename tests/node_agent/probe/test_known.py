"""GPUs that were seen once are not forgotten."""

from dataclasses import replace

from node_agent.clock import SystemClock
from node_agent.probe.gpu_inventory import read_inventory
from node_agent.probe.inventory import NvmlInventory
from node_agent.probe.known import KnownGpus
from node_agent.probe.nvml import Nvml
from node_agent.probe.samples import NvmlReading, ReadFailure, unread
from node_agent.probe.telemetry import Telemetry
from node_agent.virtual import virtual_gpus

LOST = ReadFailure("nvmlDeviceGetHandleByIndex", "GPU_IS_LOST")


def found(spec: str = "3xH100") -> tuple[NvmlInventory, NvmlReading]:
    with virtual_gpus(spec):
        nvml = Nvml()
        nvml.open()
        return read_inventory(nvml, virtual=True), Telemetry(nvml, SystemClock()).read()


def test_a_gpu_that_answers_no_more_keeps_its_name_and_its_place() -> None:
    inventory, reading = found()
    known = KnownGpus()
    assert known.inventory(inventory) == inventory
    assert known.reading(reading) is reading
    first, second, third = inventory.gpus
    nameless = replace(second, uuid="", model="GPU", name=None, memory_bytes=None, serial=None, failures=(LOST,))
    seen = known.inventory(replace(inventory, gpus=(first, nameless, third))).gpus[1]
    assert (seen.uuid, seen.model, seen.serial, seen.pci_bus_id) == (
        second.uuid,
        second.model,
        second.serial,
        second.pci_bus_id,
    )
    assert (seen.error, seen.memory_bytes) == ("GPU_IS_LOST", None)
    samples = known.reading(replace(reading, gpus=(reading.gpus[0], unread(1, "", LOST), reading.gpus[2]))).gpus
    assert [(gpu.uuid, gpu.error) for gpu in samples] == [
        (first.uuid, None),
        (second.uuid, "GPU_IS_LOST"),
        (third.uuid, None),
    ]


def test_a_gpu_that_the_driver_does_not_list_any_more_is_missed_until_it_is_back() -> None:
    inventory, reading = found()
    known = KnownGpus()
    known.inventory(inventory)
    # The driver counts anew after a reload: the third GPU is the second now.
    moved = replace(inventory.gpus[2], index=1)
    gpus = known.inventory(replace(inventory, gpus=(inventory.gpus[0], moved))).gpus
    assert {gpu.uuid: gpu.error for gpu in gpus} == {
        inventory.gpus[0].uuid: None,
        inventory.gpus[1].uuid: "GPU_MISSING",
        inventory.gpus[2].uuid: None,
    }
    samples = known.reading(replace(reading, gpus=(reading.gpus[0], replace(reading.gpus[2], index=1)))).gpus
    assert {gpu.uuid: gpu.error for gpu in samples} == {gpu.uuid: gpu.error for gpu in gpus}
    assert known.inventory(inventory) == inventory
    assert known.reading(reading) is reading


def test_without_a_driver_the_gpus_are_there_with_the_reason() -> None:
    inventory, _ = found()
    known = KnownGpus()
    known.inventory(inventory)
    gpus = known.inventory(replace(inventory, gpus=(), nvml_error="DRIVER_NOT_LOADED")).gpus
    assert [gpu.error for gpu in gpus] == ["DRIVER_NOT_LOADED"] * 3
    away = known.away("PROBE_STALLED")
    assert [(gpu.uuid, gpu.error) for gpu in away.gpus] == [(gpu.uuid, "PROBE_STALLED") for gpu in inventory.gpus]
    assert away.nvml_error == "PROBE_STALLED"


def test_a_host_whose_gpus_were_never_seen_has_none() -> None:
    known = KnownGpus()
    assert known.away("PROBE_STARTING").gpus == ()
    nameless = NvmlReading(0.0, None, (unread(0, "", LOST),))
    assert known.reading(nameless).gpus == nameless.gpus
