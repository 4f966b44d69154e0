"""Runs chaos with real processes: `python -m chaos`, or `make chaos`. No GPU, no network and no key are needed.

Starts PostgreSQL, three NATS servers, two control planes and simulated hosts, submits jobs, and meanwhile kills, stops
and cuts each part, by a seed. In the end it waits until all jobs have ended, and balances the books: what the control
planes wrote against what the hosts wrote. Exits with 1 if anything is wrong, says what, and keeps the logs.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chaos import report
from chaos.run import Outcome, Terms, discard, progress, run

_SHOWN: Final = 50
_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and return the exit status: 0 if the books balance, 1 if not, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="how long there is mischief, 10 to 86400 (600)")
    parser.add_argument("--hosts", type=int, default=200, help="simulated hosts, 8 to 2000 (200)")
    parser.add_argument("--jobs", type=int, default=2000, help="jobs, 1 to 100000 (2000)")
    parser.add_argument("--seed", type=int, default=7, help="what is left to chance begins here (7)")
    parser.add_argument("--directory", type=Path, help="where logs and journals go; a scratch directory if not given")
    parser.add_argument("--keep", action="store_true", help="keep the logs even if all is well")
    parser.add_argument("--json", action="store_true", help="print the last line, a JSON object, alone")
    asked = parser.parse_args(arguments)
    for name, value, least, most in (
        ("--seconds", asked.seconds, 10, 86_400),
        ("--hosts", asked.hosts, 8, 2000),
        ("--jobs", asked.jobs, 1, 100_000),
    ):
        if not least <= value <= most:
            parser.error(f"{name} must be from {least} to {most}, not {value:g}")
    directory = asked.directory or Path(tempfile.mkdtemp(prefix="orquanta-chaos-"))
    if directory.exists() and any(directory.iterdir()):
        parser.error(f"{directory} is not empty: name a directory that is, or that is not there yet")
    terms = Terms(asked.seconds, asked.hosts, asked.jobs, asked.seed, directory)
    try:
        outcome = asyncio.run(_until_signal(terms))
    except KeyboardInterrupt:
        sys.stderr.write(f"\ninterrupted; everything was ended, the logs are in {directory}\n")
        return _INTERRUPTED
    except BaseException:
        sys.stderr.write(f"\nthe logs are in {directory}\n")
        raise
    show(outcome, directory, as_json=asked.json)
    if not outcome.violations and not asked.keep:
        discard(directory)
    return 1 if outcome.violations else 0


async def _until_signal(terms: Terms) -> Outcome:
    """Run, and end everything properly on SIGTERM as on Ctrl-C."""
    running = asyncio.ensure_future(run(terms, progress))
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell that starts programs in the background ignores SIGINT
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def show(outcome: Outcome, directory: Path, *, as_json: bool) -> None:
    """Print what was found."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    if not as_json:
        print(report.table(outcome.recoveries))
        print(
            f"jobs: {outcome.figures['jobs']}; {outcome.figures['attempts']} attempts by the books, "
            f"{outcome.figures['stays_on_hosts']} stays on hosts by the hosts"
        )
    for violation in outcome.violations[:_SHOWN]:
        sys.stderr.write(f"WRONG: {violation}\n")
    if outcome.violations:
        more = len(outcome.violations) - _SHOWN
        sys.stderr.write((f"and {more} more. " if more > 0 else "") + f"The logs are in {directory}\n")
    elif not as_json:
        print("The books balance: every job has one outcome, nothing ran twice, nothing is left over.")
    print(report.last_line(outcome.figures))


if __name__ == "__main__":
    sys.exit(main())
