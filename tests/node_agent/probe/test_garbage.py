"""A probe whose memory a driver has written over may say anything: the daemon must survive all of it."""

import json
import mmap
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.probe.child_process import ProbeProcess, VirtualGpuSettings, attach
from node_agent.probe.client import Spawn
from node_agent.probe.deadlines import Deadlines
from node_agent.probe.doing import MEMORY_BYTES, Doing, DoingReader, ProbeThread, make_memory
from node_agent.probe.errors import ProbeAway
from node_agent.probe.frames import MAXIMUM_FRAME_BYTES, BadFrame, Frames, encode
from node_agent.probe.inventory import NvmlInventory
from node_agent.probe.nvml import Nvml
from node_agent.probe.samples import GpuSample, NvlinkSample, NvmlReading
from node_agent.probe.telemetry import Telemetry
from node_agent.probe.wire import BadValue, plain, rebuild
from node_agent.virtual import GpuLoad, LoadTable, virtual_gpus
from tests.node_agent.probe.probes import probing, until

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)

# Writes each piece as soon as the one before was answered by a request, then waits to be killed.
PROGRAM = """
import ast, os, sys
link = int(sys.argv[1])
for piece in ast.literal_eval(sys.stdin.read()):
    os.write(link, piece)
    if not os.read(link, 65536):
        break
"""


def saying(*pieces: bytes) -> Spawn:
    """Start a process that says these pieces instead of being a probe."""

    async def spawn(
        virtual: VirtualGpuSettings | None, on_event: Callable[[str, Any], None], on_end: Callable[[], None]
    ) -> ProbeProcess:
        del virtual
        ours, theirs = socket.socketpair()
        memory = make_memory()
        arguments = [sys.executable, "-c", PROGRAM, str(theirs.fileno())]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, pass_fds=(theirs.fileno(),))  # noqa: ASYNC220 - as the real one
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(repr(pieces).encode())
        probe = ProbeProcess(process, DoingReader(memory), on_event, on_end)
        theirs.close()
        await attach(probe, ours)
        return probe

    return spawn


READY = encode([0, "ready", 1])
HASTY = Deadlines(sample=1.0, inventory=1.0, control=1.0, start=60.0, first_pause=0.01, longest_pause=0.01)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"\xff" * 64,),
        (struct.pack("<I", 5) + b"hello",),
        (encode("not a list"),),
        (encode([1, 2, 3]),),
        (encode([0, "ready"]),),
        (struct.pack("<I", 200_000) + b"[" * 200_000,),
        (READY, encode([1, "ok", None])),
        (READY, encode([1, "ok", [None, None, None, None, True, [[1, 2]]]])),
        (READY, encode([1, "failed", "no"])),
        (READY, encode([1, "odd word", {"a": 1}])),
        (READY, encode([0, "bad_spec", 1]) + b"\0"),
    ],
    ids=lambda pieces: repr(pieces)[:40],
)
async def test_a_probe_that_sends_garbage_is_replaced(pieces: Sequence[bytes]) -> None:
    async with probing(spec="", deadlines=HASTY, spawn=saying(*pieces)) as probe:
        await until(lambda: probe.client.stats.starts >= 3)
        with pytest.raises(ProbeAway):
            await probe.client.read()
        assert probe.client.stats.deaths + probe.client.stats.stalls >= 2


async def test_events_that_make_no_sense_are_ignored() -> None:
    told: list[tuple[str, object]] = [
        ("xid", None),
        ("xid", [1]),
        ("xid", ["79", "GPU-1", "", None]),
        ("xid", [-1, "GPU-1", "", None]),
        ("xid", [2**70, "GPU-1", "", None]),
        ("xid", [79, 5, "", None]),
        ("nonsense", [1]),
        ("ready", 2),
        ("xid", [79, "GPU-1", "0000:1b:00.0", "7"]),
    ]
    events = b"".join(encode([0, word, value]) for word, value in told)
    empty = encode([1, "ok", [None, None, None, "LIBRARY_NOT_FOUND", False, []]])
    async with probing(spec="", spawn=saying(READY, empty + events)) as probe:
        await until(lambda: bool(probe.observed))
        assert len(probe.observed) == 1


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_frames_of_garbage_are_refused_or_waited_for(pieces: list[bytes]) -> None:
    frames = Frames()
    try:
        for piece in pieces:
            list(frames.feed(piece))
    except BadFrame:
        return
    assert len(frames._buffer) <= sum(map(len, pieces))


@given(st.lists(json_values, max_size=4), st.integers(1, 7))
def test_frames_arrive_whole_however_they_are_cut(values: list[object], size: int) -> None:
    data = b"".join(map(encode, values))
    frames = Frames()
    found = [value for start in range(0, len(data), size) for value in frames.feed(data[start : start + size])]
    assert repr(found) == repr(json.loads(json.dumps(values)))


def test_half_a_character_is_refused_for_no_message_could_hold_it_and_a_whole_one_is_not() -> None:
    half, whole = (b'[0,"xid",[48,"","%s",null]]' % text for text in (b"\\uD800", b"\\ud83d\\ude00"))
    assert list(Frames().feed(struct.pack("<I", len(whole)) + whole)) == [[0, "xid", [48, "", "\U0001f600", None]]]
    with pytest.raises(BadFrame):
        list(Frames().feed(struct.pack("<I", len(half)) + half))


