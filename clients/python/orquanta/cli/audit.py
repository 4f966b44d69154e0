"""`orquanta audit`: who decided what, and why."""

from typing import Annotated

import typer

from orquanta.cli.formats import moment, money, now, or_dash
from orquanta.cli.options import AsJson, Limit, first, page_size, parse_span
from orquanta.cli.session import session_of

audit_commands = typer.Typer(no_args_is_help=True, help="The audit: who decided what, and why.")


@audit_commands.command("list")
def list_records(
    ctx: typer.Context,
    goal: Annotated[str, typer.Option("--goal", help="Only records of this goal.")] = "",
    job: Annotated[str, typer.Option("--job", help="Only records of this job.")] = "",
    node: Annotated[str, typer.Option("--node", help="Only records of this node.")] = "",
    agent: Annotated[str, typer.Option("--by", help="Only records of this agent or e-mail.")] = "",
    action: Annotated[str, typer.Option("--action", help="Only records of this action.")] = "",
    since: Annotated[str, typer.Option("--since", help="Only the last 15m, 8h, 7d, ...")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List audit records, newest first."""
    session = session_of(ctx, as_json=as_json)
    begin = now() - parse_span(since) if since else None
    with session.connect() as client:
        found = client.audit.list(
            goal_id=goal,
            job_id=job,
            node_id=node,
            agent_name=agent,
            action_id=action,
            since=begin,
            page_size=page_size(limit),
        )
        records = first(found, limit)
    if session.as_json:
        session.output.document({"records": records})
        return
    session.output.table(
        ("when", "who", "what", "outcome", "money", "about", "why"),
        [
            (
                moment(record.created_at),
                record.agent_name,
                record.action,
                record.outcome,
                money(record.cost_impact_usd) if record.cost_impact_usd else "-",
                or_dash(record.job_id or record.goal_id or record.node_id or record.action_id),
                record.reasoning,
            )
            for record in records
        ],
        empty="No audit records.",
    )
