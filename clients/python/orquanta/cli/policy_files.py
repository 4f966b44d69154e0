"""Policy files on this machine."""

from collections.abc import Iterable
from pathlib import Path

from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.formats import trouble
from orquanta.types.policies import PolicyFile

_ENDINGS = (".yaml", ".yml")
_TEST_ENDINGS = (".test.yaml", ".test.yml")
_BYTES_MAX = 256 * 1024


def read_policies(paths: Iterable[Path]) -> list[PolicyFile]:
    """The policy files of these paths; tests are left out. Raises CommandError if there are none."""
    files, _ = _sorted(paths)
    if not files:
        raise _nothing("no policy files (*.yaml) there")
    return files


def read_policies_and_tests(paths: Iterable[Path]) -> tuple[list[PolicyFile], list[PolicyFile]]:
    """The policy files and the files of tests. Raises CommandError if there are no tests."""
    files, tests = _sorted(paths)
    if not tests:
        raise _nothing("no tests there; files of tests are named like spending.test.yaml")
    return files, tests


def _sorted(paths: Iterable[Path]) -> tuple[list[PolicyFile], list[PolicyFile]]:
    found: dict[Path, None] = {}
    for path in paths:
        inside = sorted(one for one in path.iterdir() if not one.name.startswith(".")) if path.is_dir() else [path]
        for one in inside:
            if one.name.endswith(_ENDINGS) and one.is_file():
                found[one.resolve()] = None
    tests = [_read(path) for path in found if path.name.endswith(_TEST_ENDINGS)]
    files = [_read(path) for path in found if not path.name.endswith(_TEST_ENDINGS)]
    return files, tests


def _read(path: Path) -> PolicyFile:
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _nothing(f"{path} cannot be read as text: {trouble(error)}") from error
    if len(content) > _BYTES_MAX:
        raise _nothing(f"{path} is larger than {_BYTES_MAX // 1024} KiB; split it")
    return PolicyFile(path.name, text)


def _nothing(text: str) -> CommandError:
    return CommandError(text, reason="POLICY_FILES", code=ExitCode.USAGE)
