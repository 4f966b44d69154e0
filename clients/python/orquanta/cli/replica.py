"""`orquanta replica`: the control planes of a fleet."""

import typer

from orquanta.cli.formats import elapsed, or_dash, relative
from orquanta.cli.options import AsJson
from orquanta.cli.session import session_of

replica_commands = typer.Typer(no_args_is_help=True, help="Replicas: the control planes that serve this fleet.")


@replica_commands.callback()
def _group() -> None:
    """Keep `list` a command of its own."""


@replica_commands.command("list")
def list_replicas(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the control planes: which one leads, and how many hosts are linked to each."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        found = client.agents.replicas()
    if session.as_json:
        session.output.document(found)
        return
    session.output.table(
        ("replica", "leads", "hosts", "people", "daemons", "version", "settings", "policies", "started", "heard"),
        [
            (
                one.name,
                "yes" if one.leads else "",
                str(one.links),
                one.server,
                one.link_server,
                one.version,
                one.settings_version,
                or_dash(one.policy_version[:12]),
                relative(one.started_at),
                "now" if one.silent_seconds < 2 else f"{one.silent_seconds:.0f} s ago",  # noqa: PLR2004 - two rounds
            )
            for one in found.replicas
        ],
        empty="One control plane, which is no replica.",
    )
    session.output.say(f"Epoch {found.control_epoch}, in force for {elapsed(found.leads_since, None)}.")
