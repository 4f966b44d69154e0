"""`orquanta action`: what was proposed, approvals, and the kill switch."""

from typing import Annotated

import typer

from orquanta.cli.action_views import print_action, print_asked, print_waiting, still_needed
from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.formats import moment, money, or_dash, relative, short, words
from orquanta.cli.options import AsJson, Limit, Reason, RequestId, States, first, page_size, parse_states
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.actions import Action, ActionState, KillSwitch

action_commands = typer.Typer(no_args_is_help=True, help="Actions: what was proposed, approvals, the kill switch.")

ActionId = Annotated[str, typer.Argument(metavar="ACTION", help="The action's id, act-...")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@action_commands.command("list")
def list_actions(
    ctx: typer.Context,
    state: States = None,
    waiting: Annotated[bool, typer.Option("--waiting", "-w", help="Only what waits for an approval.")] = False,
    goal: Annotated[str, typer.Option("--goal", help="Only actions of this goal.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List actions, newest first; `--waiting` for those that somebody must approve."""
    session = session_of(ctx, as_json=as_json)
    states = [*parse_states(ActionState, state), *([ActionState.AWAITING_APPROVAL] if waiting else [])]
    with session.connect() as client:
        actions = first(client.actions.list(states=states, goal_id=goal, page_size=page_size(limit)), limit)
    if session.as_json:
        session.output.document({"actions": actions})
        return
    if waiting:
        print_waiting(session.output, actions)
        return
    session.output.table(
        ("action", "state", "what", "by", "estimate", "proposed"),
        [
            (
                action.id,
                words(action.state),
                short(action.summary or action.kind),
                action.proposer,
                money(action.estimate_usd),
                relative(action.created_at),
            )
            for action in actions
        ],
        empty="No actions.",
    )


@action_commands.command()
def show(ctx: typer.Context, action_id: ActionId, as_json: AsJson = False) -> None:
    """Show an action: exactly what would be done, and what was decided."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        action = client.actions.get(action_id)
    if session.as_json:
        session.output.document(action)
    else:
        print_action(session.output, action)


@action_commands.command()
def approve(
    ctx: typer.Context,
    action_id: ActionId,
    reason: Reason = "",
    yes: Yes = False,
    expected_hash: Annotated[
        str, typer.Option("--hash", help="Approve only if the action has this hash; as shown if not given.")
    ] = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Show what would be done, ask, and approve exactly that. Not what you asked for yourself.

    In a script: orquanta action approve act-0123456789ab --yes --hash 9f86d081...
    """
    session = session_of(ctx, as_json=as_json)
    output = session.output
    with session.connect() as client:
        action = client.actions.get(action_id)
        if expected_hash and expected_hash != action.hash:
            raise CommandError(
                f"{action_id} has the hash {action.hash}, not the one given; look at it again",
                reason="HASH_MISMATCH",
                code=ExitCode.REFUSED,
            )
        print_asked(output, action)
        if not yes:
            if not output.interactive:
                raise CommandError(
                    "nobody can be asked here; add --yes to approve what was shown",
                    reason="CONFIRMATION_NEEDED",
                    code=ExitCode.USAGE,
                )
            typer.confirm("Approve exactly this?", abort=True)
        approved = client.actions.approve(action_id, action.hash, reason=reason, request_id=request_id or None)
    _print_result(output, approved)


@action_commands.command()
def reject(
    ctx: typer.Context, action_id: ActionId, reason: Reason = "", request_id: RequestId = "", as_json: AsJson = False
) -> None:
    """Reject an action that waits for an approval."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        rejected = client.actions.reject(action_id, reason=reason, request_id=request_id or None)
    _print_result(session.output, rejected)


@action_commands.command()
def undo(
    ctx: typer.Context, action_id: ActionId, reason: Reason = "", request_id: RequestId = "", as_json: AsJson = False
) -> None:
    """Take back what a done action did, by an action of its own.

    There is an undo for a cordon, an uncordon, a drain, a quarantine, and the launch of one job that has not started.
    """
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        action = client.actions.undo(action_id, reason=reason, request_id=request_id or None)
    _print_result(session.output, action)


@action_commands.command("stop-all")
def stop_all(ctx: typer.Context, reason: Reason = "", as_json: AsJson = False) -> None:
    """Stop all effects at once, without asking. Reads and running jobs go on."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        switch = client.actions.stop_all(reason=reason)
    _print_switch(session.output, switch)


@action_commands.command("resume-all")
def resume_all(ctx: typer.Context, reason: Reason = "", yes: Yes = False, as_json: AsJson = False) -> None:
    """Release the kill switch."""
    session = session_of(ctx, as_json=as_json)
    if session.output.interactive and not yes:
        typer.confirm("Let the fleet act again?", abort=True)
    with session.connect() as client:
        switch = client.actions.resume_all(reason=reason)
    _print_switch(session.output, switch)


@action_commands.command("kill-switch")
def kill_switch(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Tell whether the kill switch is on."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        switch = client.actions.kill_switch()
    _print_switch(session.output, switch)


def _print_result(output: Output, action: Action) -> None:
    if output.as_json:
        output.document(action)
    output.say(f"{action.id} {words(action.state)}. {or_dash(action.outcome or action.summary)}")
    if action.state is ActionState.AWAITING_APPROVAL:
        output.say(f"It needs {still_needed(action)}.")


def _print_switch(output: Output, switch: KillSwitch) -> None:
    if output.as_json:
        output.document(switch)
        return
    output.say(
        "The kill switch is ON: nothing is started, stopped or repaired."
        if switch.engaged
        else "The kill switch is off."
    )
    output.fields(
        [
            ("changed by", switch.changed_by),
            ("because", switch.reason),
            ("changed", moment(switch.changed_at)),
        ]
    )
