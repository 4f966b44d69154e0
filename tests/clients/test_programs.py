import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("entry", "library", "program", "extra"),
    [
        ("orquanta.programs:cli", "typer", "orquanta", "cli"),
        ("control_plane.launch:main", "structlog", "orquanta-server", "server"),
        ("node_agent.launch:main", "structlog", "orquanta-node", "node"),
    ],
)
def test_a_program_without_its_libraries_names_the_extra_to_install(
    entry: str, library: str, program: str, extra: str
) -> None:
    module, function = entry.split(":")
    code = f"import sys; sys.modules[{library!r}] = None; from {module} import {function} as main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{program}: {library} is not installed; run: pip install 'orquanta[{extra}]'\n"


def test_a_missing_part_of_our_own_is_an_error_and_not_a_missing_extra() -> None:
    code = "from orquanta.programs import start; start('orquanta', 'cli', 'orquanta.there_is_none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize("entry", ["control_plane.launch:main", "node_agent.launch:main", "orquanta.programs:cli"])
def test_a_program_with_its_libraries_runs(entry: str) -> None:
    module, function = entry.split(":")
    code = f"import sys; from {module} import {function} as main; sys.argv = ['program', '--help']; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert done.stdout.lower().startswith("usage:")


def test_a_program_without_streams_runs_as_with_streams_that_lead_nowhere() -> None:
    code = "import sys; from orquanta.programs import cli; sys.argv = ['orquanta', 'version']; sys.exit(cli())"
    command = '"$0" -c "$1" <&- >&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", command, sys.executable, code], timeout=30, check=False)
    assert done.returncode == 0
