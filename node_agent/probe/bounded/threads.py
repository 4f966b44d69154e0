"""Blocking calls with a deadline: at the deadline nobody waits any more, and the thread is left to its fate."""

import asyncio
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from node_agent.clock import Clock

_Result = TypeVar("_Result")

MAXIMUM_THREADS: Final = 16
"""Calls under way at once, the stuck ones among them. A stuck thread costs about 50 KiB and no processor time."""


class Stuck(Exception):
    """The call did not return within its deadline, or one before it under the same key has not returned yet.

    `seconds` is how long it has been stuck, `again` whether an earlier call is the one that is stuck.
    """

    def __init__(self, seconds: float, *, again: bool) -> None:
        self.seconds = seconds
        self.again = again
        super().__init__(f"no answer for {seconds:.0f} s")


class NoThread(Exception):
    """All threads are taken, most likely by calls that are stuck."""


class DeadlineThreads:
    """Runs blocking calls in threads of their own.

    The threads are daemon threads: one that hangs in the kernel for ever must not keep the process. A key has at most
    one thread, so that what hangs once does not eat all of them. For use from one event loop.
    """

    def __init__(self, clock: Clock, *, maximum: int = MAXIMUM_THREADS) -> None:
        self._clock = clock
        self._maximum = maximum
        self._since: dict[str, float] = {}

    @property
    def taken(self) -> int:
        """How many calls are under way or stuck now."""
        return len(self._since)

    async def call(self, key: str, function: Callable[[], _Result], deadline_seconds: float) -> _Result:
        """Return what `function` returns, or raise what it raises.

        Raises:
            Stuck: there was no answer within the deadline.
            NoThread: too many calls are stuck.
        """
        now = self._clock.monotonic()
        if key in self._since:
            raise Stuck(now - self._since[key], again=True)
        if len(self._since) >= self._maximum:
            raise NoThread(f"all {self._maximum} threads for calls that may hang are taken")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Result] = loop.create_future()
        self._since[key] = now

        def settle(result: _Result | None, error: Exception | None) -> None:
            self._since.pop(key, None)
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type] # without an error there is a result

        def work() -> None:
            result: _Result | None = None
            error: Exception | None = None
            try:
                result = function()
            except Exception as raised:  # noqa: BLE001 - raised again for whoever waits
                error = raised
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:  # the loop has been closed meanwhile: nobody waits any more
                return

        threading.Thread(target=work, name=f"bounded {key}", daemon=True).start()
        done, _ = await asyncio.wait({future}, timeout=deadline_seconds)
        if not done:
            future.cancel()
            raise Stuck(deadline_seconds, again=False)
        return future.result()
