"""`orquanta gameday`: scripted faults on a fleet of virtual hosts that is started for it, and a report."""

from typing import Annotated

import typer

from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.options import AsJson
from orquanta.cli.programs import find_program
from orquanta.cli.session import session_of

gameday_commands = typer.Typer(
    no_args_is_help=True,
    help="Game days: break virtual hosts on purpose, and see that the fleet mends them within its bounds.",
)


@gameday_commands.command("list")
def list_scenarios(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the scenarios, what each proves, and why one cannot be played here."""
    from orquanta.gameday.scenarios import SCENARIOS  # noqa: PLC0415 - no other command needs it

    session = session_of(ctx, as_json=as_json)
    found = [
        {"name": one.name, "title": one.title, "proves": one.proves, "obstacle": one.obstacle()}
        for one in SCENARIOS.values()
    ]
    if session.as_json:
        session.output.document({"scenarios": found})
        return
    for one in found:
        session.output.say(f"{one['name']:<20}{one['title']}")
        session.output.block(one["proves"], indent=20)
        if one["obstacle"]:
            session.output.block(f"not here: {one['obstacle']}", indent=20)


@gameday_commands.command()
def run(
    ctx: typer.Context,
    scenarios: Annotated[list[str] | None, typer.Argument(metavar="SCENARIO...", help="Which to play.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Play all of them.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the fleet's files, logs among them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play scenarios one after another, each on a fleet of its own, and print what held and what did not.

    The exit code is 0 only if all held. Ctrl-C stops everything; nothing is left behind.
    """
    from orquanta.cli.gameday_run import run_game_days  # noqa: PLC0415 - no other command needs it
    from orquanta.gameday.scenarios import SCENARIOS  # noqa: PLC0415

    session = session_of(ctx, as_json=as_json)
    names = list(SCENARIOS) if every else list(dict.fromkeys(scenarios or ()))
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown or not names:
        what = f"there is no scenario {', '.join(unknown)}" if unknown else "name a scenario, or --all"
        raise CommandError(f"{what}; there are {', '.join(SCENARIOS)}", reason="NO_SCENARIO", code=ExitCode.USAGE)
    for program, extra in (("orquanta-server", "server"), ("orquanta-node", "node")):
        find_program(program, extra)
    code = run_game_days(session.output, [SCENARIOS[name] for name in names], keep=keep)
    if code is not ExitCode.OK:
        raise typer.Exit(code)
