"""What is mounted where, from /proc/self/mountinfo, which answers even when a file system hangs."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAXIMUM_BYTES: Final = 4 * 1024 * 1024
_MAXIMUM_MOUNTS: Final = 10_000
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_FIXED_FIELDS: Final = 6

STORAGE: Final = frozenset(
    {
        "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "nfs", "nfs4", "lustre", "beegfs", "gpfs",
        "ceph", "fuse.glusterfs", "wekafs", "cifs", "smb3", "ocfs2", "gfs2",
    }
)  # fmt: skip
"""File systems that hold data and may turn read-only; not those that are made read-only, such as squashfs."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system."""

    point: str
    kind: str
    source: str
    read_only: bool
    """It is read-only here: this mount of it is, or the file system itself."""
    all_read_only: bool
    """The file system itself is read-only, as the kernel makes it after an error; a read-only bind mount is not."""


def read_mounts(path: Path) -> tuple[Mount, ...]:
    """Return what is mounted, in the order of mounting. Raises OSError."""
    with path.open("rb") as file:
        text = file.read(_MAXIMUM_BYTES).decode("utf-8", "replace")
    return parse_mounts(text)


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Return the mounts of a text in the form of /proc/self/mountinfo; lines that do not have it are left out."""
    mounts = []
    for line in text.splitlines()[:_MAXIMUM_MOUNTS]:
        before, separator, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if not separator or len(left) < _FIXED_FIELDS or len(right) < 3:  # noqa: PLR2004 - type, source, options
            continue
        here, everywhere = "ro" in left[5].split(","), "ro" in right[2].split(",")
        mounts.append(Mount(_unescape(left[4]), right[0], _unescape(right[1]), here or everywhere, everywhere))
    return tuple(mounts)


def _unescape(word: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), word) if "\\" in word else word


def mount_of(path: str, mounts: tuple[Mount, ...]) -> Mount | None:
    """Return the mount that a path without symbolic links lies on: the longest that begins it, the newest of equals."""
    best = None
    for mount in mounts:
        inside = path == mount.point or path.startswith(mount.point if mount.point == "/" else f"{mount.point}/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def real_path(path: str) -> str:
    """Return a path without symbolic links. May hang with its file system."""
    return os.path.realpath(path)
