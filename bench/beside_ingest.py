"""The process that takes telemetry in `bench.beside_prometheus`: the control plane's bus, ingest and windows, no more.

Reads where the broker is from its first line of input, one JSON object. Then, for each further line, prints what became
of the batches so far; ends with its input.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

import structlog

from control_plane.bus.client import Bus, BusEndpoint
from control_plane.clock import SystemClock
from control_plane.telemetry.ingest import TelemetryIngest
from control_plane.telemetry.windows import TelemetryWindows


async def main() -> None:
    """Take telemetry until the input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    told = json.loads(await reader.readline())
    endpoint = BusEndpoint(
        urls=(told["url"],),
        ca_file=Path(told["ca_file"]),
        certificate_file=Path(told["certificate_file"]),
        key_file=Path(told["key_file"]),
        user="control",
        password=told["password"],
    )
    windows = TelemetryWindows(clock=SystemClock())
    async with Bus(endpoint) as bus, TelemetryIngest(bus, windows):
        while await reader.readline():
            print(json.dumps(asdict(windows.counts)), flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # figures alone go to the output
    asyncio.run(main())
