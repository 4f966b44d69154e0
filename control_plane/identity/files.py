"""Private files: written whole or not at all, readable by their owner only."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from control_plane.errors import OrQuantaError, PreconditionFailed, ResourceExhausted

_MAX_BYTES = 1 << 20  # no key, certificate chain or configuration file of ours is larger
_OTHERS = 0o077


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a domain error.

    Raises:
        ResourceExhausted: DISK_FULL.
        PreconditionFailed: PATH_UNUSABLE.
    """
    try:
        yield
    except OSError as error:
        raise explain(path, error) from error


def explain(path: Path, error: OSError) -> OrQuantaError:
    """Return the domain error for an OSError about `path`."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ResourceExhausted(
            f"there is no space left to write {path}: free some space on its file system, or move the state directory",
            reason="DISK_FULL",
        )
    return PreconditionFailed(
        f"cannot use {path}: {error.strerror or error}; check that it exists and belongs to the user that "
        "runs the server",
        reason="PATH_UNUSABLE",
    )


def private_directory(path: Path) -> None:
    """Make sure that `path` is a directory that only its owner may enter."""
    with explained(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & _OTHERS:
            path.chmod(0o700)


def read_private(path: Path) -> bytes | None:
    """Return the content of a secret file; None if there is no such file.

    Raises:
        PreconditionFailed: KEY_FILE_EXPOSED if others may read it, KEY_FILE_INVALID if it is too large.
    """
    return _read(path, refuse=_OTHERS)


def read_public(path: Path) -> bytes | None:
    """Return the content of a file that is no secret; None if there is no such file."""
    return _read(path, refuse=0)


def _read(path: Path, *, refuse: int) -> bytes | None:
    with explained(path):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            mode = os.fstat(file.fileno()).st_mode
            if not mode & refuse:
                return _bounded(path, file.read(_MAX_BYTES + 1))
    raise PreconditionFailed(
        f"{path} is open to other users (mode {mode & 0o777:04o}): if you trust that nobody has read it run "
        f"`chmod 600 {path}`, else delete it so that a fresh one is made",
        reason="KEY_FILE_EXPOSED",
    )


def create_private(path: Path, data: bytes) -> bytes:
    """Write `data` to `path` with mode 0600 unless it is there already; return what is there then.

    Of two processes that do this at once both get the same content.
    """
    with _temporary(path, data, mode=0o600) as temporary, contextlib.suppress(FileExistsError):
        os.link(temporary, path)
    _sync_directory(path.parent)
    there = read_private(path)
    if there is None:
        raise PreconditionFailed(f"{path} vanished while it was written; try again", reason="PATH_UNUSABLE")
    return there


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write `data` to `path`; readers see the old content or all of the new."""
    with _temporary(path, data, mode=mode) as temporary:
        temporary.replace(path)
    _sync_directory(path.parent)


@contextlib.contextmanager
def _temporary(path: Path, data: bytes, *, mode: int) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with explained(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _bounded(path: Path, data: bytes) -> bytes:
    if len(data) > _MAX_BYTES:
        raise PreconditionFailed(
            f"{path} is larger than {_MAX_BYTES} bytes, so it is not what belongs there: restore it from a "
            "backup or delete it",
            reason="KEY_FILE_INVALID",
        )
    return data
