"""The two sides of `bench.beside_prometheus`: a Prometheus that scrapes the hosts, and our own broker and ingest."""

import asyncio
import contextlib
import json
import ssl
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from bench.beside_hosts import Exporters, Hosts, Publisher
from control_plane.bus.embedded import BrokerConfig, EmbeddedNats
from control_plane.clock import SystemClock
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.key_pairs import KeyPairFiles, ensure_client_certificate, ensure_server_certificate
from control_plane.identity.secrets import SecretBox
from orquanta.gameday.fleet import free_port

READY_SECONDS = 60.0
STOP_SECONDS = 30.0
APPENDED = "prometheus_tsdb_head_samples_appended_total"
OWN_SAMPLES_PER_SCRAPE = 5
"""What Prometheus adds to each scrape of its own: `up`, `scrape_duration_seconds` and three more."""

CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs: [{{job_name: gpu, file_sd_configs: [{{files: [{targets}]}}]}}]
"""


class Side(Protocol):
    """One side while it runs. `pids`: its processes by name, the one that keeps the samples first."""

    pids: dict[str, int]

    async def begin(self) -> None:
        """Let the hosts come."""

    async def batches(self) -> int:
        """Return how many batches or pages were taken since the start."""

    async def notes(self) -> dict[str, float]:
        """Return what else is worth knowing at the end."""


class Prometheus:
    """A Prometheus with its files in `directory`."""

    def __init__(self, hosts: Hosts, exporters: Exporters, directory: Path, port: int, pid: int) -> None:
        self._hosts = hosts
        self._exporters = exporters
        self._directory = directory
        self._url = f"http://127.0.0.1:{port}"
        self.pids = {"prometheus": pid}

    async def get(self, path: str) -> str:
        """Return what it answers."""

        def read() -> str:
            with urllib.request.urlopen(f"{self._url}{path}", timeout=READY_SECONDS) as answer:
                return str(answer.read().decode())

        return await asyncio.to_thread(read)

    async def metrics(self) -> dict[str, float]:
        """Return its own figures, by name and labels."""
        lines = (await self.get("/metrics")).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    async def begin(self) -> None:
        """Name the targets to it."""
        fresh = self._directory / "targets.fresh"
        fresh.write_text(self._exporters.targets())
        fresh.rename(self._directory / "targets.json")

    async def batches(self) -> int:
        """Return how many pages it has appended, from the samples that it counts itself."""
        found = await self.metrics()  # without labels in older versions, and not there before the first sample
        appended = sum(value for name, value in found.items() if name.partition("{")[0] == APPENDED)
        return round(appended / (self._hosts.samples_per_host + OWN_SAMPLES_PER_SCRAPE))

    async def notes(self) -> dict[str, float]:
        """Return its log on disk and how regular the scrapes were."""
        found = await self.metrics()
        return {
            "disk_bytes": sum(file.stat().st_size for file in (self._directory / "data").rglob("*") if file.is_file()),
            "series": found["prometheus_tsdb_head_series"],
            "out_of_order": found["prometheus_target_scrapes_sample_out_of_order_total"],
            "interval_p99_seconds": found['prometheus_target_interval_length_seconds{interval="1s",quantile="0.99"}'],
        }


@asynccontextmanager
async def prometheus(program: str, hosts: Hosts) -> AsyncIterator[Prometheus]:
    """Run Prometheus as Debian sets it up, but for its files, its port and what it keeps."""
    with tempfile.TemporaryDirectory(prefix="beside-prometheus-") as name:
        directory, port = Path(name), free_port()
        (directory / "targets.json").write_text("[]")
        (directory / "prometheus.yml").write_text(CONFIG.format(targets=directory / "targets.json"))
        arguments = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
        arguments += ["--storage.tsdb.retention.time=1h", f"--web.listen-address=127.0.0.1:{port}"]
        log = directory / "log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(program, *arguments, stdout=output, stderr=output)
        try:
            async with Exporters(hosts) as exporters:
                side = Prometheus(hosts, exporters, directory, port, process.pid)
                async with asyncio.timeout(READY_SECONDS):
                    while not await _is_ready(side):
                        if process.returncode is not None:
                            raise RuntimeError(f"prometheus ended:\n{log.read_text()[-2000:]}")
                        await asyncio.sleep(0.1)
                yield side
                await _end(process)
        finally:
            await _end(process)


async def _is_ready(side: Prometheus) -> bool:
    try:
        await side.get("/-/ready")
    except OSError:  # not yet listening, or 503
        return False
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class OrQuanta:
    """A broker, the process that takes telemetry, and the hosts' publisher."""

    def __init__(self, hosts: Hosts, broker: EmbeddedNats, process: asyncio.subprocess.Process, site: "Site") -> None:
        self._publisher = Publisher(hosts)
        self._broker = broker
        self._process = process
        self._site = site
        self._sending: asyncio.Task[None] | None = None
        self.pids = {"ingest": process.pid, "broker": broker.pid or 0}

    async def begin(self) -> None:
        """Let the hosts publish."""
        context = ssl.create_default_context(cafile=str(self._site.ca_file))
        context.check_hostname = False
        context.load_cert_chain(self._site.client.certificate, self._site.client.key)
        running = self._publisher.run(self._broker.port, context, self._site.secrets.nats_control_password)
        self._sending = asyncio.create_task(running)

    async def counts(self) -> dict[str, int]:
        """Return what became of the batches."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(READY_SECONDS):
            told: dict[str, int] = json.loads(await self._process.stdout.readline())
        return told

    async def batches(self) -> int:
        """Return how many batches are or were in the windows."""
        if self._sending is not None and self._sending.done():
            self._sending.result()
            raise RuntimeError("the hosts' connection to the broker has ended")
        return (await self.counts())["batches"]

    async def notes(self) -> dict[str, float]:
        """Return what was not taken, and what was sent and is on its way."""
        sent, counts = self._publisher.sent, await self.counts()
        names = ("shed", "pauses", "garbage", "no_room")
        return {**{name: counts[name] for name in names}, "sent": sent, "taken": counts["batches"]}

    async def end(self) -> None:
        """Stop the hosts and the ingest."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        await _end(self._process)