def test_a_frame_that_is_too_long_is_neither_sent_nor_waited_for() -> None:
    with pytest.raises(BadFrame, match="longer"):
        encode("x" * MAXIMUM_FRAME_BYTES)
    with pytest.raises(BadFrame, match="announced"):
        list(Frames().feed(struct.pack("<I", MAXIMUM_FRAME_BYTES + 1)))


@given(json_values)
def test_a_value_of_the_wrong_form_is_refused(value: object) -> None:
    for kind in (NvmlReading, NvmlInventory, GpuSample):
        with pytest.raises(BadValue):
            rebuild(kind, value)


def full_reading() -> NvmlReading:
    load = LoadTable()
    with virtual_gpus("2xH100+1xB200+1xT4+1xV100", load=load) as host:
        load.put(host.gpus[0].uuid, GpuLoad(90, 2**33, (1, 2, 3)))
        host.gpus[1].faults.lose()
        host.gpus[2].partition(("7g.179gb",))
        nvml = Nvml()
        nvml.open()
        telemetry = Telemetry(nvml, clock=TickingClock())
        telemetry.read()
        return telemetry.read(fresh=True)


class TickingClock:
    """A clock that goes on by a second each time it is asked."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def now(self) -> Any:
        raise NotImplementedError

    def monotonic(self) -> float:
        self._seconds += 1.0
        return self._seconds


def test_a_reading_survives_the_way_through_json() -> None:
    reading = full_reading()
    assert rebuild(NvmlReading, json.loads(json.dumps(plain(reading)))) == reading
    assert reading.gpus[0].gpm is not None


def test_text_of_a_driver_becomes_printable_and_is_bounded() -> None:
    gpu = plain(full_reading().gpus[0])
    gpu[1] = "GPU-\x1b[2J"
    assert rebuild(GpuSample, gpu).uuid == "GPU-?[2J"
    gpu[1] = "x" * 501
    with pytest.raises(BadValue, match="at most 500"):
        rebuild(GpuSample, gpu)


@given(st.data())
def test_one_wrong_value_anywhere_is_refused_or_means_itself(data: st.DataObject) -> None:
    value = plain(READING)
    place = data.draw(st.integers(0, len(value[2][0]) - 1))
    value[2][0][place] = data.draw(json_values)
    try:
        rebuild(NvmlReading, value)
    except BadValue:
        return
    assert len(value[2][0]) == len(plain(READING.gpus[0]))


def test_what_did_not_change_is_the_same_object_and_what_did_is_read() -> None:
    before = rebuild(NvmlReading, plain(READING))
    changed = replace(READING.gpus[1], power_watts=1.5, nvlinks=(NvlinkSample(0, active=False),))
    gpus = (READING.gpus[0], changed, *READING.gpus[2:], READING.gpus[0])
    after = rebuild(NvmlReading, json.loads(json.dumps(plain(replace(READING, gpus=gpus)))))
    assert after.gpus == gpus
    assert after.gpus[0] is before.gpus[0]
    assert after.gpus[1].ecc is before.gpus[1].ecc
    assert rebuild(NvmlReading, plain(READING)) == READING


@given(st.data())
def test_one_wrong_value_after_a_good_reading_is_refused_or_means_itself(data: st.DataObject) -> None:
    assert rebuild(NvmlReading, plain(READING)) == READING
    value = plain(READING)
    gpu = value[2][data.draw(st.integers(0, len(value[2]) - 1))]
    gpu[data.draw(st.integers(0, len(gpu) - 1))] = wrong = data.draw(json_values)
    try:
        found = rebuild(NvmlReading, value)
    except BadValue:
        assert rebuild(NvmlReading, plain(READING)) == READING
        return
    assert plain(found) == value or type(wrong) is str
    with pytest.raises(BadValue):
        rebuild(NvmlReading, [*value[:2], [*value[2], gpu[:-1]]])


READING = full_reading()


def test_what_a_hung_thread_does_is_read_from_shared_memory_and_printable() -> None:
    descriptor = make_memory()
    memory = mmap.mmap(descriptor, MEMORY_BYTES)
    reader = DoingReader(descriptor)
    os.close(descriptor)
    doing, events = Doing(memory, ProbeThread.READING), Doing(memory, ProbeThread.EVENTS)
    doing.begin("nvmlDeviceGetSerial", "GPU-1")
    events.begin("nvmlEventSetWait_v2")
    assert str(reader) == "nvmlDeviceGetSerial of GPU-1"
    assert reader.of(ProbeThread.EVENTS) == "nvmlEventSetWait_v2"
    doing.begin("nvmlInit")
    assert str(reader) == "nvmlInit"
    doing.begin("n" * 500, "G" * 500)
    assert len(str(reader)) == MEMORY_BYTES // 2
    doing.end()
    assert str(reader) == ""
    memory[:MEMORY_BYTES] = bytes([1, 255]) * (MEMORY_BYTES // 2)
    assert str(reader).isprintable()
    reader.close()
    memory.close()
