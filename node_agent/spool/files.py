"""The names of the spool's files, and what becomes of a damaged one."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

FILE: Final = "spool.db"
_BESIDE = ("-wal", "-shm")
_KEPT_DAMAGED = 2  # for a person to look at


def put_aside(directory: Path, now: datetime) -> Path:
    """Rename a damaged spool and return its new path; of earlier ones only the newest are kept. Raises OSError."""
    kept = directory / f"damaged-{now:%Y%m%dT%H%M%S%f}.db"
    for suffix in _BESIDE:
        with suppress(FileNotFoundError):
            (directory / f"{FILE}{suffix}").rename(kept.with_name(kept.name + suffix))
    with suppress(FileNotFoundError):
        (directory / FILE).rename(kept)
    for old in sorted(directory.glob("damaged-*.db"))[:-_KEPT_DAMAGED]:
        for suffix in ("", *_BESIDE):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    return kept
