"""The entry point: runs a command and turns what goes wrong into a message and an exit code."""

import os
import sys
from collections.abc import Sequence

import typer
from typer.main import get_command

from orquanta.cli.app import app
from orquanta.cli.documents import dump
from orquanta.cli.exits import CommandError, ExitCode, code_for_error
from orquanta.cli.formats import clean, trouble
from orquanta.errors import OrQuantaError


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code. Errors are reported on stderr, as JSON if asked for."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in ours
    try:
        code = get_command(app).main(args=list(arguments), prog_name="orquanta", standalone_mode=False)
        return code if isinstance(code, int) else ExitCode.OK
    except OrQuantaError as error:
        return _report(error.message, error.reason, code_for_error(error), error.metadata, as_json=as_json)
    except CommandError as error:
        return _report(error.message, error.reason, error.code, {}, as_json=as_json)
    except typer.TyperException as error:
        return _report_usage(error, as_json=as_json)
    except ValueError as error:  # a value that the contract cannot carry, such as a number beyond 32 bits
        return _report(str(error), "USAGE", ExitCode.USAGE, {}, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # `orquanta ... | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as error:  # a disk that is full, a file that may not be read
        where = f"{error.filename}: " if error.filename else ""
        return _report(f"{where}{trouble(error)}", "FILE_TROUBLE", ExitCode.FAILED, {}, as_json=as_json)


def _report_usage(error: typer.TyperException, *, as_json: bool) -> int:
    message = error.format_message().replace(" Value error, ", " ")
    if message.startswith("Usage:") and not as_json:  # no command was given: this is the help itself
        typer.echo(message, err=True)
        return error.exit_code
    command = getattr(getattr(error, "ctx", None), "command_path", "orquanta")
    return _report(f"{message}\nSee: {command} --help", "USAGE", error.exit_code, {}, as_json=as_json)


def _report(message: str, reason: str, code: int, metadata: dict[str, str], *, as_json: bool) -> int:
    if as_json:
        error = {"message": message, "reason": reason, "metadata": metadata, "exit_code": int(code)}
        typer.echo(dump({"error": error}), err=True)
    else:
        typer.echo(f"orquanta: {clean(message)}", err=True)
    return int(code)


if __name__ == "__main__":
    main()
