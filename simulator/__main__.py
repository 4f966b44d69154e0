"""The program `orquanta-sim`: options in, progress on stderr, what happened on stdout."""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from simulator.buffers import keep_buffers_apart
from simulator.crowd import Crowd
from simulator.fleet import Fleet
from simulator.identity import SimulatorError
from simulator.options import Options, read

_PROGRESS_SECONDS: Final = 1.0
_SHOWN: Final = (
    ("joined", "joined"),
    ("links_up", "up"),
    ("members_started", "members started"),
    ("members_succeeded", "done"),
    ("members_failed", "failed"),
    ("faults", "faults"),
    ("repairs_succeeded", "repaired"),
    ("telemetry_sent", "samples"),
    ("telemetry_dropped", "dropped"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status: 0, or 2 if the hosts cannot be run."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = read(given)
    keep_buffers_apart()
    try:
        asyncio.run(_run(options, given))
    except SimulatorError as error:
        sys.stderr.write(f"orquanta-sim: {error}\n")
        return 2
    return 0


async def _run(options: Options, arguments: Sequence[str]) -> None:
    fleet = Crowd(options, arguments) if options.processes > 1 else Fleet(options)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if options.script_on_signal:
        loop.add_signal_handler(signal.SIGUSR1, fleet.begin_script)
    began = time.monotonic()
    running = asyncio.create_task(fleet.run())
    telling = asyncio.create_task(_tell(fleet, options))
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait(
            (running, waiting), timeout=options.duration_seconds or None, return_when=asyncio.FIRST_COMPLETED
        )
        if running.done():
            _raise(running)
        seconds = round(time.monotonic() - began, 1)
        figures: dict[str, object] = {**fleet.figures(), "seconds": seconds}
    finally:
        for task in (telling, running, waiting):
            task.cancel()
        await asyncio.gather(telling, running, waiting, return_exceptions=True)
    if options.json or options.follow:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        _clear_line()
        sys.stdout.write(f"{_line(figures)}, in {seconds} s\n")


def _raise(running: "asyncio.Task[None]") -> None:
    """Raise what has ended the hosts, the first of several that a person can act on."""
    error = running.exception()
    while isinstance(error, BaseExceptionGroup):
        inner = [one for one in error.exceptions if isinstance(one, SimulatorError | BaseExceptionGroup)]
        if not inner:
            break
        error = inner[0]
    if error is not None:
        raise error


async def _tell(fleet: Crowd | Fleet, options: Options) -> None:
    """Show how it goes: one line on a terminal, an object a second to the process that shares out the hosts."""
    while options.follow or sys.stderr.isatty():
        await asyncio.sleep(_PROGRESS_SECONDS)
        if options.follow:
            with contextlib.suppress(BrokenPipeError):
                sys.stdout.write(json.dumps(fleet.figures()) + "\n")
                sys.stdout.flush()
        else:
            sys.stderr.write(f"\r\x1b[K{_line(dict(fleet.figures()))}")
            sys.stderr.flush()


def _line(figures: dict[str, object]) -> str:
    return f"{figures.get('hosts', 0)} hosts: " + ", ".join(f"{figures.get(name, 0)} {word}" for name, word in _SHOWN)


def _clear_line() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")


if __name__ == "__main__":
    sys.exit(main())
