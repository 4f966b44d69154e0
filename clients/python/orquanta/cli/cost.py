"""`orquanta cost`: what was spent on GPUs."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from orquanta.cli.formats import moment, money, now, or_dash
from orquanta.cli.options import AsJson, parse_span
from orquanta.cli.session import session_of
from orquanta.types.costs import CostKey

_LINES_MAX = 100
_HEADS = {CostKey.GPU_TYPE: "gpu"}


def cost(
    ctx: typer.Context,
    by: Annotated[CostKey, typer.Option("--by", help="Add up by this.")] = CostKey.USER,
    team: Annotated[str, typer.Option("--team", help="Only jobs of this team and the teams in it.")] = "",
    who: Annotated[str, typer.Option("--who", help="Only people whose address holds this.")] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Only your own.")] = False,
    since: Annotated[str, typer.Option("--since", help="What began in the last 8h, 7d, ..., or since a day.")] = "30d",
    until: Annotated[str, typer.Option("--until", help="What began before a day, or more than 8h, 7d, ... ago.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=_LINES_MAX, help="At most this many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Add up what was spent, the largest sums first: by person, team, goal, job, day or GPU model.

    An attempt of a job counts in the period in which it began, once it has ended. A job is of the team that its owner
    was in when it was submitted. Days are UTC.

    Example: orquanta cost --team research --by user --since 2026-10-01 --until 2026-11-01
    """
    session = session_of(ctx, as_json=as_json)
    if mine and who:
        raise typer.BadParameter("give either --mine or --who")
    begin = _parse_moment(since, "--since")
    end = _parse_moment(until, "--until") if until else None
    with session.connect() as client:
        found = client.costs.spent(by, team=team, who="me" if mine else who, since=begin, until=end, limit=limit)
    if session.as_json:
        session.output.document(found)
        return
    session.output.table(
        (_HEADS.get(by, by.value), "cost", "gpu hours", "attempts"),
        [(or_dash(one.key), money(one.cost_usd), f"{one.gpu_hours:.2f}", str(one.attempts)) for one in found.lines],
        empty="Nothing was spent.",
    )
    session.output.say()
    session.output.fields(
        [
            ("team", found.team),
            ("total", money(found.total_usd)),
            ("reserved", f"{money(found.reserved_usd)} for jobs that run or wait now" if found.reserved_usd else ""),
            ("since", moment(found.since)),
            ("until", moment(found.until) if until else ""),
        ]
    )


def _parse_moment(text: str, option: str) -> datetime:
    """A day or a time in ISO 8601 (UTC if it names no zone), or how long ago. Raises a usage error."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is not None:
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    try:
        return now() - parse_span(text)
    except (typer.BadParameter, OverflowError):
        raise typer.BadParameter(
            f"{option}: {text!r} is neither a day such as 2026-10-01 nor a duration such as 8h or 7d"
        ) from None
