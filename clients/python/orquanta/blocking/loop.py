"""An event loop on a thread of its own, and the two wrappers that make its calls blocking."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

Noun = TypeVar("Noun")
Params = ParamSpec("Params")
Result = TypeVar("Result")

# A signal that arrives just before a thread begins to wait does not wake it; so it looks up this often.
_WAKE_SECONDS = 0.25


class _Thread:
    """An event loop on a thread of its own, and how many clients use it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.process_id = os.getpid()
        self.users = 0
        self.thread = threading.Thread(target=self._serve, name="orquanta-client", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


class _Shared:
    """The thread that all clients of this process use.

    gRPC has one queue for all event loops of a process: two of them wake each other for nothing, with a traceback each
    time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: _Thread | None = None

    def take(self) -> _Thread:
        """The thread, started if there is none, or none of this process (after a fork)."""
        with self._lock:
            if self._thread is None or self._thread.process_id != os.getpid():
                self._thread = _Thread()
            self._thread.users += 1
            return self._thread

    def give_back(self, thread: _Thread) -> None:
        """Stop the thread if nobody uses it any more."""
        with self._lock:
            thread.users -= 1
            last = thread.users == 0
            if last and self._thread is thread:
                self._thread = None
        if last and thread.process_id == os.getpid():
            thread.stop()


_shared = _Shared()


class LoopThread:
    """Runs a client's coroutines for threads that have no event loop. Safe to use from several threads."""

    def __init__(self) -> None:
        self._thread = _shared.take()
        self._stopping = threading.Lock()
        self._closed = False

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """The coroutine's result. An interrupt of the calling thread (Ctrl-C) cancels the coroutine."""
        if self._closed or threading.current_thread() is self._thread.thread:
            coroutine.close()
            raise RuntimeError("the client is closed, or was called from its own event loop")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._thread.loop)
        try:
            while True:
                try:
                    return future.result(timeout=_WAKE_SECONDS)
                except TimeoutError:
                    if future.done():  # it was the coroutine's own, or came in the last moment
                        return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[Result, None]) -> Generator[Result, None, None]:
        """The items, one by one; closing the iterator closes the stream."""
        end = object()
        turn = asyncio.Lock()
        step: asyncio.Task[Any] | None = None  # Any: only to be cancelled

        async def advance() -> Result | object:
            nonlocal step
            step = asyncio.current_task()
            async with turn:
                return await anext(items, end)

        async def close() -> None:
            # An interrupt can leave a step running: it may come before `run` even holds the future.
            if step is not None:
                step.cancel()
            async with turn:
                await items.aclose()

        try:
            while (item := self.run(advance())) is not end:
                yield item  # type: ignore[misc]  # what is not the end mark is a Result
        finally:
            if not self._closed:  # a closed client has closed its streams
                self.run(close())

    def stop(self) -> None:
        """Take no more; the last client stops the loop and its thread. Calling it again does nothing."""
        with self._stopping:  # of two threads that come at once, one gives the shared thread back
            if self._closed:
                return
            self._closed = True
        _shared.give_back(self._thread)


class Blocking(Generic[Noun]):
    """A noun of the client, with its loop."""

    def __init__(self, loop: LoopThread, noun: Noun) -> None:
        self._loop = loop
        self._noun = noun


def call(
    method: Callable[Concatenate[Noun, Params], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Blocking[Noun], Params], Result]:
    """The blocking form of an asynchronous method, with the same arguments, result and documentation."""

    @wraps(method)
    def blocking(self: Blocking[Noun], /, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        return self._loop.run(method(self._noun, *args, **kwargs))

    return blocking


def stream(
    method: Callable[Concatenate[Noun, Params], AsyncGenerator[Result, None]],
) -> Callable[Concatenate[Blocking[Noun], Params], Generator[Result, None, None]]:
    """The blocking form of a method that yields items as they come."""

    @wraps(method)
    def blocking(self: Blocking[Noun], /, *args: Params.args, **kwargs: Params.kwargs) -> Generator[Result, None, None]:
        return self._loop.iterate(method(self._noun, *args, **kwargs))

    return blocking
