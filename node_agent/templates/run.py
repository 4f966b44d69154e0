"""What every template knows of its run: its place in the gang, its GPUs, and when to stop."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

STOPPED_EXIT_CODE = 128 + signal.SIGTERM
_DEFAULT_SECONDS = 4.0
_NICENESS = 10  # these programs show the platform at work; they must not take the host from it


def say(text: str) -> None:
    """Write a line where the job's log picks it up at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Place:
    """This process's place in its gang, from the variables that launchers of distributed training read."""

    rank: int
    world_size: int
    master_address: str
    master_port: int
    gpu_uuids: tuple[str, ...]

    @classmethod
    def from_environment(cls) -> Place:
        """Read the variables that the daemon sets for every job; one process per host is one rank."""
        read = os.environ.get
        visible = read("ORQUANTA_GPU_UUIDS") or read("CUDA_VISIBLE_DEVICES") or ""
        return cls(
            rank=int(read("NODE_RANK") or read("RANK") or 0),
            world_size=int(read("NNODES") or read("WORLD_SIZE") or 1),
            master_address=read("MASTER_ADDR") or "127.0.0.1",
            master_port=int(read("MASTER_PORT") or 0),
            gpu_uuids=tuple(uuid for uuid in visible.split(",") if uuid),
        )


class Run:
    """Counts steps, watches the time and hears SIGTERM."""

    def __init__(self, name: str, *, seconds: float, steps: int) -> None:
        self.place = Place.from_environment()
        self.step = 0
        self.stopped = False
        self._steps = steps
        self._seconds = seconds
        self._began = time.monotonic()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        os.nice(_NICENESS)
        say(f"{name}: rank {self.place.rank} of {self.place.world_size}")
        say(f"{name}: GPUs {', '.join(self.place.gpu_uuids) or 'none'}")

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    @property
    def progress(self) -> float:
        """How much of the work is done, from 0 to 1."""
        if self._steps:
            return min(1.0, self.step / self._steps)
        return min(1.0, self.elapsed_seconds / self._seconds) if self._seconds else 1.0

    def done(self) -> bool:
        """Tell whether to stop: all steps made, time over, or asked to.

        Time is over after one step at the earliest: a host that was slow to start the program still gets an answer.
        """
        return self.stopped or (self.step > 0 and self.progress >= 1.0)

    def exit_code(self) -> int:
        """Return 0, or what a shell reports for SIGTERM if the run was cut short."""
        return STOPPED_EXIT_CODE if self.stopped else 0

    def _on_sigterm(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopped = True


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that every template takes."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument(
        "--seconds", type=float, default=_DEFAULT_SECONDS, help="work for this long (default: %(default)s)"
    )
    arguments.add_argument("--steps", type=int, default=0, help="make this many steps, whatever time they take")
    return arguments


def torch_on_gpu() -> Any | None:
    """Return the torch module if it is installed and sees a GPU. Any: torch is optional and ships no stubs here."""
    try:
        torch: ModuleType = importlib.import_module("torch")
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None
