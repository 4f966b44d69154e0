"""A private event loop on a thread of its own, and the two wrappers that make its calls blocking."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

Noun = TypeVar("Noun")
Params = ParamSpec("Params")
Result = TypeVar("Result")

# A signal that arrives just before a thread begins to wait does not wake it; so it looks up this often.
_WAKE_SECONDS = 0.25


class LoopThread:
    """Runs coroutines for threads that have no event loop. Safe to use from several threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="orquanta-client", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """The coroutine's result. An interrupt of the calling thread (Ctrl-C) cancels the coroutine."""
        if self._loop.is_closed() or threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("the client is closed, or was called from its own event loop")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
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
            if not self._loop.is_closed():  # a closed client has closed its streams
                self.run(close())

    def stop(self) -> None:
        """Stop the loop and its thread. Calling it again does nothing."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


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
