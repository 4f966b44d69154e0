"""`orquanta node token`: the tokens with which hosts join."""

from typing import Annotated

import typer

from orquanta.cli.formats import moment, or_dash, relative
from orquanta.cli.options import AsJson, Limit, RequestId, first, page_size, parse_pairs, parse_span
from orquanta.cli.session import session_of
from orquanta.types.nodes import JoinToken

token_commands = typer.Typer(no_args_is_help=True, help="Join tokens: how a host becomes a node.")


@token_commands.command("create")
def create_token(
    ctx: typer.Context,
    lifetime: Annotated[str, typer.Option("--lifetime", help="How long it can be used: 15m, 8h, 7d at most.")] = "1h",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="A label for the node.")
    ] = None,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Make a one-time token, and print the command with which a host joins."""
    session = session_of(ctx, as_json=as_json)
    span, labels = parse_span(lifetime), parse_pairs(label, "label")
    with session.connect() as client:
        created = client.nodes.create_join_token(lifetime=span, labels=labels, request_id=request_id or None)
    if session.as_json:
        session.output.document(created)
        return
    session.output.note(
        f"Token {created.join_token.id}, for one host, until {moment(created.join_token.expires_at)}. "
        "It is not shown again. On the host, run:"
    )
    session.output.say(f"orquanta-node join --server {created.server} --token {created.secret}")


@token_commands.command("list")
def list_tokens(ctx: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List join tokens, newest first, without their secrets."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        tokens = first(client.nodes.list_join_tokens(page_size=page_size(limit)), limit)
    if session.as_json:
        session.output.document({"join_tokens": tokens})
        return
    session.output.table(
        ("token", "made by", "made", "usable until", "used by", "revoked"),
        [
            (
                token.id,
                token.created_by,
                relative(token.created_at),
                relative(token.expires_at),
                or_dash(token.used_by_node_id),
                relative(token.revoked_at),
            )
            for token in tokens
        ],
        empty="No join tokens.",
    )


@token_commands.command("revoke")
def revoke_token(
    ctx: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="The token's id, t-...")],
    as_json: AsJson = False,
) -> None:
    """Make a join token unusable."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        token: JoinToken = client.nodes.revoke_join_token(token_id)
    if session.as_json:
        session.output.document(token)
    session.output.say(f"{token.id} revoked.")
