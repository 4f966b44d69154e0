"""Programs that ship with the daemon: what a job runs when it names neither a command nor an image.

Each is a small real computation on the standard library alone; it uses the GPUs through PyTorch where that is
installed and finds them. `command_line` is the daemon's only way to them, so a control plane cannot name a file.
"""

import sys
from collections.abc import Sequence

TEMPLATES = ("train", "finetune", "inference", "batch", "benchmark")


def command_line(template: str, arguments: Sequence[str]) -> tuple[str, ...] | None:
    """Return the command of a template with its arguments, or None if there is no such template."""
    if template not in TEMPLATES:
        return None
    return (sys.executable, "-I", "-m", f"{__name__}.{template}", *arguments)
