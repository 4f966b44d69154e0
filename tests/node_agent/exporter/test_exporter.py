import asyncio
import http.client
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from node_agent.clock import SystemClock
from node_agent.exporter import Exporter, ExporterState, GpuLabels, parse_address
from node_agent.exporter.exporter import MAXIMUM_CONNECTIONS
from node_agent.probe.dcgm import DcgmClient

UUID = "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52"
pytestmark = pytest.mark.usefixtures("_patient")
STATE = ExporterState("gpu-host-1", "0.2.0", gpus=(GpuLabels(UUID, 0),))


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take longer for a request than a host may."""
    monkeypatch.setattr("node_agent.exporter.exporter._TIMEOUT_SECONDS", 60.0)


@asynccontextmanager
async def serving(collect: Callable[[], ExporterState] = lambda: STATE) -> AsyncIterator[int]:
    exporter = Exporter("127.0.0.1:0", collect)
    task = asyncio.create_task(exporter.run())
    try:
        async with asyncio.timeout(60):
            _, port = await exporter.listening()
        yield port
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def send(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


async def test_an_http_client_gets_the_page() -> None:
    def ask(port: int) -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/metrics?x=y")
        response = connection.getresponse()
        answer = response.status, response.getheader("Content-Type"), response.read()
        connection.close()
        return answer

    async with serving() as port:
        status, kind, body = await asyncio.to_thread(ask, port)
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"orquanta_node_gpu_up{" in body


async def test_our_dcgm_client_scrapes_the_endpoint() -> None:
    async with serving() as port:
        reading = await DcgmClient(f"http://127.0.0.1:{port}/metrics", SystemClock(), deadline_seconds=60).scrape()
    assert list(reading.gpus) == [UUID]
    assert reading.hostname == "gpu-host-1"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET /" + b"x" * 20_000, 400),
        (b"GET /" + b"x" * 2_000_000, 400),
    ],
)
async def test_only_gets_and_heads_of_the_page_are_answered(request_bytes: bytes, status: int) -> None:
    async with serving() as port:
        answer = await send(port, request_bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert (body == b"") == request_bytes.startswith(b"HEAD")


async def test_a_collector_that_fails_is_told_and_the_endpoint_goes_on() -> None:
    states: list[ExporterState] = []

    def collect() -> ExporterState:
        return states[0]

    async with serving(collect) as port:
        failed = await send(port, b"GET /metrics HTTP/1.1\r\n\r\n")
        states.append(STATE)
        works = await send(port, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert failed.startswith(b"HTTP/1.1 500 ")
    assert works.startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_vanishes_or_says_nothing_does_not_disturb_others() -> None:
    async with serving() as port:
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        _, gone = await asyncio.open_connection("127.0.0.1", port)
        gone.write(b"GET /metr")
        gone.transport.abort()
        assert (await send(port, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        silent.close()


async def test_connections_are_bounded() -> None:
    async with serving() as port:
        connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAXIMUM_CONNECTIONS + 5)]
        closed = [asyncio.ensure_future(reader.read()) for reader, _ in connections]
        async with asyncio.timeout(60):
            while sum(task.done() for task in closed) < 5:
                await asyncio.wait(closed, return_when=asyncio.FIRST_COMPLETED)
        assert sum(task.done() for task in closed) == 5
        for _, writer in connections:
            writer.close()
        await asyncio.gather(*closed, return_exceptions=True)


async def test_an_address_that_is_taken_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        tried = asyncio.Event()

        async def sleep(seconds: float) -> None:
            assert seconds > 0
            tried.set()
            await asyncio.sleep(0.01)

        exporter = Exporter(f"127.0.0.1:{port}", lambda: STATE, sleep=sleep)
        task = asyncio.create_task(exporter.run())
        async with asyncio.timeout(60):
            await tried.wait()
            holder.close()
            assert await exporter.listening() == ("127.0.0.1", port)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_addresses_are_read() -> None:
    assert parse_address("127.0.0.1:9445") == ("127.0.0.1", 9445)
    assert parse_address("[::1]:0") == ("::1", 0)
    assert parse_address(":9445") == ("", 9445)


@pytest.mark.parametrize(
    "value", ["", "9445", "host", "host:", "host:port", "host:70000", "::1:9445", "a b:1", "h:\u0661"]
)
def test_what_is_no_address_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(value)
