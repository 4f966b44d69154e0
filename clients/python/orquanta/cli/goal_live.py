"""Following a goal: a table that is redrawn on a terminal, a line for each change elsewhere."""

from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import typer

from orquanta.cli.exits import ExitCode
from orquanta.cli.formats import elapsed, money, now, one_line, words
from orquanta.cli.goal_views import JOB_COLUMNS, job_rows, next_steps, plan_notes
from orquanta.cli.output import Output
from orquanta.types.goals import GoalState, GoalView

if TYPE_CHECKING:
    from orquanta import Client

_TEXT_WIDTH = 100


def follow_goal(output: Output, client: "Client", goal_id: str, *, stream_json: bool) -> GoalView:
    """Show the goal until it has ended or has a question; returns it as it is then.

    With `stream_json`, each change is one JSON line. Ctrl-C stops the watching, not the goal.
    """
    if output.as_json:
        show: Callable[[GoalView], None] = output.record if stream_json else _ignore
    else:
        show = _Changes(output).show
    try:
        with closing(client.goals.watch(goal_id)) as views:
            if output.terminal:
                _draw(views)
            else:
                for view in views:
                    show(view)
                    if view.goal.state is GoalState.NEEDS_INPUT:
                        break
    except KeyboardInterrupt:
        output.note(f"The goal goes on; watch it with: orquanta goal watch {goal_id}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    return client.goals.get(goal_id)


def _draw(views: Generator[GoalView, None, None]) -> None:
    from orquanta.cli.drawing import LiveTable  # noqa: PLC0415 - rich is needed on a terminal only

    with LiveTable() as live:
        for view in views:
            live.update(partial(_head, view), JOB_COLUMNS, partial(job_rows, view.jobs))
            if view.goal.state is GoalState.NEEDS_INPUT:
                break


def _head(view: GoalView) -> list[str]:
    goal = view.goal
    end = goal.updated_at if goal.state.ended else None
    spent = f"{money(goal.bill.cost_usd)} spent, {money(goal.bill.reserved_usd)} reserved"
    return [
        f"{goal.id}  {one_line(goal.text, _TEXT_WIDTH)}",
        f"{words(goal.state)}  {elapsed(goal.created_at, end)}  {spent}  {one_line(goal.status_reason)}".rstrip(),
        *plan_notes(goal),
        *([] if goal.state is GoalState.NEEDS_INPUT else next_steps(goal)),
    ]


class _Changes:
    """Says what changed since the last view, a line each."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._known: dict[str, tuple[str, str]] = {}
        self._noted: tuple[str, ...] = ()

    def show(self, view: GoalView) -> None:
        goal = view.goal
        self._say(goal.id, "goal", goal.state, goal.status_reason)
        if plan_notes(goal) not in ((), self._noted):
            self._noted = plan_notes(goal)
            for note in self._noted:
                self._output.say(f"{now().astimezone():%H:%M:%S} {note}")
        for job in view.jobs:
            self._say(job.id, f"job {job.spec.name}".rstrip(), job.state, job.status_reason)

    def _say(self, thing_id: str, title: str, state: str, reason: str) -> None:
        if self._known.get(thing_id) != (state, reason):
            self._known[thing_id] = (state, reason)
            line = f"{now().astimezone():%H:%M:%S} {title} {thing_id} {words(state)}"
            self._output.say(f"{line}: {one_line(reason)}" if reason else line)


def _ignore(_view: GoalView) -> None:
    """Say nothing until the end."""
