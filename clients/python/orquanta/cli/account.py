"""`orquanta login`, `logout`, `whoami`, `passwd`."""

import getpass
import socket
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.formats import moment, money, trouble
from orquanta.cli.options import AsJson
from orquanta.cli.passwords import new_password, password
from orquanta.cli.profiles import Profile, check_name, save_profiles
from orquanta.cli.session import Session, open_client, session_of
from orquanta.errors import NotFound, Unauthenticated
from orquanta.types.accounts import NewApiKey

if TYPE_CHECKING:
    from orquanta import Client

_KEY_LIFETIME = timedelta(days=30)
_DEFAULT_PROFILE = "default"

ServerOption = Annotated[str, typer.Option("--server", help="HOST:PORT of the control plane.")]
CaOption = Annotated[str, typer.Option("--ca", help="The server's CA certificate, a PEM file.")]
EmailOption = Annotated[str, typer.Option("--email", "-e", help="Your e-mail address.")]
ProfileOption = Annotated[str, typer.Option("--profile", help="Keep it under this name.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]


def login(
    ctx: typer.Context,
    server: ServerOption = "",
    ca: CaOption = "",
    email: EmailOption = "",
    profile: ProfileOption = "",
    password_stdin: PasswordStdin = False,
    as_json: AsJson = False,
) -> None:
    """Log in: makes an API key for this machine, valid for 30 days, and keeps it in a profile."""
    session = session_of(ctx, as_json=as_json)
    known = session.connection
    address = server or known.server.value
    if not address:
        raise typer.BadParameter("name the server with --server HOST:PORT")
    name = check_name(profile or known.profile.value or _DEFAULT_PROFILE)
    pem = _read_pem(ca) if ca else _known_pem(session, address)
    stored = session.book.profiles.get(name, Profile())
    who = email or (stored.email if stored.server == address else "") or _ask_email(session)
    secret = password(from_stdin=password_stdin, prompt=f"Password of {who}")
    with open_client(address, "", pem.encode() or None) as client:
        client.auth.login(who, secret)
        created = make_key(client)
    store_profile(session, name, address, pem, who, created)
    if session.as_json:
        session.output.document({"profile": name, "server": address, "email": who, "api_key": created.api_key})
    session.output.say(f"Logged in to {address} as {who}, until {moment(created.api_key.expires_at)}. Profile: {name}.")


def make_key(client: "Client") -> NewApiKey:
    """An API key named after this person and machine."""
    return client.auth.create_api_key(key_name(), lifetime=_KEY_LIFETIME)


def key_name() -> str:
    """What a key made here is called, so that its owner knows which machine to think of."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "user"
    return f"{user}@{socket.gethostname()}"


def store_profile(session: Session, name: str, server: str, pem: str, email: str, created: NewApiKey) -> None:
    """Keep the key in a profile and make that the current one."""
    stored = Profile(
        server=server,
        ca_certificate=pem,
        email=email,
        api_key=created.secret,
        api_key_id=created.api_key.id,
    )
    session.book = session.book.with_profile(name, stored, use=True)
    save_profiles(session.environment.config_path, session.book)


def logout(
    ctx: typer.Context,
    local: Annotated[
        bool, typer.Option("--local", help="Only forget the key here; it stays valid on the server.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Revoke the profile's API key and forget it."""
    session = session_of(ctx, as_json=as_json)
    name = session.connection.profile.value
    stored = session.book.profiles.get(name)
    if stored is None or not stored.api_key:
        raise CommandError(
            "this profile holds no API key; you are logged out", reason="NOT_LOGGED_IN", code=ExitCode.NOT_ALLOWED
        )
    if not local:
        with open_client(stored.server, stored.api_key, stored.ca_certificate.encode() or None) as client:
            try:
                client.auth.revoke_api_key(stored.api_key_id)
            except (Unauthenticated, NotFound):
                session.output.note("The server does not know the key any more.")
    forgotten = Profile(server=stored.server, ca_certificate=stored.ca_certificate, email=stored.email)
    save_profiles(session.environment.config_path, session.book.with_profile(name, forgotten, use=False))
    if session.as_json:
        session.output.document({"profile": name, "server": stored.server, "revoked": not local})
    session.output.say(f"Logged out of {stored.server}.")


def whoami(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the account behind your credentials, and its budget."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        user = client.auth.who_am_i()
    if session.as_json:
        session.output.document(user)
        return
    session.output.fields(
        [
            ("e-mail", user.email),
            ("role", user.role),
            ("team", user.team),
            ("id", user.id),
            ("server", session.connection.server.value),
            ("profile", session.connection.profile.value),
            ("budget", "no limit" if user.budget_usd is None else money(user.budget_usd)),
            ("spent", money(user.spent_usd)),
            ("reserved", money(user.reserved_usd)),
            ("max GPUs", "" if user.max_gpus is None else str(user.max_gpus)),
        ]
    )


def passwd(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Change your password. Asks for the old and the new one."""
    session = session_of(ctx, as_json=as_json)
    old = password(from_stdin=False, prompt="Password so far")
    new = new_password(from_stdin=False)
    with session.connect() as client:
        client.auth.change_password(old, new)
    if session.as_json:
        session.output.document({"changed": True})
    session.output.say("Password changed.")


def _read_pem(path: str) -> str:
    try:
        return Path(path).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--ca {path} cannot be read: {trouble(error)}") from error


def _known_pem(session: Session, address: str) -> str:
    """The CA that is already known for that server, so that a second login need not name it."""
    known = session.connection
    if known.server.value == address and known.ca.value:
        certificate = known.ca_certificate
        return certificate.decode() if isinstance(certificate, bytes) else _read_pem(known.ca.value)
    same = (p.ca_certificate for p in session.book.profiles.values() if p.server == address)
    return next(filter(None, same), "")


def _ask_email(session: Session) -> str:
    if not session.output.interactive:
        raise typer.BadParameter("name yourself with --email")
    return str(typer.prompt("E-mail", err=True))
