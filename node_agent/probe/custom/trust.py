"""Whether an executable may be run by the daemon: only its owner, root or the daemon's user, can have changed it."""

import os
import stat
from pathlib import Path

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class NotTrusted(Exception):
    """The executable may not be run; the message says why and what to do."""


def trusted_executable(path: str) -> str:
    """Return the path without symbolic links. May hang with its file system.

    Checked before each run, because files change. Directories count too: whoever can write one can replace what is in
    it, unless it is sticky as /tmp is.

    Raises:
        NotTrusted: it is not there, no executable file, or someone else can change it.
    """
    try:
        real = Path(path).resolve(strict=True)
        status = real.stat()
    except OSError as error:
        raise NotTrusted(f"{path} cannot be found: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or not os.access(real, os.X_OK):
        raise NotTrusted(f"{real} is no executable file: run `chmod 755` on it")
    _check_owner(real, status)
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise NotTrusted(f"{real} is writable by others than its owner: run `chmod go-w` on it")
    for directory in real.parents:
        status = directory.stat()
        _check_owner(directory, status)
        if status.st_mode & _WRITABLE_BY_OTHERS and not status.st_mode & stat.S_ISVTX:
            raise NotTrusted(
                f"{directory} is writable by others, who could replace {real.name}: run `chmod go-w` on it"
            )
    return str(real)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise NotTrusted(f"{path} belongs to user {status.st_uid}: it must belong to root or to the daemon's user")
