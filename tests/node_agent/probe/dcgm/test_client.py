import asyncio
import http.server
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from node_agent.clock import SystemClock
from node_agent.probe.dcgm import DcgmClient, DcgmReading
from node_agent.probe.dcgm.fetch import parse_url
from node_agent.probe.observations import HostFinding, HostReport, Standing
from tests.node_agent.probe.dcgm.pages import NEW, OLD, UUIDS, new_labels, page
from tests.node_agent.probe.dcgm.server import Behaviour, PageServer, page_server
from tests.node_agent.probe.steps import StepClock, only


@pytest.fixture
async def server() -> AsyncIterator[PageServer]:
    async with page_server() as started:
        started.page = NEW
        yield started


def client_of(server: PageServer, deadline_seconds: float = 60) -> DcgmClient:
    return DcgmClient(server.url, StepClock(), deadline_seconds=deadline_seconds)


def exporter(reading: DcgmReading) -> HostReport:
    return only(reading.reports, HostFinding.DCGM, "exporter")


@pytest.mark.parametrize("text", [OLD, NEW])
@pytest.mark.parametrize("chunk_bytes", [None, 100, 5000])
async def test_a_page_is_read_whole_or_in_chunks(server: PageServer, text: str, chunk_bytes: int | None) -> None:
    server.page, server.chunk_bytes = text, chunk_bytes
    reading = await client_of(server).scrape()
    assert list(reading.gpus) == list(UUIDS)
    assert reading.hostname == "gpu-host-1"
    assert exporter(reading).standing is Standing.GOOD
    assert reading.stall is None
    (request,) = server.requests
    assert request.startswith("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_a_server_of_another_make_is_read() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()  # HTTP/1.0: the end of the connection is the end of the page
            self.wfile.write(OLD.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server gives it
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{listener.server_port}"
        reading = await DcgmClient(url, SystemClock(), deadline_seconds=60).scrape()
        thread.join()
    assert len(reading.gpus) == 2


async def test_what_stays_as_it_is_is_reported_once(server: PageServer) -> None:
    client = client_of(server)
    assert len((await client.scrape()).reports) == 3
    assert (await client.scrape()).reports == ()


async def test_a_gpu_that_is_not_shown_any_more_is_reported_until_it_is_shown_again(server: PageServer) -> None:
    client = client_of(server)
    await client.scrape()
    server.page = page(new_labels(0))
    gone = only((await client.scrape()).reports, HostFinding.DCGM, UUIDS[1])
    assert (gone.standing, gone.gpu_uuid) == (Standing.BAD, UUIDS[1])
    assert "GPU 1 (NVIDIA H100 80GB HBM3)" in gone.text
    server.page = NEW
    back = only((await client.scrape()).reports, HostFinding.DCGM, UUIDS[1])
    assert back.standing is Standing.GOOD


async def test_a_page_without_any_gpu_speaks_of_the_exporter_not_of_lost_gpus(server: PageServer) -> None:
    client = client_of(server)
    await client.scrape()
    server.page = "# nothing yet\n"
    (report,) = (await client.scrape()).reports
    assert (report.subject, report.standing) == ("exporter", Standing.WARNING)
    assert "no GPU, 2 before" in report.text


async def test_an_exporter_that_cannot_be_reached_is_a_warning_then_bad_then_good_again(server: PageServer) -> None:
    client = client_of(server)
    server.status = "503 Service Unavailable"
    standings = [exporter(await client.scrape()).standing]
    await client.scrape()
    reading = await client.scrape()
    standings.append(exporter(reading).standing)
    assert "HTTP status 503" in exporter(reading).text
    server.status = "200 OK"
    standings.append(exporter(await client.scrape()).standing)
    assert standings == [Standing.WARNING, Standing.BAD, Standing.GOOD]


async def test_nobody_at_the_address_is_reported() -> None:
    with socket.socket() as taken:  # so that nobody else listens there meanwhile
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/metrics"
        reading = await DcgmClient(url, StepClock(), deadline_seconds=60).scrape()
    assert "no connection" in exporter(reading).text
    assert reading.gpus == {}


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + NEW.encode()[:2000])
    await writer.drain()
    await reader.read()


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    with suppress(ConnectionError):
        while True:
            writer.write(b"# a line\n")
            await writer.drain()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("behaviour", [hang, half, drip])
async def test_an_exporter_that_hangs_is_a_stall_once_until_it_answers(
    server: PageServer, behaviour: Behaviour
) -> None:
    client = client_of(server, deadline_seconds=0.3)
    server.behaviour = behaviour
    first, second = await client.scrape(), await client.scrape()
    assert first.stall is not None
    assert (first.stall.probe, first.stall.ended, first.stall.doing) == ("dcgm", False, "GET /metrics")
    assert exporter(first).standing is Standing.WARNING
    assert second.stall is None
    assert client.stalls == 2
    assert second.gpus == {}
    server.behaviour = None
    for _ in range(100):  # a slow machine may miss the short deadline a few times
        third = await client.scrape()
        if third.gpus:
            break
    assert third.stall is not None
    assert third.stall.ended


def answering(data: bytes) -> Behaviour:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(data)
            await writer.drain()

    return answer


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (b"", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://evil/\r\n\r\n", "HTTP status 301"),
        (OK + b"Content-Length: 5000\r\n\r\nDCGM", "cut off"),
        (OK + b"Content-Length: many\r\n\r\n", "Content-Length"),
        (OK + b"Content-Encoding: gzip\r\n\r\n", "encoding"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "cut off"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n", "larger than 8 MiB"),
        (OK + b"\r\n" + b"# flood\n" * 1_200_000, "larger than 8 MiB"),
        (OK + b"\r\n" + b"x" * 100_000, "a line is longer"),
        (OK + b"\r\n" + bytes(range(256)) * 20, "no figure of a GPU"),
    ],
)
async def test_whatever_is_no_page_is_a_report(server: PageServer, data: bytes, words: str) -> None:
    server.behaviour = answering(data)
    reading = await client_of(server).scrape()
    assert words in exporter(reading).text
    assert exporter(reading).text.isprintable()
    assert reading.stall is None


async def test_lines_that_cannot_be_read_are_a_warning(server: PageServer) -> None:
    server.page = NEW + "DCGM_FI_DEV_GPU_TEMP{oops} 3\n"
    report = exporter(await client_of(server).scrape())
    assert report.standing is Standing.WARNING
    assert "1 lines could not be read" in report.text


async def test_readings_are_handed_on_until_cancelled_whatever_the_taker_does(server: PageServer) -> None:
    taken: list[DcgmReading] = []

    async def take(reading: DcgmReading) -> None:
        taken.append(reading)
        if len(taken) == 1:
            raise ConnectionError("not now")
        if len(taken) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await client_of(server).run(take, sleep=lambda _: asyncio.sleep(0))
    assert [len(reading.gpus) for reading in taken] == [2, 2, 2]


@pytest.mark.parametrize(
    "url",
    ["", "localhost:9400", "ftp://x/", "http://", "http://u:p@x/", "http://x:port/", "http://x/a b", "http://x/#f"],
)
def test_what_is_no_url_of_an_exporter_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|must"):
        DcgmClient(url, StepClock())


def test_the_path_may_be_left_out() -> None:
    assert parse_url("http://[::1]:9400").path == "/metrics"
    assert parse_url("https://x/federate?a=b").path == "/federate?a=b"
    assert parse_url("https://x").port == 443
