"""The network between hosts and one control plane: a TCP proxy that resets, holds back, or is half-open."""

import asyncio
import contextlib
from enum import Enum
from types import TracebackType
from typing import Final, Self

_BYTES: Final = 65_536


class Weather(Enum):
    """What the network does with what is sent."""

    FAIR = "fair"
    RESET = "reset"  # connections are closed, and fresh ones at once
    SILENT = "silent"  # nothing gets through, and nobody is told
    DEAF = "deaf"  # what hosts say gets through, what they are told does not


class Network:
    """Listens at `address` and forwards to `target`; both `host:port`. What was held back goes on in fair weather."""

    def __init__(self, address: str, target: str) -> None:
        self._address = _parts(address)
        self._target = _parts(target)
        self._weather = Weather.FAIR
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.change(Weather.FAIR)
        self._server = await asyncio.start_server(self._accept, *self._address, backlog=512)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        await self._end_all()

    def change(self, weather: Weather) -> None:
        """Have it be so from now on."""
        self._weather = weather
        for way, open_in in ((self._up, {Weather.FAIR, Weather.DEAF}), (self._down, {Weather.FAIR})):
            if weather in open_in:
                way.set()
            else:
                way.clear()
        if weather is Weather.RESET:
            for task in self._tasks:
                task.cancel()

    async def _end_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far_writer: asyncio.StreamWriter | None = None
        try:
            if self._weather is Weather.RESET:
                return
            await self._up.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pump(reader, far_writer, self._up))
                ways.create_task(self._pump(far_reader, writer, self._down))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # either side is gone, or the weather changed, or all is over: the task ends here either way
        finally:
            for one in (writer, far_writer):
                if one is not None:
                    one.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_BYTES):
                await way.wait()
                writer.write(data)
                await writer.drain()
        # One side has closed: so does the other, once it may hear of it.
        await way.wait()
        writer.transport.abort()


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
