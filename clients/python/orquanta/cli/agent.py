"""`orquanta agent`: the loops that propose actions."""

from typing import Annotated

import typer

from orquanta.cli.formats import money, or_dash, relative, words
from orquanta.cli.options import AsJson, Reason
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.agents import Agent

agent_commands = typer.Typer(no_args_is_help=True, help="Agents: the loops that propose actions.")

AgentName = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")]

_BREAKER_WORDS = {"closed": "in use", "open": "left alone", "half_open": "being tried"}


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
def models(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the models to reason with, what they can do, and what was used today."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        status = client.agents.models()
    if session.as_json:
        session.output.document(status)
        return
    session.output.table(
        ("endpoint", "model", "address", "asked by", "tools", "streams", "state", "calls", "failed", "last error"),
        [
            (
                endpoint.name,
                endpoint.model,
                endpoint.base_url,
                words(endpoint.mode),
                "yes" if endpoint.tools else "no",
                "yes" if endpoint.streams else "no",
                _BREAKER_WORDS.get(endpoint.breaker, endpoint.breaker),
                str(endpoint.calls),
                str(endpoint.failures),
                or_dash(endpoint.last_error),
            )
            for endpoint in status.endpoints
        ],
        empty="No model is configured: everything goes by rules.",
    )
    session.output.say(
        f"{money(status.cost_today_usd)} and {status.tokens_today:,} tokens today (UTC); "
        f"at most {money(status.cost_per_day_usd)} a day for each user."
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
