"""What the control planes take of the machine while it goes on, and whether one ends that nobody has killed."""

import asyncio
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chaos.acts import Acts
from chaos.plan import Kind
from chaos.site import Site

_LOOK_SECONDS: Final = 1.0
_SETTLED_LOOKS: Final = 10
"""After so many looks at a process its first figures are taken: what it imports and opens at its start is there."""

_KILLING: Final = frozenset({Kind.LEADER_KILLED, Kind.FOLLOWER_KILLED})


@dataclass(slots=True)
class Life:
    """One process of a control plane: RSS in MB and open files, early, last and at most."""

    looks: int = 0
    early_mb: float = 0.0
    last_mb: float = 0.0
    most_mb: float = 0.0
    early_files: int = 0
    last_files: int = 0
    most_files: int = 0

    def see(self, rss_mb: float, files: int) -> None:
        """Take one look in."""
        self.looks += 1
        if self.looks == _SETTLED_LOOKS:
            self.early_mb, self.early_files = rss_mb, files
        self.last_mb, self.last_files = rss_mb, files
        self.most_mb, self.most_files = max(self.most_mb, rss_mb), max(self.most_files, files)


@dataclass(slots=True)
class Watch:
    """Looks once a second; `lives` by name of the control plane and process id."""

    lives: dict[tuple[str, int], Life] = field(default_factory=lambda: defaultdict(Life))
    ended: list[str] = field(default_factory=list)

    async def run(self, site: Site, acts: Acts) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if Kind.HOSTS_KILLED not in acts.now:
                site.hosts.check()
            for replica in site.fleet.replicas:
                pid = replica.program.pid
                seen = _look(pid) if pid else None
                if seen is not None:
                    self.lives[replica.name, pid].see(*seen)
                elif not acts.now & _KILLING:
                    self.ended.append(f"{replica.name} ended by itself:\n{replica.program.tail(15)}")
                    await replica.start()

    def document(self) -> list[dict[str, object]]:
        """Return the lives that were long enough to tell something."""
        return [
            {
                "control_plane": name,
                "seconds": life.looks,
                "rss_mb_early": round(life.early_mb, 1),
                "rss_mb_last": round(life.last_mb, 1),
                "rss_mb_max": round(life.most_mb, 1),
                "files_early": life.early_files,
                "files_last": life.last_files,
                "files_max": life.most_files,
            }
            for (name, _), life in self.lives.items()
            if life.looks >= _SETTLED_LOOKS
        ]


def _look(pid: int) -> tuple[float, int] | None:
    try:
        rss = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return rss / 2**20, sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except (OSError, IndexError):
        return None
