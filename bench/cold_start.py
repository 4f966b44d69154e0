"""How long `orquanta up` takes from its start until it serves, for the first start and for later ones.

Runs the real command, as a person would, on a state directory of its own. The clock starts before the process does and
stops when an authenticated call, made by another program with the key that the command stored, has succeeded. A first
start makes the CA, the secrets, the database, the administrator and the broker's store; a later one finds them.
Prints a table and, last, one JSON object. The exit status is 1 if the target is missed.

    python -m bench.cold_start [--first 5] [--later 10]
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import percentile, report
from orquanta.client import AsyncClient
from orquanta.gameday.fleet import FleetError, free_port

TARGET_SECONDS = 3.0


@dataclass(frozen=True)
class Sample:
    """One start, in seconds since the command was started: it says that it serves; a call has succeeded."""

    serving: float
    answered: float


class Site:
    """A place where `orquanta up` is started again and again."""

    def __init__(self, directory: Path) -> None:
        self._state = directory / "state"
        self._config = directory / "config.toml"
        self._log = directory / "stderr.log"
        people, nodes = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self._command = [
            *(str(Path(sys.executable).with_name("orquanta")), "up", "--json", "--state-dir", str(self._state)),
            *("--people-address", people, "--nodes-address", nodes),
        ]
        self._environment = {**os.environ, "ORQUANTA_CLI_CONFIG": str(self._config)}

    def start(self) -> Sample:
        """Start it, wait until it serves, stop it. Raises FleetError with what it said if it does not serve."""
        began = time.monotonic()
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, env=self._environment, start_new_session=True
            )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            serving = time.monotonic() - began
            if not line:
                raise FleetError(f"orquanta up ended: {self._log.read_text(errors='replace')}")
            asyncio.run(self._call(json.loads(line)))
            return Sample(serving, time.monotonic() - began)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)

    async def _call(self, event: dict[str, str]) -> None:
        profile = tomllib.loads(self._config.read_text())["profiles"][event["profile"]]
        async with AsyncClient(
            profile["server"], api_key=profile["api_key"], ca_certificate=profile["ca_certificate"].encode()
        ) as client:
            await client.auth.who_am_i()


def measure(first: int, later: int) -> tuple[list[Sample], list[Sample]]:
    """Return the first starts, each on an empty directory, and later starts on one directory."""
    firsts, laters = [], []
    with tempfile.TemporaryDirectory(prefix="orquanta-cold-") as scratch:
        for number in range(first):
            directory = Path(scratch, str(number))
            directory.mkdir()
            site = Site(directory)
            firsts.append(site.start())
            print(f"first start {number + 1}: {firsts[-1].answered:.2f} s", file=sys.stderr, flush=True)
        for number in range(later):
            laters.append(site.start())
            print(f"later start {number + 1}: {laters[-1].answered:.2f} s", file=sys.stderr, flush=True)
    return firsts, laters


def show(firsts: Sequence[Sample], laters: Sequence[Sample]) -> bool:
    """Print the table and the JSON line; return whether the target is met."""
    print(f"{'seconds until':<22}{'starts':>8}{'P50':>8}{'max':>8}")
    figures: dict[str, object] = {}
    slowest = 0.0
    for kind, samples in (("first_start", firsts), ("later_start", laters)):
        for step, values in (
            ("says it serves", [one.serving for one in samples]),
            ("call answered", [one.answered for one in samples]),
        ):
            median = percentile(values, 0.5)
            name = f"{kind.partition('_')[0]}: {step}"
            print(f"{name:<22}{len(values):>8}{median:>8.2f}{max(values):>8.2f}")
        figures[f"{kind}_p50_seconds"] = round(median, 3)
        figures[f"{kind}_max_seconds"] = round(max(values), 3)
        figures[f"{kind}s"] = len(values)
        slowest = max(slowest, median)
    met = slowest <= TARGET_SECONDS
    at_most = {"at_most": TARGET_SECONDS}
    targets = {
        f"{kind}_p50_seconds": {**at_most, "met": percentile([one.answered for one in samples], 0.5) <= TARGET_SECONDS}
        for kind, samples in (("first_start", firsts), ("later_start", laters))
    }
    print(report("cold_start", figures, targets))
    return met


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=5, help="first starts, each on an empty state directory")
    parser.add_argument("--later", type=int, default=10, help="later starts on the last of those directories")
    options = parser.parse_args()
    if options.first < 1 or options.later < 1:
        parser.error("--first and --later are at least 1")
    return 0 if show(*measure(options.first, options.later)) else 1


if __name__ == "__main__":
    sys.exit(main())
