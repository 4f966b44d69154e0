"""Runs the programs of Slurm, and waits for none of them for ever."""

import subprocess
from typing import Final

_CALL_SECONDS: Final = 30.0


def call(*command: str) -> str | None:
    """Return what a program of Slurm prints, or None if it fails."""
    ended = run_program(list(command))
    return None if isinstance(ended, str) or ended.returncode != 0 else ended.stdout


def run_program(command: list[str], *, stdin: str | None = None) -> "subprocess.CompletedProcess[str] | str":
    """Run a program of Slurm. Return how it went, or why it could not be run."""
    try:
        return subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_CALL_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        return f"{command[0]} is not installed here"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
