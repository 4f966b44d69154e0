"""Carries out an installation, and says what it does."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from node_agent.errors import StateUnusable
from node_agent.files import write_atomically
from node_agent.install.plan import Kind, Step

_COMMANDS: Final = {
    "systemctl": ("/usr/bin/systemctl", "/bin/systemctl"),
    "useradd": ("/usr/sbin/useradd", "/sbin/useradd"),
}
_COMMAND_SECONDS: Final = 90.0


def apply(steps: Sequence[Step], root: Path, *, dry_run: bool, say: Callable[[str], None]) -> None:
    """Do the steps in order; with `dry_run`, only say them. Doing them twice is doing them once.

    Raises:
        StateUnusable: a step failed; the message says which and what to do.
    """
    for step in steps:
        say(f"{'would ' if dry_run else ''}{describe(step, root)}")
        if not dry_run:
            try:
                _do(step, root)
            except OSError as error:
                raise StateUnusable(
                    f"Cannot {describe(step, root)}: {error.strerror or error}. Run it as root, then again."
                ) from error


def describe(step: Step, root: Path) -> str:
    """Return what a step does, in one line."""
    if step.kind is Kind.COMMAND:
        return f"run {' '.join(step.command)} ({step.why})"
    path = root / (step.path or "")
    kept = " unless it is there" if step.keep else ""
    return f"{step.kind.value} {path} ({step.why}){kept}"


def _do(step: Step, root: Path) -> None:
    path = root / (step.path or "")
    match step.kind:
        case Kind.WRITE:
            if step.keep and path.exists():
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, step.content.encode(), mode=step.mode)
        case Kind.REMOVE:
            path.unlink(missing_ok=True)
        case Kind.REMOVE_TREE:
            if path.exists():
                shutil.rmtree(path)
        case Kind.COMMAND:
            _run(step)


def _run(step: Step) -> None:
    candidates = _COMMANDS[step.command[0]]
    program = next((one for one in candidates if os.access(one, os.X_OK)), None)
    if program is None:
        raise StateUnusable(
            f"This host has no {step.command[0]} ({candidates[0]}). Use --root / --no-systemd, or install it."
        )
    try:
        done = subprocess.run(
            [program, *step.command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise StateUnusable(f"`{' '.join(step.command)}` did not end within {_COMMAND_SECONDS:.0f} s.") from error
    if done.returncode != 0 and not step.may_fail:
        words = done.stderr.decode(errors="replace").strip()[-500:]
        raise StateUnusable(f"`{' '.join(step.command)}` failed: {words or f'exit code {done.returncode}'}.")
