"""Where tests keep their files: in memory, where there is plenty of it.

Most of what tests start forces each change to disk, as it must, and a disk takes 5 ms for that, a hundred thousand
times over. What is killed loses nothing either way: what has been written stays with the kernel, on disk or in memory.
That it was forced to disk shows only when the power fails, which no test does.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

_IN_MEMORY: Final = Path("/dev/shm")
_ROOM_BYTES: Final = 2 << 30
"""A run needs a quarter of it: a test's files go with it, unless it failed."""
_MEMORY_BYTES: Final = 6 << 30
"""Free for programs and files together; a run of four workers needs three."""


def keep_in_memory() -> None:
    """Have temporary files made in memory, in this process and those that it starts, unless TMPDIR is set."""
    if "TMPDIR" not in os.environ and _has_room(_IN_MEMORY):
        os.environ["TMPDIR"] = str(_IN_MEMORY)
        tempfile.tempdir = None  # asks again


def _has_room(directory: Path) -> bool:
    try:
        status = os.statvfs(directory)
        memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        available = int(memory["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return False
    runs_programs = not status.f_flag & os.ST_NOEXEC  # stand-ins for a host's tools are programs
    roomy = status.f_bavail * status.f_frsize >= _ROOM_BYTES and available >= _MEMORY_BYTES
    return runs_programs and roomy and os.access(directory, os.W_OK)
