"""Stores of memories, each backend held to the same contract."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from control_plane.memory.contract import Embedder, MemoryStore
from control_plane.memory.hashed_ngrams import HashedNgrams
from control_plane.memory.local import LocalMemory
from control_plane.memory.weaviate import WeaviateMemory
from control_plane.memory.weaviate_connection import WeaviateServer
from control_plane.memory.weaviate_rows import COLLECTION
from tests.fake_clock import FakeClock

_START_SECONDS = 60.0


def weaviate_binary() -> Path | None:
    """What `tools/weaviate_server.py` has built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orquanta" / "weaviate"
    return max(cache.glob("*/weaviate-server"), default=None)


@dataclass(frozen=True)
class RunningWeaviate:
    """A server of this test run."""

    server: WeaviateServer

    def memory(self, clock: FakeClock, embedder: Embedder | None = None) -> WeaviateMemory:
        return WeaviateMemory(self.server, embedder or HashedNgrams(), clock=clock)

    def clear(self) -> None:
        url = f"http://127.0.0.1:{self.server.port}/v1/schema/{COLLECTION}"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=30).close()


@pytest.fixture(scope="session")
def weaviate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWeaviate]:
    """One real server for all tests of this worker."""
    binary = weaviate_binary()
    if binary is None:
        pytest.skip("there is no Weaviate server; build one with: python tools/weaviate_server.py")
    http, rpc, *inner = free_ports(6)
    names = ("CLUSTER_GOSSIP_BIND_PORT", "CLUSTER_DATA_BIND_PORT", "RAFT_PORT", "RAFT_INTERNAL_RPC_PORT")
    environment = {
        "PERSISTENCE_DATA_PATH": str(tmp_path_factory.mktemp("weaviate")),
        "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
        "DEFAULT_VECTORIZER_MODULE": "none",
        "DISABLE_TELEMETRY": "true",
        "LOG_LEVEL": "error",
        "CLUSTER_HOSTNAME": "node1",
        "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
        "RAFT_JOIN": "node1",
        "RAFT_BOOTSTRAP_EXPECT": "1",
        "GRPC_PORT": str(rpc),
        "GOMAXPROCS": "2",
        **{name: str(port) for name, port in zip(names, inner, strict=True)},
    }
    command = [str(binary), "--host", "127.0.0.1", "--port", str(http), "--scheme", "http"]
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        await_ready(process, f"http://127.0.0.1:{http}/v1/.well-known/ready")
        yield RunningWeaviate(WeaviateServer("127.0.0.1", http, rpc))
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(environment["PERSISTENCE_DATA_PATH"], ignore_errors=True)


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def await_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)
    raise AssertionError("the Weaviate server did not start")


@pytest.fixture(params=["local", pytest.param("weaviate", marks=pytest.mark.weaviate)])
async def memories(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[MemoryStore]:
    """An empty store of each kind."""
    store: MemoryStore
    if request.param == "local":
        store = LocalMemory(tmp_path / "memory.db", HashedNgrams(), clock=clock)
        yield store
        await store.close()
        return
    running: RunningWeaviate = request.getfixturevalue("weaviate")
    running.clear()
    store = running.memory(clock)
    yield store
    await store.close()
