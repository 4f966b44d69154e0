import asyncio
import threading

import pytest

from node_agent.probe.bounded.threads import DeadlineThreads, NoThread, Stuck
from tests.node_agent.probe.steps import StepClock, until


async def settled(threads: DeadlineThreads, count: int) -> None:
    await until(lambda: threads.taken == count)


async def test_a_call_gives_what_it_returns_and_raises_what_it_raises() -> None:
    threads = DeadlineThreads(StepClock())
    assert await threads.call("a", lambda: 7, 60) == 7

    def fail() -> int:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        await threads.call("a", fail, 60)
    assert threads.taken == 0


async def test_a_call_that_hangs_is_given_up_and_not_started_again_until_it_returns() -> None:
    clock, release, started = StepClock(), threading.Event(), []
    threads = DeadlineThreads(clock)

    def hang() -> None:
        started.append(1)
        release.wait(60)

    try:
        with pytest.raises(Stuck) as first:
            await threads.call("mount", hang, 0.01)
        clock.seconds += 30
        with pytest.raises(Stuck) as second:
            await threads.call("mount", hang, 0.01)
    finally:
        release.set()
    assert not first.value.again
    assert second.value.again
    assert second.value.seconds == 30
    await settled(threads, 0)
    assert started == [1]
    assert await threads.call("mount", lambda: "answers", 60) == "answers"


async def test_stuck_calls_take_a_bounded_number_of_threads() -> None:
    release = threading.Event()
    threads = DeadlineThreads(StepClock(), maximum=3)
    try:
        for number in range(3):
            with pytest.raises(Stuck):
                await threads.call(str(number), lambda: release.wait(60), 0.01)
        with pytest.raises(NoThread, match="all 3"):
            await threads.call("one more", lambda: True, 60)
    finally:
        release.set()
    await settled(threads, 0)


async def test_a_cancelled_wait_leaves_no_thread_taken_once_the_call_returns() -> None:
    release, begun = threading.Event(), threading.Event()
    threads = DeadlineThreads(StepClock())

    def hang() -> None:
        begun.set()
        release.wait(60)

    task = asyncio.create_task(threads.call("a", hang, 60))
    await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    await settled(threads, 0)
