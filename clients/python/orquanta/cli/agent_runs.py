"""`orquanta agent runs|run|watch|stop`: what agents think and do, live and afterwards."""

import sys
from contextlib import closing
from typing import Annotated

import typer

from orquanta.cli.diagnosis_views import print_diagnosis
from orquanta.cli.exits import ExitCode
from orquanta.cli.formats import clean, elapsed, money, one_line, or_dash, relative, short, words
from orquanta.cli.options import AsJson, Limit, Reason, States, first, page_size, parse_states
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.runs import ReasoningEvent, Run, RunState

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, `run-...`.")]
OfGoal = Annotated[str, typer.Option("--goal", help="Only runs of this goal.")]
OfAgent = Annotated[str, typer.Option("--agent", help="Only runs of this agent.")]
_DELTA = "model.delta"


def add_run_commands(commands: typer.Typer) -> None:
    """Put the commands about runs among those about agents."""
    commands.command("runs")(list_runs)
    commands.command("run")(show_run)
    commands.command()(watch)
    commands.command()(stop)


def list_runs(
    ctx: typer.Context,
    goal: OfGoal = "",
    agent: OfAgent = "",
    state: States = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List reasoning runs, newest first; `agent run` shows one with its whole result.

    Example: orquanta agent runs --state running --state watching
    """
    session = session_of(ctx, as_json=as_json)
    states = parse_states(RunState, state)
    with session.connect() as client:
        found = client.agents.runs(goal_id=goal, agent_name=agent, states=states, page_size=page_size(limit))
        runs = first(found, limit)
    if session.as_json:
        session.output.document({"runs": runs})
        return
    session.output.table(
        ("run", "agent", "goal", "state", "by", "turns", "calls", "model cost", "took", "started", "result"),
        [
            (
                run.id,
                run.agent_name,
                or_dash(run.goal_id),
                words(run.state),
                run.reasoner,
                str(run.used.turns),
                str(run.used.tool_calls),
                money(run.used.cost_usd),
                elapsed(run.started_at, run.finished_at),
                relative(run.started_at),
                or_dash(short(run.result or run.status_reason)),
            )
            for run in runs
        ],
        empty="No runs.",
    )


def show_run(ctx: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Show a run: what it used, what it came to, and everything that it thought and did."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        view = client.agents.run(run_id)
    if session.as_json:
        session.output.document(view)
        return
    _print_run(session.output, view.run)
    session.output.say()
    for event in view.events:
        session.output.say(_line(event))


def watch(
    ctx: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="[RUN]", help="One run; without, all that happens from now.")] = "",
    goal: OfGoal = "",
    agent: OfAgent = "",
    deltas: Annotated[bool, typer.Option("--deltas", help="Also show what a model writes while it writes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Follow what agents think and do. A run's stream ends with the run; others go on until Ctrl-C.

    Lines marked with ~ hold words that strangers wrote: logs, names, memories.

    Example: orquanta agent watch --goal g-0123456789ab --deltas
    """
    session = session_of(ctx, as_json=as_json)
    writing = False
    with (
        session.connect() as client,
        closing(client.agents.watch(run_id=run_id, goal_id=goal, agent_name=agent, deltas=deltas)) as events,
    ):
        for event in events:
            if session.as_json:
                session.output.record(event)
                continue
            if event.type == _DELTA:
                sys.stdout.write(clean(event.message))
                sys.stdout.flush()
                writing = True
                continue
            session.output.say(("\n" if writing else "") + _line(event))
            writing = False


def stop(ctx: typer.Context, run_id: RunId, reason: Reason = "", as_json: AsJson = False) -> None:
    """End a run at its next step; what it has done stays done.

    Jobs that it has launched go on: `orquanta goal cancel` stops those.
    """
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        run = client.agents.stop_run(run_id, reason=reason)
    if session.as_json:
        session.output.document(run)
    else:
        session.output.say(f"{run.id} {words(run.state)}; it ends at its next step." if not run.state.ended else run.id)
    if run.state.ended and run.state is not RunState.STOPPED:
        session.output.note(f"{run.id} had {words(run.state)} already.")
        raise typer.Exit(ExitCode.REFUSED)


def _print_run(output: Output, run: Run) -> None:
    output.fields(
        [
            ("run", run.id),
            ("agent", run.agent_name),
            ("goal", run.goal_id),
            ("incident", run.incident_id),
            ("state", words(run.state)),
            ("because", run.status_reason),
            ("decided by", run.reasoner),
            ("read strangers' words", "yes: its changes need an approval" if run.tainted else ""),
            ("took", elapsed(run.started_at, run.finished_at)),
            ("turns", f"{run.used.turns} of {run.limits.turns}"),
            ("tool calls", f"{run.used.tool_calls} of {run.limits.tool_calls}"),
            ("tokens", f"{run.used.input_tokens:,} in, {run.used.output_tokens:,} out"),
            ("model cost", f"{money(run.used.cost_usd)} of {money(run.limits.cost_usd)}"),
            ("result", run.result),
        ]
    )
    if run.diagnosis is not None:
        output.say()
        print_diagnosis(output, run.diagnosis)


def _line(event: ReasoningEvent) -> str:
    when = "" if event.created_at is None else f"{event.created_at.astimezone():%H:%M:%S} "
    mark = "~" if event.tainted else " "
    cited = f" [{', '.join(event.evidence_ids)}]" if event.evidence_ids else ""
    return f"{when}{event.run_id}{mark}{event.type}: {one_line(event.message)}{cited}"
