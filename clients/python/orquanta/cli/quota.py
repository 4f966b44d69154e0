"""`orquanta quota`: what teams are entitled to, what they hold, and who is in them."""

from typing import Annotated

import typer

from orquanta.cli.formats import or_dash
from orquanta.cli.options import AsJson, RequestId
from orquanta.cli.session import session_of
from orquanta.types.queues import Quota

quota_commands = typer.Typer(
    no_args_is_help=True, help="Quotas: what teams are entitled to, what they hold, and who is in them."
)

_GPUS_MAX = 1_000_000

Team = Annotated[str, typer.Argument(metavar="TEAM", help="The team's path, for example research/nlp.")]


@quota_commands.command("list")
def list_quotas(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the teams with what they hold, have borrowed and wait for."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        found = client.quotas.list()
    if session.as_json:
        session.output.document(found)
        return
    session.output.table(
        ("team", "weight", "guaranteed", "at most", "held", "borrowed", "waiting", "runs", "waits", "share", "members"),
        [
            (
                one.team or "(no team)",
                f"{one.weight:g}",
                str(one.guaranteed_gpus),
                "-" if one.max_gpus is None else str(one.max_gpus),
                f"{one.held_gpus:g}",
                f"{one.borrowed_gpus:g}",
                f"{one.waiting_gpus:g}",
                str(one.running_jobs),
                str(one.waiting_jobs),
                f"{one.dominant_share:.2f}",
                or_dash(", ".join(one.members)),
            )
            for one in found.quotas
        ],
        empty="No teams. Make one with: orquanta quota set TEAM --guaranteed 8",
    )
    session.output.say(f"{found.fleet_gpus:g} GPUs are in service; {found.guaranteed_gpus} are guaranteed to teams.")
    if found.guaranteed_gpus > found.fleet_gpus:
        session.output.note("More is guaranteed than there is: not every team can get back what is its own at once.")


@quota_commands.command("set")
def set_quota(
    ctx: typer.Context,
    team: Team,
    weight: Annotated[
        float | None,
        typer.Option("--weight", help="Its weight among the teams beside it, from 0.001 to 1000; 1 at first."),
    ] = None,
    guaranteed: Annotated[
        int | None,
        typer.Option("--guaranteed", min=0, max=_GPUS_MAX, help="GPUs that it gets back whenever it needs them."),
    ] = None,
    most: Annotated[
        int | None, typer.Option("--max", min=0, max=_GPUS_MAX, help="GPUs that it may hold at most.")
    ] = None,
    no_max: Annotated[bool, typer.Option("--no-max", help="Take the limit away.")] = False,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Make a team, or change what it is entitled to; what is not given stays as it is.

    Example: orquanta quota set research/nlp --guaranteed 8 --max 32 --weight 2
    """
    session = session_of(ctx, as_json=as_json)
    if most is not None and no_max:
        raise typer.BadParameter("give either --max or --no-max")
    with session.connect() as client:
        found = client.quotas.set(
            team,
            weight=weight,
            guaranteed_gpus=guaranteed,
            max_gpus=most,
            clear_max_gpus=no_max,
            request_id=request_id or None,
        )
    if session.as_json:
        session.output.document(found)
    session.output.say(_entitled(found))


@quota_commands.command()
def remove(ctx: typer.Context, team: Team, request_id: RequestId = "", as_json: AsJson = False) -> None:
    """Remove a team that has no members, no teams in it and no jobs."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        client.quotas.remove(team, request_id=request_id or None)
    if session.as_json:
        session.output.document({"team": team})
    session.output.say(f"{team} is gone.")


@quota_commands.command()
def assign(
    ctx: typer.Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The account's e-mail.")],
    team: Annotated[str, typer.Argument(metavar="[TEAM]", help="The team's path; out of every team if left out.")] = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Put an account into a team. Its waiting and running jobs stay with the team they began in."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        now = client.quotas.assign(email, team, request_id=request_id or None)
    if session.as_json:
        session.output.document({"email": email, "team": now})
    session.output.say(f"{email} is in {now}." if now else f"{email} is in no team.")


def _entitled(one: Quota) -> str:
    most = "no limit" if one.max_gpus is None else f"at most {one.max_gpus}"
    return (
        f"{one.team}: {one.guaranteed_gpus} GPUs guaranteed, {most}, weight {one.weight:g}; it holds {one.held_gpus:g}."
    )
