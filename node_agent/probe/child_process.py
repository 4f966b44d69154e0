"""The daemon's end of one probe process: starting it, talking to it, killing and burying it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from node_agent.probe.doing import DoingReader, make_memory
from node_agent.probe.frames import BadFrame, Frames, encode

_PROGRAM: Final = "from node_agent.probe.child import main; main()"
_FIRST_LOOK_SECONDS: Final = 0.01
_LONGEST_LOOK_SECONDS: Final = 0.25
_MAXIMUM_REASON: Final = 400
_ABANDON_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class VirtualGpuSettings:
    """The virtual GPUs of a host: their specification, what their names follow from, and where faults are kept."""

    spec: str
    host_identity: str
    path: Path | None = None


class Exit(Protocol):
    """What is needed of a process to bury it; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    def poll(self) -> int | None:
        """Return its exit code, or None while it has not ended."""
        ...

    def kill(self) -> None:
        """Send SIGKILL."""
        ...


class RequestFailed(Exception):
    """The probe answered that it could not do what it was asked. `word` says how, see `node_agent.probe.child`."""

    def __init__(self, word: str, text: str) -> None:
        self.word = word
        super().__init__(text)


class ProbeEnded(Exception):
    """The probe has ended, or does not keep to the form; the message says which."""


class ProbeProcess(asyncio.Protocol):
    """One probe process. Any below: values of JSON frames."""

    def __init__(
        self, process: Exit, doing: DoingReader, on_event: Callable[[str, Any], None], on_end: Callable[[], None]
    ) -> None:
        self.process = process
        self.reason = ""
        """Why it ended, for the log."""
        self.given_up = False
        """Whether it did not end although it was killed."""
        self._doing = doing
        self._on_event = on_event
        self._on_end = on_end
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._requests = 0
        self._reply: tuple[int, asyncio.Future[Any]] | None = None

    @property
    def doing(self) -> str:
        """The driver call that it is in, printable; empty if none."""
        return str(self._doing)

    async def ask(self, operation: str, *arguments: Any) -> Any:
        """Return the answer to one request; requests must not overlap.

        Raises:
            RequestFailed: the probe could not do it.
            ProbeEnded: the probe is gone.
        """
        if self._transport is None or self.reason:
            raise ProbeEnded(self.reason or "not started")
        self._requests += 1
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._reply = self._requests, reply
        try:
            self._transport.write(encode([self._requests, operation, arguments]))
            return await reply
        finally:
            self._reply = None

    def kill(self, reason: str) -> None:
        """End it, whatever it does. Its process is still to be buried."""
        self._end(reason)
        with suppress(ProcessLookupError):
            self.process.kill()

    async def bury(self, seconds: float) -> bool:
        """Wait until the killed process is gone; False if the kernel does not let it go (D state)."""
        wait_seconds = _FIRST_LOOK_SECONDS
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.process.poll() is None:
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(wait_seconds)  # kernels before 5.3 cannot tell of the end by a descriptor
            wait_seconds = min(_LONGEST_LOOK_SECONDS, 2 * wait_seconds)
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what the probe says."""
        try:
            for frame in self._frames.feed(data):
                self._take(*_shape(frame))
        except BadFrame as error:
            self.kill(f"it sent garbage: {error}"[:_MAXIMUM_REASON])

    def connection_lost(self, error: Exception | None) -> None:
        """Take note of the end."""
        self._end("it closed its end" if error is None else str(error))

    def _take(self, request: int, word: str, value: Any) -> None:
        if request == 0:
            self._on_event(word, value)
            return
        if self._reply is None or self._reply[0] != request or self._reply[1].done():
            return  # the answer to a request that was given up
        if word == "ok":
            self._reply[1].set_result(value)
        else:
            self._reply[1].set_exception(RequestFailed(word, str(value)[:_MAXIMUM_REASON]))

    def _end(self, reason: str) -> None:
        if self.reason:
            return
        self.reason = reason
        if self._reply is not None and not self._reply[1].done():
            self._reply[1].set_exception(ProbeEnded(reason))
        if self._transport is not None:
            self._transport.abort()
        self._on_end()

    def close(self) -> None:
        """Let go of the shared memory."""
        self._doing.close()


def _shape(frame: Any) -> tuple[int, str, Any]:
    if type(frame) is not list or len(frame) != 3 or type(frame[0]) is not int or type(frame[1]) is not str:  # noqa: PLR2004 - request, word, value
        raise BadFrame("a frame is [request, word, value]")
    return frame[0], frame[1], frame[2]


async def spawn(
    virtual: VirtualGpuSettings | None, on_event: Callable[[str, Any], None], on_end: Callable[[], None]
) -> ProbeProcess:
    """Start a probe. It says READY, or why it cannot work, through `on_event`. Raises OSError if it cannot be started.

    To be called from the main thread: the probe dies with the thread that started it.
    """
    ours, theirs = socket.socketpair()
    descriptor = make_memory()
    try:
        arguments = {
            "daemon": os.getpid(),
            "link": theirs.fileno(),
            "memory": descriptor,
            "virtual": None
            if virtual is None
            else {
                "spec": virtual.spec,
                "host_identity": virtual.host_identity,
                "path": None if virtual.path is None else str(virtual.path),
            },
        }
        process = subprocess.Popen(  # noqa: ASYNC220 - returns once the program is loaded; nothing waits for it
            [sys.executable, "-P", "-s", "-c", _PROGRAM, json.dumps(arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), descriptor),
            start_new_session=True,  # Ctrl-C is the daemon's to answer
        )
        doing = DoingReader(descriptor)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(descriptor)
    probe = ProbeProcess(process, doing, on_event, on_end)
    await attach(probe, ours)
    return probe


async def attach(probe: ProbeProcess, link: socket.socket) -> None:
    """Connect to a probe that has just been started; one whose starter is cancelled meanwhile is not left behind."""
    try:
        await asyncio.get_running_loop().create_connection(lambda: probe, sock=link)
    except BaseException:
        probe.kill("its start was given up")
        until = time.monotonic() + _ABANDON_SECONDS
        while probe.process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)  # noqa: ASYNC251 - a killed process that has not begun is gone within milliseconds
        probe.close()
        link.close()
        raise


def describe_exit(code: int | None) -> str:
    """Return an exit code for a person."""
    if code is None:
        return "does not end"
    if code < 0:
        try:
            return f"ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"ended by signal {-code}"
    return f"ended with exit code {code}"
