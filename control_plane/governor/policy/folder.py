"""Reads the folder of policy files. Blocking."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control_plane.governor.policy.files import printable
from control_plane.governor.policy.model import FILE_BYTES_MAX, FILES_MAX, Fault, PolicyFile

_ENDINGS: Final = (".yaml", ".yml")
TEST_ENDINGS: Final = (".test.yaml", ".test.yml")
"""Files of tests may lie beside the policies; they are not policies."""

_ENTRIES_MAX: Final = 1000

Stamp = tuple[tuple[str, int, int, int], ...]
"""Names, times of change, sizes and inodes of the files: another stamp, another content."""


@dataclass(frozen=True, slots=True)
class Unreadable(Exception):
    """The folder or a file of it cannot be read."""

    fault: Fault


def stamp(folder: Path) -> Stamp:
    """Return what tells the folder's present content from another one. Raises Unreadable."""
    found = []
    for path in _paths(folder):
        try:
            status = path.stat()
        except OSError as error:
            raise _unreadable(path.name, error) from error
        found.append((path.name, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def read_folder(folder: Path) -> tuple[PolicyFile, ...]:
    """Return the policy files, by name; more than are allowed are left to the check. Raises Unreadable."""
    return tuple(_read(path) for path in _paths(folder)[: FILES_MAX + 1])


def _paths(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable("", error) from error
    if len(found) > _ENTRIES_MAX:
        raise Unreadable(
            Fault("", 0, "", f"the folder has more than {_ENTRIES_MAX} entries; keep policies alone in it")
        )
    return [
        path
        for path in found
        if path.name.endswith(_ENDINGS) and not path.name.endswith(TEST_ENDINGS) and not path.name.startswith(".")
    ]


def _read(path: Path) -> PolicyFile:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        return PolicyFile(path.name, content.decode())
    except OSError as error:
        raise _unreadable(path.name, error) from error
    except UnicodeDecodeError:
        raise Unreadable(Fault(printable(path.name), 0, "", "is not UTF-8 text")) from None


def _unreadable(name: str, error: OSError) -> Unreadable:
    return Unreadable(Fault(printable(name), 0, "", f"cannot be read: {error.strerror or error}"))
