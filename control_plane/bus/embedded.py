"""The embedded broker: a real nats-server that lives and dies with the control plane."""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from control_plane.bus.broker_config import BrokerConfig, Sync
from control_plane.bus.broker_process import NO_ANSWER, BrokerProcess, config_file, start_broker
from control_plane.bus.cancellation import end
from control_plane.clock import Clock
from control_plane.errors import OrQuantaError, Unavailable
from control_plane.held_port import HeldPort
from control_plane.identity.files import explained, private_directory

__all__ = ["BrokerConfig", "EmbeddedNats", "Sync"]

log = structlog.get_logger()

_PROBE_EVERY_SECONDS: Final = 2.0
_SILENT_PROBES: Final = 3  # then a server that runs but does not answer is killed
_COMPLAINTS: Final = 5  # then one that says that it is unwell, e.g. after a full disk, is restarted
_BACKOFF_SECONDS: Final = 0.2
_MAX_BACKOFF_SECONDS: Final = 10.0
_STABLE_SECONDS: Final = 60.0  # a run of this length starts the back-off afresh
_STRAY_SECONDS: Final = 5.0


class EmbeddedNats:
    """Starts nats-server, restarts it with back-off when it dies or hangs, and stops it.

    One directory belongs to one control plane at a time. A server that an earlier one left behind there is
    stopped first. The server gets SIGTERM from the kernel when the thread that called `start` is gone.
    """

    def __init__(self, config: BrokerConfig, *, clock: Clock) -> None:
        self._config = replace(config, directory=config.directory.absolute())
        self._clock = clock
        self._port = config.port
        self._held: HeldPort | None = None
        self._broker: BrokerProcess | None = None
        self.complaint: str | None = "not started"
        self._supervisor: asyncio.Task[None] | None = None
        self._lock: int | None = None
        self.restarts = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port that clients use; known once started."""
        return self._port

    @property
    def url(self) -> str:
        """The URL for clients on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._config.host, self._config.host)  # noqa: S104 - read, not bound
        return f"tls://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id of the server that runs now."""
        return self._broker.process.pid if self._broker and self._broker.process.returncode is None else None

    @property
    def healthy(self) -> bool:
        """Whether the server runs and had no `complaint` when it was last asked, every two seconds."""
        return self.pid is not None and self.complaint is None

    async def start(self) -> None:
        """Start the server and return when it serves.

        Raises:
            Unavailable: BROKER_DIRECTORY_IN_USE, BROKER_BINARY_MISSING, BROKER_PORT_TAKEN, BROKER_DISK_FULL or
                BROKER_START_FAILED.
            PreconditionFailed: PATH_UNUSABLE. ResourceExhausted: DISK_FULL.
        """
        private_directory(self._config.directory)
        self._lock = _lock(self._config.directory / "lock")
        try:
            await _stop_strays(config_file(self._config))
            self._hold()
            await self._run_once()
        except BaseException:
            self._release()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="embedded-nats")

    async def stop(self) -> None:
        """Stop the server; does nothing if it does not run."""
        if self._supervisor is not None:
            await end(self._supervisor)
            self._supervisor = None
        if self._broker is not None:
            await self._broker.stop()
            self._broker = None
            log.info("broker.stopped")
        self.complaint = "stopped"
        self._release()

    def reload(self) -> None:
        """Make the server read its certificates again, after they were renewed.

        nats-server drops the hosts' connections on this, and they come again; the control plane's own stays.
        """
        if self._broker is not None:
            self._broker.reload()

    def _hold(self) -> None:
        """Hold the port for as long as we run, or it may be another's when the server is restarted."""
        with contextlib.suppress(OSError):  # the server will say what is wrong with the address
            self._held = HeldPort(self._config.host, self._port)
            self._port = self._held.port

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _run_once(self) -> None:
        begin = self._clock.monotonic()
        self._broker = await start_broker(self._config, port=self._port)
        self._port = self._broker.port
        self.complaint = None
        seconds = round(self._clock.monotonic() - begin, 3)
        log.info("broker.started", url=self.url, pid=self.pid, seconds=seconds)

    async def _supervise(self) -> None:
        backoff_seconds = 0.0
        while True:
            begin = self._clock.monotonic()
            if self._broker is not None:
                await self._watch(self._broker)
                if self._clock.monotonic() - begin >= _STABLE_SECONDS:
                    backoff_seconds = 0.0
            await asyncio.sleep(backoff_seconds)
            backoff_seconds = min(max(backoff_seconds * 2, _BACKOFF_SECONDS), _MAX_BACKOFF_SECONDS)
            self.restarts += 1
            self._broker = None
            try:
                await self._run_once()
            except OrQuantaError as error:
                log.error("broker.restart_failed", reason=error.reason, error=error.message)  # noqa: TRY400 - the message says it all
            except OSError as error:
                log.error("broker.restart_failed", reason="PATH_UNUSABLE", error=str(error))  # noqa: TRY400 - as above

    async def _watch(self, broker: BrokerProcess) -> None:
        """Return when the server has ended; end it when it does not answer, or has been unwell for long."""
        silent = unwell = 0
        while silent < _SILENT_PROBES and unwell < _COMPLAINTS:
            try:
                async with asyncio.timeout(_PROBE_EVERY_SECONDS):
                    status = await broker.process.wait()
            except TimeoutError:
                complaint = await broker.complaint()
                silent = silent + 1 if complaint == NO_ANSWER else 0
                unwell = unwell + 1 if complaint is not None else 0
                if complaint != self.complaint:
                    log.warning("broker.health_changed", complaint=complaint)
                self.complaint = complaint
            else:
                self.complaint = f"ended with status {status}"
                log.warning("broker.ended", status=status)
                return
        log.warning("broker.restarting", complaint=self.complaint)
        if silent:
            with contextlib.suppress(ProcessLookupError):
                broker.process.kill()
        await broker.stop()


def _lock(path: Path) -> int:
    """Hold `path` for as long as this process lives; the kernel lets go of it on kill -9 too."""
    with explained(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Unavailable(
                f"another control plane uses {path.parent}: stop it, or give this one another state directory",
                reason="BROKER_DIRECTORY_IN_USE",
            ) from None
    return descriptor


async def _stop_strays(config: Path) -> None:
    """End every server that runs with our configuration file: we hold the lock, so nobody owns it."""
    strays = list(_processes_with_argument(config))
    for number, force in ((signal.SIGTERM, False), (signal.SIGKILL, True)):
        for pid in strays:
            log.warning("broker.stray_stopped", pid=pid, force=force)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STRAY_SECONDS):
                while strays := list(_processes_with_argument(config)):  # noqa: ASYNC110 - no child: its end is silent
                    await asyncio.sleep(0.01)
        if not strays:
            return
    raise Unavailable(
        f"a broker of an earlier run (process {strays[0]}) does not end: end it by hand",
        reason="BROKER_DIRECTORY_IN_USE",
    )


def _processes_with_argument(config: Path) -> Iterator[int]:
    wanted = os.fsencode(config)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has just ended, or belongs to somebody else
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                if b"-c" in arguments and wanted in arguments and b"nats-server" in b" ".join(arguments[:6]):
                    yield int(entry.name)
