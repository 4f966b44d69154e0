"""What `orquanta gameday run` does once it knows what to play: plays it, tells of it, and stops at a signal."""

import asyncio
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.gameday_report import print_report
from orquanta.cli.output import Output
from orquanta.gameday.fleet import FleetError
from orquanta.gameday.play import GameDay, play
from orquanta.gameday.scenarios.scenario import Scenario


def run_game_days(output: Output, scenarios: Sequence[Scenario], *, keep: bool) -> ExitCode:
    """Play scenarios and print their report. Raises CommandError if a fleet cannot be started."""
    try:
        return asyncio.run(_until_stopped(output, scenarios, keep=keep))
    except FleetError as error:
        raise CommandError(str(error), reason="FLEET_NOT_STARTED", code=ExitCode.FAILED) from error


async def _until_stopped(output: Output, scenarios: Sequence[Scenario], *, keep: bool) -> ExitCode:
    """Play until the end or a signal; the first signal stops the fleet in order, further ones change nothing."""
    loop = asyncio.get_running_loop()
    days: list[GameDay] = []
    playing = asyncio.ensure_future(_play(output, scenarios, days, keep=keep))

    def stop() -> None:
        if not playing.cancelling():
            output.note("Stopping everything; this takes some seconds.")
            playing.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        await playing
    except asyncio.CancelledError:
        return ExitCode.INTERRUPTED
    print_report(output, days)
    return ExitCode.OK if all(day.held for day in days) else ExitCode.FAILED


async def _play(output: Output, scenarios: Sequence[Scenario], days: list[GameDay], *, keep: bool) -> None:
    for number, scenario in enumerate(scenarios, 1):
        _say(output, f"\n{number} of {len(scenarios)}: {scenario.title}")
        directory = Path(tempfile.mkdtemp(prefix=f"orquanta-{scenario.name}-")) if keep else None
        days.append(await play(scenario, lambda text: _say(output, text), directory=directory))
        if directory is not None:
            _say(output, f"         its files are in {directory}")


def _say(output: Output, text: str) -> None:
    """Tell how it goes: beside the result where that is JSON."""
    if output.as_json:
        output.note(text)
    else:
        output.say(text)
