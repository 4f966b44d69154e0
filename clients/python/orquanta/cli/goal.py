"""`orquanta goal`: what a person wants done, in plain words."""

import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orquanta.cli.exits import CommandError, ExitCode, code_for_goal
from orquanta.cli.formats import money, one_line, relative, trouble, words
from orquanta.cli.goal_live import follow_goal
from orquanta.cli.goal_views import plan_notes, print_goal
from orquanta.cli.options import (
    AsJson,
    Limit,
    Reason,
    RequestId,
    States,
    first,
    page_size,
    parse_pairs,
    parse_states,
)
from orquanta.cli.plan_views import print_preview
from orquanta.cli.session import Session, session_of
from orquanta.cli.settings import local_timezone
from orquanta.types.goals import Goal, GoalState, GoalView

if TYPE_CHECKING:
    from orquanta import Client

goal_commands = typer.Typer(no_args_is_help=True, help="Goals: what you want done on GPUs, in plain words.")

_TEXT_WIDTH = 60
_MAX_FILE_BYTES = 1024 * 1024  # servers take 20,000 characters; this only keeps a wrong file out of memory

GoalId = Annotated[str, typer.Argument(metavar="GOAL", help="The goal's id, g-...")]


@goal_commands.command()
def submit(
    ctx: typer.Context,
    text: Annotated[list[str] | None, typer.Argument(help="The goal in plain words.")] = None,
    file: Annotated[str, typer.Option("--file", "-f", help="Read the goal from a file; - for standard input.")] = "",
    budget: Annotated[str, typer.Option("--budget", help="Spend at most this many US dollars.")] = "",
    timezone: Annotated[
        str, typer.Option("--timezone", help="Zone of times of day in the text; this machine's by default.")
    ] = "",
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for the end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show how the goal is understood; run nothing.")] = False,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Submit a goal and follow it to its end, with result and bill.

    Ctrl-C detaches: the goal goes on.
    """
    session = session_of(ctx, as_json=as_json)
    wanted = _read_text(text, file)
    zone = timezone or local_timezone()
    with session.connect() as client:
        if dry_run:
            preview = client.goals.preview(wanted, timezone=zone)
            if session.as_json:
                session.output.document(preview)
            else:
                print_preview(session.output, preview)
            plan = preview.plan
            raise typer.Exit(
                ExitCode.REFUSED if plan.refusal else ExitCode.NEEDS_INPUT if plan.questions else ExitCode.OK
            )
        goal = client.goals.create(
            wanted, budget_usd=_read_budget(budget), timezone=zone, request_id=request_id or None
        )
        if detach:
            _print_detached(session, client, goal)
        else:
            _follow(session, client, goal.id, stream_json=False)


@goal_commands.command()
def watch(ctx: typer.Context, goal_id: GoalId, as_json: AsJson = False) -> None:
    """Follow a goal to its end. With --json: one line for each change."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        _follow(session, client, goal_id, stream_json=True)


@goal_commands.command()
def show(ctx: typer.Context, goal_id: GoalId, as_json: AsJson = False) -> None:
    """Show a goal with its plan, jobs and bill."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        _print_view(session, client.goals.get(goal_id))


@goal_commands.command("list")
def list_goals(
    ctx: typer.Context,
    state: States = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only your own.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List goals, newest first."""
    session = session_of(ctx, as_json=as_json)
    states = parse_states(GoalState, state)
    with session.connect() as client:
        user_id = client.auth.who_am_i().id if mine else ""
        goals = first(client.goals.list(states=states, user_id=user_id, page_size=page_size(limit)), limit)
    if session.as_json:
        session.output.document({"goals": goals})
        return
    session.output.table(
        ("goal", "state", "text", "by", "cost", "changed"),
        [
            (
                goal.id,
                words(goal.state),
                one_line(goal.text, _TEXT_WIDTH),
                goal.user_email,
                money(goal.bill.cost_usd),
                relative(goal.updated_at),
            )
            for goal in goals
        ],
        empty="No goals. Submit one: orquanta goal submit 'benchmark one H100'",
    )


@goal_commands.command()
def answer(
    ctx: typer.Context,
    goal_id: GoalId,
    answers: Annotated[list[str] | None, typer.Argument(metavar="FIELD=ANSWER...")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for the end.")] = False,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Answer the questions of a goal, then follow it. Asks on a terminal if no answers are given."""
    session = session_of(ctx, as_json=as_json)
    given = parse_pairs(answers, "answer")
    with session.connect() as client:
        given = given or _ask(session, client.goals.get(goal_id).goal)
        goal = client.goals.answer(goal_id, given, request_id=request_id or None)
        if detach:
            _print_detached(session, client, goal)
        else:
            _follow(session, client, goal.id, stream_json=False)


@goal_commands.command()
def cancel(
    ctx: typer.Context, goal_id: GoalId, reason: Reason = "", request_id: RequestId = "", as_json: AsJson = False
) -> None:
    """Cancel a goal and every job of it that has not ended."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        goal = client.goals.cancel(goal_id, reason=reason, request_id=request_id or None)
    if session.as_json:
        session.output.document(goal)
    session.output.say(f"{goal.id} {words(goal.state)}. {goal.status_reason}".rstrip())


def _follow(session: Session, client: "Client", goal_id: str, *, stream_json: bool) -> None:
    """Follow to the end, asking a person's answers on the way; exits with the goal's code."""
    view = follow_goal(session.output, client, goal_id, stream_json=stream_json)
    while view.goal.state is GoalState.NEEDS_INPUT and session.output.interactive:
        client.goals.answer(goal_id, _ask(session, view.goal))
        view = follow_goal(session.output, client, goal_id, stream_json=stream_json)
    if not (session.as_json and stream_json):
        _print_view(session, view)
    raise typer.Exit(code_for_goal(view.goal.state))


def _ask(session: Session, goal: Goal) -> dict[str, str]:
    questions = goal.plan.questions if goal.plan else ()
    if not questions:
        raise CommandError(
            f"goal {goal.id} has no open question; it is {words(goal.state)}",
            reason="NO_QUESTION",
            code=ExitCode.REFUSED,
        )
    if not session.output.interactive:
        raise CommandError(
            "give the answers: "
            f"orquanta goal answer {goal.id} " + " ".join(f"{question.field}=..." for question in questions),
            reason="NEEDS_INPUT",
            code=ExitCode.NEEDS_INPUT,
        )
    return {question.field: str(typer.prompt(one_line(question.text))) for question in questions}


def _print_view(session: Session, view: GoalView) -> None:
    if session.as_json:
        session.output.document(view)
    else:
        print_goal(session.output, view)


def _print_detached(session: Session, client: "Client", goal: Goal) -> None:
    if session.as_json:
        session.output.document(client.goals.get(goal.id))
    elif code_for_goal(goal.state) is ExitCode.OK:
        session.output.say(f"{goal.id} {words(goal.state)}")
        for note in plan_notes(goal):
            session.output.note(note)
        if goal.state.ended:
            session.output.note(f"Its result: orquanta goal show {goal.id}")
        else:
            session.output.note(f"Follow it with: orquanta goal watch {goal.id}")
    else:
        print_goal(session.output, client.goals.get(goal.id))
    raise typer.Exit(code_for_goal(goal.state))


def _read_text(words_given: list[str] | None, file: str) -> str:
    if bool(words_given) == bool(file):
        raise typer.BadParameter("give the goal either as words or with --file")
    if words_given:
        return " ".join(words_given)
    try:
        if file == "-":
            text = sys.stdin.read(_MAX_FILE_BYTES + 1)
        else:
            with Path(file).open() as source:
                text = source.read(_MAX_FILE_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {trouble(error)}") from error
    if not text.strip() or len(text) > _MAX_FILE_BYTES:
        raise typer.BadParameter(f"{file} is empty or far too long for a goal (20,000 characters)")
    return text


def _read_budget(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise typer.BadParameter(f"--budget {text!r} is not an amount of US dollars, such as 40 or 12.50")
    return amount
