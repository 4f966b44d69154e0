"""Asking for passwords without ever showing them."""

import sys

import typer

from orquanta.cli.exits import CommandError, ExitCode

_MAX_CHARACTERS = 1024


def password(*, from_stdin: bool, prompt: str = "Password") -> str:
    """A password from standard input or from a person. Raises CommandError if neither can give one."""
    if from_stdin:
        return _from_stdin()
    _require_terminal()
    return str(typer.prompt(prompt, hide_input=True, err=True))


def new_password(*, from_stdin: bool) -> str:
    """As `password`, but a person types it twice."""
    if from_stdin:
        return _from_stdin()
    _require_terminal()
    return str(typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True))


def _from_stdin() -> str:
    text = sys.stdin.readline(_MAX_CHARACTERS + 2).rstrip("\r\n")
    if not text:
        raise CommandError("standard input held no password", reason="NO_PASSWORD", code=ExitCode.USAGE)
    return text


def _require_terminal() -> None:
    if not sys.stdin.isatty():
        raise CommandError(
            "there is no terminal to ask for the password on; pipe it in with --password-stdin",
            reason="NO_PASSWORD",
            code=ExitCode.USAGE,
        )
