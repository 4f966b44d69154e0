"""The garbage collector looks through what is new, and leaves alone what has come to stay."""

import asyncio
import gc
import platform
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest

from control_plane.clock import SystemClock
from control_plane.heap import SETTLED_MAX, STORM_YOUNG, Heap


class Thing:
    """Something that can be part of a circle, and that can be seen to go."""

    def __init__(self) -> None:
        self.other: object = None


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # The C library cannot be told to forget it, and every later test of this process would ask the kernel for memory.
    monkeypatch.setattr("control_plane.heap.keep_large_blocks_apart", lambda: True)
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.freeze()


def circle() -> "weakref.ref[Thing]":
    one, other = Thing(), Thing()
    one.other, other.other = other, one
    return weakref.ref(one)


def settled() -> list[list[int]]:
    """Return more objects than are looked through again and again, all of which have survived."""
    many: list[list[int]] = [[] for _ in range(SETTLED_MAX + 1_000)]
    gc.collect()
    return many


def test_a_look_does_no_harm_to_tuples_that_other_threads_are_making() -> None:
    heap, made, failed = Heap(SystemClock()), 0, list[SystemError]()

    def slowly() -> Iterator[int]:
        gc.collect(1)
        gc.collect(1)  # the tuple counts among what has survived
        for number in range(30):
            yield number
            time.sleep(0)

    def make() -> None:
        nonlocal made
        for _ in range(100):
            try:
                made += len(tuple(slowly()))
            except SystemError as error:
                failed.append(error)

    interval = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(1e-6)
    try:
        maker = threading.Thread(target=make)
        maker.start()
        while maker.is_alive():
            heap.look()
        maker.join()
    finally:
        sys.setswitchinterval(interval)
        gc.enable()
    assert not failed
    assert made == 3_000


def test_what_has_settled_is_left_alone_after_its_garbage_was_collected() -> None:
    heap = Heap(SystemClock())
    gc.collect()
    gc.freeze()
    many = settled()
    gc.disable()
    try:
        garbage = circle()
        assert heap.look() > len(many) // 2
        assert garbage() is None
        assert len(gc.get_objects(generation=2)) < SETTLED_MAX
        assert heap.look() == 0, "the same objects are not looked through twice"
    finally:
        gc.enable()


def test_little_is_not_worth_a_look() -> None:
    gc.collect()
    gc.freeze()
    assert Heap(SystemClock()).look() == 0


def test_garbage_among_what_was_left_alone_is_found_by_a_sweep() -> None:
    heap = Heap(SystemClock())
    holders = [Thing() for _ in range(10)]
    for one in holders:
        one.other = one
    known = [weakref.ref(one) for one in holders]
    many = settled()
    heap.look()
    del one, holders
    gc.collect()
    assert all(ref() is not None for ref in known)
    assert heap.sweep() >= len(known)
    assert all(ref() is None for ref in known)
    assert len(many) > SETTLED_MAX


async def test_a_fleet_that_comes_up_is_left_alone_part_by_part() -> None:
    gc.collect()
    gc.freeze()
    before = gc.get_freeze_count()
    running = asyncio.create_task(Heap(SystemClock()).run())
    kept: list[list[int]] = []
    async with asyncio.timeout(30):
        while gc.get_freeze_count() < before + 3 * SETTLED_MAX:  # it counts all that the tests have loaded
            for _ in range(10):
                kept += [[] for _ in range(1_000)]
                await asyncio.sleep(0)
                assert len(gc.get_objects(generation=2)) < 4 * SETTLED_MAX
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_what_a_storm_leaves_behind_is_looked_through_once_when_it_is_over_or_when_it_is_much() -> None:
    gc.collect()
    gc.freeze()
    before, storm = gc.get_freeze_count(), True
    running = asyncio.create_task(Heap(SystemClock(), urgent=lambda: storm).run())
    kept: list[list[int]] = []
    async with asyncio.timeout(30):
        while gc.get_threshold()[0] != STORM_YOUNG:  # the first look at the youngest finds that there is a storm
            kept += [[] for _ in range(1_000)]
            await asyncio.sleep(0)
        garbage = circle()
        kept += [[] for _ in range(STORM_YOUNG // 2)]
        assert garbage() is not None, "half of what makes a look was looked through"
        kept += [[] for _ in range(STORM_YOUNG)]
        assert garbage() is None, "what is much was not looked through"
        assert gc.get_freeze_count() >= before + STORM_YOUNG - 1_000, "what was looked through was not left alone"
        between = gc.get_freeze_count()
        garbage = circle()
        storm = False
        while gc.get_threshold()[0] == STORM_YOUNG:  # noqa: ASYNC110 - the collector has no event for that
            await asyncio.sleep(0.01)
    assert garbage() is None
    assert gc.get_freeze_count() > between
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_what_is_young_is_looked_at_soon_though_as_much_is_freed_as_is_made() -> None:
    gc.collect()
    gc.freeze()
    kept: list[list[int]] = [[] for _ in range(1_000)]
    running = asyncio.create_task(Heap(SystemClock()).run())
    await asyncio.sleep(0)
    garbage = circle()
    async with asyncio.timeout(30):
        while garbage() is not None:
            kept[:] = [[] for _ in kept]  # to the collector's count this is nothing
            await asyncio.sleep(0.01)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_the_collector_is_on_its_own_again_when_the_loop_ends() -> None:
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    running = asyncio.create_task(Heap(SystemClock()).run())
    await asyncio.sleep(0)
    assert gc.get_threshold() != before
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert (gc.get_threshold(), gc.callbacks) == (before, callbacks)


def test_large_blocks_are_kept_apart_where_the_c_library_can_do_that() -> None:
    program = "from control_plane.heap import keep_large_blocks_apart as keep; print(keep())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert (said.strip() == "True") == (platform.libc_ver()[0] == "glibc")
