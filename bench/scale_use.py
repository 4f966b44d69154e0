"""What a process uses: CPU seconds and resident memory, from /proc."""

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Use:
    """What a process has used at one moment."""

    at: float
    cpu_seconds: float
    rss_mb: float

    @classmethod
    def of(cls, pid: int) -> "Use":
        """Read it from /proc."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        rss = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        return cls(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), rss / 2**20)

    def cores_since(self, before: "Use") -> float:
        """Return how many cores were in use since then."""
        return (self.cpu_seconds - before.cpu_seconds) / (self.at - before.at)
