"""`orquanta agent`: the loops that propose actions."""

from typing import Annotated

import typer

from orquanta.cli.formats import or_dash, relative, words
from orquanta.cli.options import AsJson, Reason
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.agents import Agent

agent_commands = typer.Typer(no_args_is_help=True, help="Agents: the loops that propose actions.")

AgentName = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")]


@agent_commands.command("list")
def list_agents(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the agents and what they are doing."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        agents = client.agents.list()
    if session.as_json:
        session.output.document({"agents": agents})
        return
    session.output.table(
        ("agent", "status", "last action", "last error", "changed"),
        [
            (
                agent.name,
                "paused" if agent.paused else words(agent.status),
                or_dash(agent.last_action),
                or_dash(agent.last_error),
                relative(agent.updated_at),
            )
            for agent in agents
        ],
        empty="No agents.",
    )


@agent_commands.command()
def pause(ctx: typer.Context, name: AgentName, reason: Reason = "", as_json: AsJson = False) -> None:
    """Pause an agent: it proposes nothing until resumed."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        _print_agent(session.output, client.agents.pause(name, reason=reason))


@agent_commands.command()
def resume(ctx: typer.Context, name: AgentName, reason: Reason = "", as_json: AsJson = False) -> None:
    """Resume a paused agent."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        _print_agent(session.output, client.agents.resume(name, reason=reason))


def _print_agent(output: Output, agent: Agent) -> None:
    if output.as_json:
        output.document(agent)
    output.say(f"{agent.name} {'paused' if agent.paused else words(agent.status)}.")
