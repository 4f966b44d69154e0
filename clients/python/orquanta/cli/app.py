"""All commands, put together."""

from typing import Annotated

import typer

from orquanta import __version__
from orquanta.cli.account import login, logout, passwd, whoami
from orquanta.cli.action import action_commands
from orquanta.cli.agent import agent_commands
from orquanta.cli.audit import audit_commands
from orquanta.cli.config import config_commands
from orquanta.cli.cost import cost
from orquanta.cli.exits import EXIT_CODES_HELP
from orquanta.cli.gameday import gameday_commands
from orquanta.cli.goal import goal_commands
from orquanta.cli.grant import grant_commands
from orquanta.cli.help_lists import WholeSentences
from orquanta.cli.incident import incident_commands
from orquanta.cli.job import job_commands
from orquanta.cli.key import key_commands
from orquanta.cli.mcp import mcp
from orquanta.cli.memory import memory_commands
from orquanta.cli.metrics import metrics
from orquanta.cli.node import node_commands
from orquanta.cli.options import AsJson
from orquanta.cli.policy import policy_commands
from orquanta.cli.price import price_commands
from orquanta.cli.queue import queue
from orquanta.cli.quota import quota_commands
from orquanta.cli.replica import replica_commands
from orquanta.cli.session import Session, session_of
from orquanta.cli.settings import Flags, read_environment
from orquanta.cli.simulate import simulate
from orquanta.cli.tool import tool_commands
from orquanta.cli.up import up
from orquanta.cli.user import user_commands

app = typer.Typer(
    name="orquanta",
    cls=WholeSentences,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would cost a tenth of a second at every completion
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES_HELP,
)


@app.callback()
def main(
    ctx: typer.Context,
    profile: Annotated[str, typer.Option("--profile", "-p", help="Use this profile.")] = "",
    server: Annotated[str, typer.Option("--server", help="HOST:PORT; ORQUANTA_SERVER does the same.")] = "",
    ca: Annotated[str, typer.Option("--ca", help="CA certificate (PEM); ORQUANTA_CA does the same.")] = "",
    as_json: AsJson = False,
) -> None:
    """Run goals and jobs on a GPU fleet: `orquanta up` starts one, `orquanta goal submit` uses it."""
    ctx.obj = Session(
        environment=read_environment(),
        flags=Flags(server=server, ca_path=ca, profile=profile),
        as_json=as_json,
    )


@app.command()
def version(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print the version of this command line."""
    session = session_of(ctx, as_json=as_json)
    if session.as_json:
        session.output.document({"version": __version__})
    session.output.say(f"orquanta {__version__}")


app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(up)
app.command()(login)
app.command()(logout)
app.command()(whoami)
app.command()(passwd)
app.add_typer(goal_commands, name="goal", cls=WholeSentences)
app.add_typer(job_commands, name="job", cls=WholeSentences)
app.command()(queue)
app.command()(simulate)
app.command()(cost)
app.add_typer(quota_commands, name="quota", cls=WholeSentences)
app.add_typer(node_commands, name="node", cls=WholeSentences)
app.add_typer(incident_commands, name="incident", cls=WholeSentences)
app.add_typer(action_commands, name="action", cls=WholeSentences)
app.add_typer(grant_commands, name="grant", cls=WholeSentences)
app.add_typer(agent_commands, name="agent", cls=WholeSentences)
app.add_typer(replica_commands, name="replica", cls=WholeSentences)
app.add_typer(policy_commands, name="policy", cls=WholeSentences)
app.add_typer(memory_commands, name="memory", cls=WholeSentences)
app.add_typer(audit_commands, name="audit", cls=WholeSentences)
app.add_typer(user_commands, name="user", cls=WholeSentences)
app.add_typer(key_commands, name="key", cls=WholeSentences)
app.add_typer(price_commands, name="price", cls=WholeSentences)
app.add_typer(tool_commands, name="tool", cls=WholeSentences)
app.command()(mcp)
app.command()(metrics)
app.add_typer(config_commands, name="config", cls=WholeSentences)
app.add_typer(gameday_commands, name="gameday", cls=WholeSentences)
