"""Runs the programs of Slurm, and waits for none of them for ever."""

import re
import subprocess
from collections.abc import Mapping
from typing import Final

_CALL_SECONDS: Final = 30.0
_UNKNOWN: Final = re.compile("Invalid job id|already completing or completed", re.IGNORECASE)


def call(*command: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return what a program of Slurm prints, or None if it fails."""
    ended = run_program(list(command), environment=environment)
    return None if isinstance(ended, str) or ended.returncode != 0 else ended.stdout


def cancel(which: str, *, environment: Mapping[str, str] | None = None) -> bool:
    """Have Slurm end jobs in its own time, or take them out of the queue: one id, or a filter such as `--name=x`.

    Return whether that was taken.
    """
    done = run_program(["scancel", which], environment=environment)
    if isinstance(done, str):
        return False
    return done.returncode == 0 or _UNKNOWN.search(done.stderr) is not None


def kill(which: str, *, environment: Mapping[str, str] | None = None) -> bool:
    """Have Slurm end such jobs at once; return whether that was taken."""
    # One that waits is refused signals.
    call("scancel", "--full", "--signal=KILL", "--state=RUNNING", which, environment=environment)
    return cancel(which, environment=environment)


def run_program(
    command: list[str], *, stdin: str | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str] | str":
    """Run a program of Slurm, with this process's environment or another. Return how it went, or why it was not run."""
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
            env=environment,
        )
    except FileNotFoundError:
        return f"{command[0]} is not installed here"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
