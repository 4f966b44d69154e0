"""Remembers what each tool of another server looked like when it was first allowed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()

_FILE_BYTES_MAX: Final = 1024 * 1024


class Pins:
    """Hashes of definitions, by `<server>.<tool>`, in one file. Only one process writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hashes: dict[str, str] = {}

    def load(self) -> None:
        """Read the file; none is an empty one.

        Raises ValueError when it cannot be trusted: then nothing may be taken for the first sight of a tool.
        """
        if not self._path.exists():
            return
        if self._path.stat().st_size > _FILE_BYTES_MAX:
            raise ValueError(f"{self._path} is larger than {_FILE_BYTES_MAX} bytes; it is not what was written")
        loaded = json.loads(self._path.read_text())
        if not isinstance(loaded, dict) or not all(isinstance(value, str) for value in loaded.values()):
            raise ValueError(f"{self._path} does not hold hashes of tools; restore it, or delete it to see all anew")
        self._hashes = loaded

    def check(self, name: str, found: str, confirmed: str) -> bool:
        """Tell whether a definition is the one that is allowed: the operator's own hash counts, else the first seen."""
        if confirmed:
            return found.startswith(confirmed)
        if name not in self._hashes:
            self._hashes[name] = found
            self._write(self._hashes)
            log.info("tool.pinned", tool=name, hash=found)
        return self._hashes[name] == found

    def _write(self, hashes: Mapping[str, str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._path.with_suffix(".new")
        with temporary.open("w") as file:
            json.dump(hashes, file, sort_keys=True, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
