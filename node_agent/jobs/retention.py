"""How long results and logs stay, and the memory of what ran here that outlives them."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from node_agent.jobs.directory import write_atomically
from node_agent.jobs.member import Member
from node_agent.jobs.spec import MemberKey

_KEPT_NAMES = 10_000
_FILE = "forgotten"


class Forgotten:
    """The names of members whose directories were deleted: none of them may ever start here again.

    Bounded to the last 10,000, many times what a control plane could still ask for by mistake.
    """

    def __init__(self, jobs_dir: Path) -> None:
        self._path = jobs_dir / _FILE
        try:
            lines = self._path.read_text(encoding="ascii", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        self._keys = {key: None for line in lines if (key := MemberKey.parse(line)) is not None}

    def __contains__(self, key: MemberKey) -> bool:
        return key in self._keys

    def add(self, keys: Iterable[MemberKey]) -> None:
        """Remember these members, on disk before it returns. Raises OSError."""
        self._keys |= dict.fromkeys(keys)
        for key in list(self._keys)[:-_KEPT_NAMES]:
            del self._keys[key]
        write_atomically(self._path, "".join(f"{key}\n" for key in self._keys), durable=True)


def expired(members: Iterable[Member], keep_members: int, keep_bytes: int) -> list[Member]:
    """Return the acknowledged members to delete, oldest first, so that the rest fits both bounds."""
    done = [m for m in members if m.status.ended and m.status.acknowledged and m.directory is not None]
    done.sort(key=lambda m: m.status.ended_at.timestamp() if m.status.ended_at else 0.0)
    count, size = len(done), sum(m.size_bytes for m in done)
    gone = []
    for member in done:
        if count <= keep_members and size <= keep_bytes:
            break
        gone.append(member)
        count -= 1
        size -= member.size_bytes
    return gone


def delete(members: Iterable[Member]) -> None:
    """Delete members' directories."""
    for member in members:
        if member.directory is not None:
            shutil.rmtree(member.directory.path, ignore_errors=True)
