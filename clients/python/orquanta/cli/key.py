"""`orquanta key`: API keys for programs."""

from typing import Annotated

import typer

from orquanta.cli.formats import moment, relative
from orquanta.cli.options import AsJson, Limit, RequestId, first, page_size, parse_span
from orquanta.cli.session import session_of

key_commands = typer.Typer(no_args_is_help=True, help="API keys: credentials for programs.")


@key_commands.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    lifetime: Annotated[str, typer.Option("--lifetime", help="How long it can be used; 365d at most.")] = "30d",
    for_agent: Annotated[
        bool, typer.Option("--for-agent", help="For an agent: it may propose in your name, but never approve.")
    ] = False,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Make an API key for yourself. Its secret is printed once, alone on stdout."""
    session = session_of(ctx, as_json=as_json)
    span = parse_span(lifetime)
    with session.connect() as client:
        created = client.auth.create_api_key(name, lifetime=span, for_agent=for_agent, request_id=request_id or None)
    if session.as_json:
        session.output.document(created)
        return
    session.output.note(f"Key {created.api_key.id}, until {moment(created.api_key.expires_at)}. It is not shown again:")
    session.output.say(created.secret)


@key_commands.command("list")
def list_keys(ctx: typer.Context, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List your API keys, newest first, without their secrets."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        keys = first(client.auth.list_api_keys(page_size=page_size(limit)), limit)
    if session.as_json:
        session.output.document({"api_keys": keys})
        return
    session.output.table(
        ("key", "name", "for", "made", "usable until", "revoked"),
        [
            (
                key.id,
                key.name,
                "an agent" if key.for_agent else "a person",
                relative(key.created_at),
                relative(key.expires_at),
                relative(key.revoked_at),
            )
            for key in keys
        ],
        empty="No API keys.",
    )


@key_commands.command()
def revoke(
    ctx: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, k-...")],
    as_json: AsJson = False,
) -> None:
    """Make an API key unusable: your own, or anybody's for an admin."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        key = client.auth.revoke_api_key(key_id)
    if session.as_json:
        session.output.document(key)
    session.output.say(f"{key.id} revoked.")
