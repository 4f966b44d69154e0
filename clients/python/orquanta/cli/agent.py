"""`orquanta agent`: the loops that propose actions."""

from collections.abc import Sequence
from typing import Annotated

import typer

from orquanta.cli.agent_runs import add_run_commands
from orquanta.cli.formats import money, or_dash, relative, words
from orquanta.cli.options import AsJson, Reason
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.agents import Agent

agent_commands = typer.Typer(
    no_args_is_help=True, help="Agents: the loops that propose actions, and their reasoning runs."
)

OptionalName = Annotated[str, typer.Argument(metavar="[AGENT]", help="The agent's name.")]
All = Annotated[bool, typer.Option("--all", help="Every agent.")]

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
def pause(
    ctx: typer.Context, name: OptionalName = "", every: All = False, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Pause an agent, or with --all every one: it proposes nothing until resumed."""
    session = session_of(ctx, as_json=as_json)
    _check_one(name, every=every)
    with session.connect() as client:
        found = client.agents.pause_all(reason=reason) if every else (client.agents.pause(name, reason=reason),)
    _print_agents(session.output, found, every=every)


@agent_commands.command()
def resume(
    ctx: typer.Context, name: OptionalName = "", every: All = False, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Resume a paused agent, or with --all every one."""
    session = session_of(ctx, as_json=as_json)
    _check_one(name, every=every)
    with session.connect() as client:
        found = client.agents.resume_all(reason=reason) if every else (client.agents.resume(name, reason=reason),)
    _print_agents(session.output, found, every=every)


def _check_one(name: str, *, every: bool) -> None:
    if bool(name) == every:
        raise typer.BadParameter("name one agent, or give --all")


def _print_agents(output: Output, agents: Sequence[Agent], *, every: bool) -> None:
    if output.as_json:
        output.document({"agents": agents} if every else agents[0])
        return
    for agent in agents:
        output.say(f"{agent.name} {'paused' if agent.paused else words(agent.status)}.")


add_run_commands(agent_commands)
