"""`orquanta config`: where each setting comes from, and which profile is used."""

import hashlib
import ssl
import subprocess
import sys
from typing import Annotated

import typer

from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.options import AsJson
from orquanta.cli.profiles import save_profiles
from orquanta.cli.programs import find_program
from orquanta.cli.session import session_of
from orquanta.cli.settings import Connection, Setting, Source

config_commands = typer.Typer(no_args_is_help=True, help="Settings of this command line, and its profiles.")

_MASK = "********"


@config_commands.command()
def show(
    ctx: typer.Context,
    as_json: AsJson = False,
    control_plane: Annotated[
        bool, typer.Option("--control-plane", help="Show what a control plane started here would use instead.")
    ] = False,
    file: Annotated[str, typer.Option("--config", help="With --control-plane: its settings file.")] = "",
) -> None:
    """Show every setting, where its value comes from, and the profiles. Secrets are masked."""
    session = session_of(ctx, as_json=as_json)
    if control_plane:
        flags = [*(("--json",) if session.as_json else ()), *(("--config", file) if file else ())]
        program = find_program("orquanta-server", "server")
        shown = subprocess.run([program, "config", *flags], check=False, capture_output=True, text=True)
        sys.stdout.write(shown.stdout)
        sys.stderr.write(shown.stderr)
        raise typer.Exit(shown.returncode)
    path = str(session.environment.config_path)
    rows = _settings(session.connection)
    if session.as_json:
        settings = {name: {"value": v, "source": s.source, "place": s.place} for name, v, s in rows}
        profiles = {name: {"server": p.server, "email": p.email} for name, p in session.book.profiles.items()}
        session.output.document(
            {
                "path": path,
                "current": session.book.current,
                "settings": settings,
                "profiles": profiles,
            }
        )
        return
    session.output.table(
        ("setting", "value", "from"),
        [
            ("file", path, "ORQUANTA_CLI_CONFIG or default"),
            *((name, value or "-", f"{s.source.value} {s.place}".strip()) for name, value, s in rows),
        ],
        empty="",
    )
    session.output.say()
    session.output.table(
        ("profile", "server", "e-mail", ""),
        [
            (name, p.server, p.email, "current" if name == session.book.current else "")
            for name, p in sorted(session.book.profiles.items())
        ],
        empty="No profiles. Make one: orquanta login --server HOST:PORT --ca FILE --email YOU",
    )


def _settings(connection: Connection) -> list[tuple[str, str, Setting]]:
    return [
        ("profile", connection.profile.value, connection.profile),
        ("server", connection.server.value, connection.server),
        ("ca", _ca_summary(connection.ca), connection.ca),
        ("token", _MASK if connection.credential.value else "", connection.credential),
    ]


def _ca_summary(ca: Setting) -> str:
    """A path as it is; of a stored certificate its SHA-256 fingerprint."""
    if ca.source is not Source.PROFILE:
        return ca.value or "public authorities"
    try:
        fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(ca.value.strip())).hexdigest()
    except ValueError:
        return "several certificates" if ca.value.count("BEGIN CERTIFICATE") > 1 else "not a PEM certificate"
    return f"SHA-256 {fingerprint[:16]}…"


@config_commands.command()
def use(
    ctx: typer.Context,
    profile: Annotated[str, typer.Argument(metavar="PROFILE")],
    as_json: AsJson = False,
) -> None:
    """Make a profile the current one."""
    session = session_of(ctx, as_json=as_json)
    if profile not in session.book.profiles:
        known = ", ".join(sorted(session.book.profiles)) or "none"
        raise CommandError(
            f"there is no profile {profile!r}; there are: {known}", reason="NO_PROFILE", code=ExitCode.NOT_FOUND
        )
    save_profiles(session.environment.config_path, session.book.using(profile))
    if session.as_json:
        session.output.document({"current": profile})
    session.output.say(f"Using profile {profile} ({session.book.profiles[profile].server}).")


@config_commands.command()
def path(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print the path of the file of profiles."""
    session = session_of(ctx, as_json=as_json)
    if session.as_json:
        session.output.document({"path": str(session.environment.config_path)})
    session.output.say(str(session.environment.config_path))
