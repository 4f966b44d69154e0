"""What every command has: its settings, its output, and a client when it asks for one."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import typer

import orquanta
from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.formats import trouble
from orquanta.cli.output import Output
from orquanta.cli.profiles import ProfileBook, load_profiles
from orquanta.cli.settings import Connection, Environment, Flags, resolve

if TYPE_CHECKING:
    from orquanta import Client

# One attempt of a call. With retries, a command whose server is away gives up after 20 s at most.
_TIMEOUT_SECONDS = 15.0
_MAX_ATTEMPTS = 5
_TOTAL_SECONDS = 20.0


@dataclass
class Session:
    """One run of the command line."""

    environment: Environment
    flags: Flags
    as_json: bool = False

    @cached_property
    def output(self) -> Output:
        """Where results go. Asked for after all flags are known."""
        return Output(as_json=self.as_json)

    @cached_property
    def book(self) -> ProfileBook:
        """The stored profiles."""
        return load_profiles(self.environment.config_path)

    @property
    def connection(self) -> Connection:
        """How to reach the server."""
        return resolve(self.flags, self.environment, self.book)

    def connect(self, *, authenticated: bool = True) -> "Client":
        """A client for the server that the settings name. Raises CommandError if they name none."""
        connection = self.connection
        if connection.profile.value and connection.profile.value not in self.book.profiles:
            raise CommandError(
                f"there is no profile {connection.profile.value!r}; `orquanta config show` lists them",
                reason="NO_PROFILE",
                code=ExitCode.USAGE,
            )
        if not connection.server.value:
            raise CommandError(
                "no server is known. Start one with `orquanta up`, or log in to one with "
                "`orquanta login --server HOST:PORT --ca FILE --email YOU`.",
                reason="NO_SERVER",
                code=ExitCode.USAGE,
            )
        if authenticated and not connection.credential.value:
            raise CommandError(
                f"not logged in to {connection.server.value}. Run `orquanta login --server "
                f"{connection.server.value}`, or set ORQUANTA_TOKEN.",
                reason="NOT_LOGGED_IN",
                code=ExitCode.NOT_ALLOWED,
            )
        return open_client(
            connection.server.value,
            connection.credential.value if authenticated else "",
            connection.ca_certificate,
        )


def open_client(server: str, credential: str, ca_certificate: bytes | str | None) -> "Client":
    """A client with the command line's patience. Raises CommandError if the CA file cannot be used."""
    try:
        return orquanta.Client(
            server,
            api_key=credential,
            ca_certificate=ca_certificate,
            timeout_seconds=_TIMEOUT_SECONDS,
            retry=orquanta.RetryPolicy(max_attempts=_MAX_ATTEMPTS, total_seconds=_TOTAL_SECONDS),
        )
    except (OSError, ValueError) as error:
        raise CommandError(
            f"the CA certificate cannot be used: {trouble(error)}", reason="CA_UNUSABLE", code=ExitCode.USAGE
        ) from error


def session_of(ctx: typer.Context, *, as_json: bool) -> Session:
    """The session of this run; `--json` holds at either place."""
    session = ctx.find_object(Session)
    assert session is not None
    session.as_json = session.as_json or as_json
    return session
