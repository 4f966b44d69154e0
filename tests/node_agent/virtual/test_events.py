"""NVML's event sets on the virtual library, through pynvml's own code."""

import threading
from collections.abc import Iterator

import pynvml
import pytest

from node_agent.virtual import VirtualHost, virtual_gpus
from node_agent.virtual.events import MAXIMUM_EVENTS, VirtualEvent

XID = pynvml.nvmlEventTypeXidCriticalError


@pytest.fixture
def host() -> Iterator[VirtualHost]:
    with virtual_gpus("2xH100") as host:
        pynvml.nvmlInit()
        yield host


def watching(*indices: int) -> pynvml.c_nvmlEventSet_t:
    event_set = pynvml.nvmlEventSetCreate()
    for index in indices:
        pynvml.nvmlDeviceRegisterEvents(pynvml.nvmlDeviceGetHandleByIndex(index), XID, event_set)
    return event_set


def test_an_event_carries_its_device_and_its_xid(host: VirtualHost) -> None:
    event_set = watching(0, 1)
    host.events.post(VirtualEvent(host.gpus[1].uuid, XID, 79))
    event = pynvml.nvmlEventSetWait_v2(event_set, 10_000)
    assert (event.eventType, event.eventData, event.gpuInstanceId) == (XID, 79, 0xFFFFFFFF)
    assert pynvml.nvmlDeviceGetUUID(event.device) == host.gpus[1].uuid
    pynvml.nvmlEventSetFree(event_set)


def test_waiting_ends_with_a_timeout_if_nothing_that_was_asked_for_comes(host: VirtualHost) -> None:
    event_set = watching(0)
    host.events.post(VirtualEvent(host.gpus[1].uuid, XID, 79))
    with pytest.raises(pynvml.NVMLError_Timeout):
        pynvml.nvmlEventSetWait_v2(event_set, 1)


def test_whoever_waits_is_woken(host: VirtualHost) -> None:
    event_set = watching(0)
    codes: list[int] = []
    waiter = threading.Thread(target=lambda: codes.append(pynvml.nvmlEventSetWait_v2(event_set, 60_000).eventData))
    waiter.start()
    host.events.post(VirtualEvent(host.gpus[0].uuid, XID, 31))
    waiter.join(60)
    assert codes == [31]


def test_events_that_nobody_fetches_are_bounded(host: VirtualHost) -> None:
    event_set = watching(0)
    for code in range(MAXIMUM_EVENTS + 10):
        host.events.post(VirtualEvent(host.gpus[0].uuid, XID, code))
    assert pynvml.nvmlEventSetWait_v2(event_set, 0).eventData == 10


def test_a_set_that_was_given_back_is_an_invalid_argument(host: VirtualHost) -> None:
    event_set = watching(0)
    pynvml.nvmlEventSetFree(event_set)
    for call in (pynvml.nvmlEventSetFree, lambda one: pynvml.nvmlEventSetWait_v2(one, 0)):
        with pytest.raises(pynvml.NVMLError_InvalidArgument):
            call(event_set)


def test_kinds_of_events_that_virtual_gpus_do_not_have_are_not_supported(host: VirtualHost) -> None:
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    assert pynvml.nvmlDeviceGetSupportedEventTypes(device) == XID
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceRegisterEvents(device, pynvml.nvmlEventTypeClock, pynvml.nvmlEventSetCreate())


def test_a_lost_gpu_cannot_be_watched(host: VirtualHost) -> None:
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    event_set = pynvml.nvmlEventSetCreate()
    host.gpus[0].faults.lose()
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlDeviceRegisterEvents(device, XID, event_set)


def test_events_need_an_open_library(host: VirtualHost) -> None:
    pynvml.nvmlShutdown()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlEventSetCreate()
