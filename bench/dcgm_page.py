"""A page like a DCGM exporter's, served over HTTP on loopback: 8 GPUs have 480 series and 200 kB."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from node_agent.probe.dcgm.fields import OF_A_GPU

_FURTHER = tuple(f"DCGM_FI_PROF_FIELD_{number:02}" for number in range(60 - len(OF_A_GPU)))
"""Fields that exporters show and the daemon has no use for; with the others, 60."""

_OF_FAULTS = ("ECC", "ERROR", "REASONS", "REMAP", "REPLAY", "RETIRED")
"""What is in the names of fields that are 0 while all is well."""


class DcgmStandIn:
    """Shows the GPUs that it is told of."""

    def __init__(self) -> None:
        self.port = 0
        self.gpu_uuids: Sequence[str] = ()
        self.scrapes = 0

    @property
    def url(self) -> str:
        """What the daemon's `dcgm_url` is set to."""
        return f"http://127.0.0.1:{self.port}/metrics"

    def page(self) -> bytes:
        """Return the page as it is now."""
        lines = []
        for number, field in enumerate((*sorted(OF_A_GPU), *_FURTHER)):
            lines += [f"# HELP {field} A field.", f"# TYPE {field} gauge"]
            value = 0 if any(word in field for word in _OF_FAULTS) else number + self.scrapes % 7
            lines += [f"{field}{{{self._labels(index)}}} {value}" for index in range(self._count)]
        return ("\n".join(lines) + "\n").encode()

    @property
    def _count(self) -> int:
        return len(self.gpu_uuids)

    def _labels(self, index: int) -> str:
        labels = {
            "gpu": str(index),
            "UUID": self.gpu_uuids[index],
            "pci_bus_id": f"00000000:{index:02X}:00.0",
            "device": f"nvidia{index}",
            "modelName": "NVIDIA H100 80GB HBM3",
            "Hostname": "gpu-host-1",
            "DCGM_FI_DRIVER_VERSION": "580.65.06",
            "container": "trainer",
            "namespace": "research",
            "pod": f"llama-3-8b-finetune-{index}",
        }
        return ",".join(f'{name}="{value}"' for name, value in labels.items())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            await reader.readuntil(b"\r\n\r\n")
            page = self.page()
            self.scrapes += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n")
            writer.write(f"Content-Length: {len(page)}\r\n\r\n".encode() + page)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone
        finally:
            writer.close()


@asynccontextmanager
async def dcgm_stand_in() -> AsyncIterator[DcgmStandIn]:
    """Serve a stand-in while the block runs."""
    stand_in = DcgmStandIn()
    server = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0)
    async with server:
        stand_in.port = server.sockets[0].getsockname()[1]
        yield stand_in


async def scrape(port: int) -> bytes:
    """Return the page at `/metrics` of a port on loopback, as Prometheus asks for it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await writer.drain()
        head, _, page = (await reader.read(-1)).partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise OSError(f"the daemon's exporter answers {head[:100]!r}")
        return page
    finally:
        writer.close()
