"""`orquanta grant`: approvals given beforehand."""

from decimal import Decimal
from typing import Annotated

import typer

from orquanta.cli.formats import moment, money, relative
from orquanta.cli.options import USD_MAX, AsJson, Limit, Reason, RequestId, first, page_size, parse_span
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.grants import Grant

grant_commands = typer.Typer(no_args_is_help=True, help="Grants: approvals given beforehand, with a budget and an end.")

GrantId = Annotated[str, typer.Argument(metavar="GRANT", help="The grant's id, gr-...")]


@grant_commands.command()
def create(
    ctx: typer.Context,
    kinds: Annotated[list[str], typer.Argument(metavar="KIND...", help="Kinds of action, for example repair_node.")],
    budget: Annotated[
        float, typer.Option("--budget", min=0, max=USD_MAX, help="US dollars that they may cost together.")
    ],
    uses: Annotated[int, typer.Option("--uses", min=1, max=1000, help="Actions that it may cover.")],
    lifetime: Annotated[str, typer.Option("--for", help="For how long, for example 8h; 7d at most.")] = "8h",
    user: Annotated[str, typer.Option("--user", help="Only requests of this user; everybody's but yours.")] = "",
    pool: Annotated[str, typer.Option("--pool", help="Only actions about nodes of this pool.")] = "",
    reason: Reason = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Approve actions of these kinds beforehand. It counts as one approval by you, never for your own requests.

    Example: orquanta grant create repair_node --budget 0 --uses 5 --for 8h --pool a100 --reason "night shift"
    """
    session = session_of(ctx, as_json=as_json)
    span = parse_span(lifetime)
    with session.connect() as client:
        grant = client.grants.create(
            kinds,
            budget_usd=Decimal(str(budget)),
            uses_max=uses,
            lifetime=span,
            user_id=user,
            pool=pool,
            reason=reason,
            request_id=request_id or None,
        )
    if session.as_json:
        session.output.document(grant)
    session.output.say(f"{grant.id} covers {_left(grant)} until {moment(grant.expires_at)}.")


@grant_commands.command("list")
def list_grants(
    ctx: typer.Context,
    ended: Annotated[bool, typer.Option("--all", "-a", help="Also those that have ended.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List grants, newest first."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        grants = first(client.grants.list(include_ended=ended, page_size=page_size(limit)), limit)
    if session.as_json:
        session.output.document({"grants": grants})
        return
    session.output.table(
        ("grant", "kinds", "by", "for", "pool", "uses", "money", "until", "revoked"),
        [
            (
                grant.id,
                ", ".join(grant.kinds),
                grant.granted_by,
                grant.user_id or "everybody",
                grant.pool or "all",
                f"{grant.uses} of {grant.uses_max}",
                f"{money(grant.used_usd)} of {money(grant.budget_usd)}",
                relative(grant.expires_at),
                relative(grant.revoked_at),
            )
            for grant in grants
        ],
        empty="No grants.",
    )


@grant_commands.command()
def show(ctx: typer.Context, grant_id: GrantId, as_json: AsJson = False) -> None:
    """Show a grant, and what is left of it."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        grant = client.grants.get(grant_id)
    if session.as_json:
        session.output.document(grant)
    else:
        _print_grant(session.output, grant)


@grant_commands.command()
def revoke(
    ctx: typer.Context, grant_id: GrantId, reason: Reason = "", request_id: RequestId = "", as_json: AsJson = False
) -> None:
    """Take a grant back at once; what it has approved stays approved."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        grant = client.grants.revoke(grant_id, reason=reason, request_id=request_id or None)
    if session.as_json:
        session.output.document(grant)
    session.output.say(f"{grant.id} revoked.")


def _left(grant: Grant) -> str:
    uses = grant.uses_max - grant.uses
    left = money(grant.budget_usd - grant.used_usd)
    return f"{uses} action{'' if uses == 1 else 's'} ({', '.join(grant.kinds)}) for at most {left}"


def _print_grant(output: Output, grant: Grant) -> None:
    output.fields(
        [
            ("grant", grant.id),
            ("given by", grant.granted_by),
            ("kinds", ", ".join(grant.kinds)),
            ("requests of", grant.user_id or f"everybody but {grant.granted_by}"),
            ("pool", grant.pool or "all"),
            ("left", _left(grant)),
            ("used", f"{grant.uses} of {grant.uses_max} actions, {money(grant.used_usd)} of {money(grant.budget_usd)}"),
            ("because", grant.reason),
            ("given", moment(grant.created_at)),
            ("until", moment(grant.expires_at)),
            ("revoked", moment(grant.revoked_at)),
            ("revoked by", grant.revoked_by),
        ]
    )
