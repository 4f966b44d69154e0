"""Small files that are either the old text or the new one, never half of it."""

import os
import tempfile
from pathlib import Path

OWNER_ONLY = 0o600
OWNER_ONLY_DIRECTORY = 0o700


def make_directory(path: Path, *, mode: int = OWNER_ONLY_DIRECTORY) -> Path:
    """Create `path` and its parents for the owner alone; an existing directory is left as it is."""
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, data: bytes, *, mode: int = OWNER_ONLY, durable: bool = True) -> None:
    """Replace `path` by `data` in one step.

    Durable means that it survives a power cut (two `fsync`); without, it survives the death of the process.
    Raises OSError, and leaves the old file as it was, when the disk is full.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(name, path)  # noqa: PTH105 - one rename(2), as the function's promise reads
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
