"""The command line, pointed at the scripted server."""

import asyncio
import io
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from orquanta.cli.__main__ import run
from tests.clients.scripted import ScriptedServer


@dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str

    def document(self) -> Any:  # JSON
        return json.loads(self.stdout)

    def error(self) -> Any:  # JSON
        return json.loads(self.stderr)["error"]


RunCli = Callable[..., Awaitable[Result]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def bare_environment(home: Path) -> dict[str, str]:
    """No server, no token, no profile."""
    path = os.environ["PATH"]
    return {"HOME": str(home), "PATH": path, "TZ": "Europe/Berlin", "LANG": "C.UTF-8", "COLUMNS": "200"}


@pytest.fixture
def environment(bare_environment: dict[str, str], server: ScriptedServer, ca_file: Path) -> dict[str, str]:
    return {
        **bare_environment,
        "ORQUANTA_SERVER": server.address,
        "ORQUANTA_TOKEN": "k-secret",
        "ORQUANTA_CA": str(ca_file),
    }


def run_inside(arguments: tuple[str, ...], environment: dict[str, str], stdin: str) -> Result:
    """Run a command in this process: what it does, without what starting Python costs."""
    streams = [io.TextIOWrapper(io.BytesIO(data), write_through=True) for data in (stdin.encode(), b"", b"")]
    with (
        patch.dict(os.environ, environment, clear=True),
        patch.object(sys, "stdin", streams[0]),
        patch.object(sys, "stdout", streams[1]),
        patch.object(sys, "stderr", streams[2]),
    ):
        code = run(arguments)
    stdout, stderr = (stream.buffer.getvalue() for stream in streams[1:])
    return Result(code, stdout.decode(errors="surrogateescape"), stderr.decode())


@pytest.fixture
def cli(environment: dict[str, str]) -> RunCli:
    async def call(*arguments: str, stdin: str = "", **extra: str) -> Result:
        return await asyncio.to_thread(run_inside, arguments, {**environment, **extra}, stdin)

    return call


@pytest.fixture
def bare_cli(bare_environment: dict[str, str]) -> RunCli:
    async def call(*arguments: str, stdin: str = "", **extra: str) -> Result:
        return await asyncio.to_thread(run_inside, arguments, {**bare_environment, **extra}, stdin)

    return call