class Site:
    """The files of a control plane's identity."""

    def __init__(self, directory: Path) -> None:
        clock = SystemClock()
        ca = CertificateAuthority.load_or_create(directory / "ca", clock=clock)
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(ca.trust_pem)
        self.secrets = SecretBox.load_or_create(directory / "secrets")
        self.client: KeyPairFiles = ensure_client_certificate(ca, directory / "tls", "control-plane", clock=clock)
        server = ensure_server_certificate(ca, directory / "tls", ["localhost", "127.0.0.1"], clock=clock)
        self.broker = BrokerConfig(
            directory=directory / "nats",
            certificate_file=server.certificate,
            key_file=server.key,
            ca_file=self.ca_file,
            issuer_public_key=self.secrets.nats_issuer_public_key,
            control_password=self.secrets.nats_control_password,
        )


@asynccontextmanager
async def orquanta(hosts: Hosts) -> AsyncIterator[OrQuanta]:
    """Run the broker, over TLS as always, and the ingest in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="beside-orquanta-") as name:
        site = Site(Path(name))
        async with EmbeddedNats(site.broker, clock=SystemClock()) as broker:
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.beside_ingest", stdin=pipe, stdout=pipe
            )
            assert process.stdin is not None
            told = {
                "url": broker.url,
                "ca_file": str(site.ca_file),
                "certificate_file": str(site.client.certificate),
                "key_file": str(site.client.key),
                "password": site.secrets.nats_control_password,
            }
            process.stdin.write(json.dumps(told).encode() + b"\n")
            side = OrQuanta(hosts, broker, process, site)
            try:
                await side.counts()
                yield side
            finally:
                await side.end()
