"""`orquanta node drain|repair|verify|quarantine|release|ack-condition|clear-condition`: a node out of order."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from orquanta.cli.exits import CommandError, ExitCode, code_for_repair
from orquanta.cli.formats import one_line, words
from orquanta.cli.node_views import print_state
from orquanta.cli.options import AsJson, NodeReference, Reason, RequestId
from orquanta.cli.output import Output
from orquanta.cli.repair_follow import follow_repair
from orquanta.cli.session import Session, session_of
from orquanta.types.actions import ActionState
from orquanta.types.jobs import AllocationState, Job, JobState
from orquanta.types.nodes import Node, OrderedRepair
from orquanta.types.repairs import RepairRung

if TYPE_CHECKING:
    from orquanta import Client

Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait for the end; the exit code tells how it ended.")]
ConditionId = Annotated[
    str, typer.Argument(metavar="CONDITION", help="The condition's id, as `orquanta node show` prints it.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_RUNGS = ", ".join(rung.value.replace("_", "-") for rung in RepairRung if rung is not RepairRung.UNKNOWN)
_STOPS_JOBS = frozenset({RepairRung.RELOAD_DRIVER, RepairRung.REBOOT_HOST})


def drain(
    ctx: typer.Context,
    node_id: NodeReference,
    reason: Reason = "",
    wait: Wait = False,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Take a node out of scheduling and move its jobs away, after a checkpoint if they can make one."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        drained = client.nodes.drain(node_id, reason=reason, request_id=request_id or None)
        _refuse_unapproved(client, drained.action_id)
        node = _await_drain(session.output, client, drained.node) if wait else drained.node
    print_state(session.output, node)


def repair(
    ctx: typer.Context,
    node_id: NodeReference,
    rung: Annotated[
        str, typer.Option("--rung", help=f"Which repair; without it the one that fits. One of: {_RUNGS}.")
    ] = "",
    gpu: Annotated[
        list[str] | None, typer.Option("--gpu", "-g", help="Only this GPU, by index or UUID; may be repeated.")
    ] = None,
    service: Annotated[str, typer.Option("--service", help="The service, for restart-service.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Wait for what the host says it would do; change nothing.")
    ] = False,
    wait: Wait = False,
    yes: Yes = False,
    reason: Reason = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Have a node repaired, or with --dry-run told what a repair would do. Passes the governor."""
    session = session_of(ctx, as_json=as_json)
    chosen = _parse_rung(rung)
    if chosen in _STOPS_JOBS and session.output.interactive and not (yes or dry_run):
        typer.confirm(f"{words(chosen)} of {node_id}: everything that uses its GPUs is stopped. Go on?", abort=True)
    with session.connect() as client:
        ordered = client.nodes.repair(
            node_id,
            chosen,
            gpus=gpu or (),
            service=service,
            dry_run=dry_run,
            reason=reason,
            request_id=request_id or None,
        )
        _refuse_unapproved(client, ordered.action_id)
        _finish(session, client, ordered, wait=wait or dry_run)


def verify(
    ctx: typer.Context,
    node_id: NodeReference,
    wait: Wait = False,
    reason: Reason = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Test a node under load, without a repair."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        ordered = client.nodes.verify(node_id, reason=reason, request_id=request_id or None)
        _finish(session, client, ordered, wait=wait)


def quarantine(
    ctx: typer.Context,
    node_id: NodeReference,
    reason: Reason = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Take a node out of service until it is released, with a hand-off report."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        node = client.nodes.quarantine(node_id, reason=reason, request_id=request_id or None)
    print_state(session.output, node)


def release(
    ctx: typer.Context,
    node_id: NodeReference,
    reason: Reason = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Put a quarantined or drained node back into service."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        node = client.nodes.release(node_id, reason=reason, request_id=request_id or None)
    print_state(session.output, node)


def acknowledge_condition(
    ctx: typer.Context,
    node_id: NodeReference,
    condition_id: ConditionId,
    reason: Reason = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Say that a condition is known: it proposes no repair any more."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        node = client.nodes.acknowledge_condition(node_id, condition_id, reason=reason, request_id=request_id or None)
    _print_condition_change(session.output, node, condition_id, "is acknowledged: it asks for no repair any more")


def clear_condition(
    ctx: typer.Context,
    node_id: NodeReference,
    condition_id: ConditionId,
    reason: Reason = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """End a condition; it comes back if the trouble does."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        node = client.nodes.clear_condition(node_id, condition_id, reason=reason, request_id=request_id or None)
    _print_condition_change(session.output, node, condition_id, "is cleared as soon as its host hears of it")


def _print_condition_change(output: Output, node: Node, condition_id: str, what: str) -> None:
    if output.as_json:
        output.document(node)
    output.say(f"{condition_id} of {node.name} {what}.")


def _finish(session: Session, client: "Client", ordered: OrderedRepair, *, wait: bool) -> None:
    """Follow the repair if asked to, print it and exit with its code."""
    output = session.output
    if not wait:
        if output.as_json:
            output.document(ordered)
        output.say(f"{ordered.repair_id} ordered for {ordered.node.name} ({words(ordered.node.state)}).")
        if not output.as_json:
            output.note(f"Follow it with: orquanta node show {ordered.node.name}")
        return
    ended = follow_repair(output, client, ordered.node, ordered.repair_id)
    if output.as_json:
        ids = {"repair_id": ordered.repair_id, "incident_id": ordered.incident_id, "action_id": ordered.action_id}
        output.document({**ids, "repair": ended})
    raise typer.Exit(code_for_repair(ended.state))


def _refuse_unapproved(client: "Client", action_id: str) -> None:
    """Say so, and exit with the code for it, if somebody else has to approve first."""
    if action_id and client.actions.get(action_id).state is ActionState.AWAITING_APPROVAL:
        raise CommandError(
            f"it waits for another operator: orquanta action approve {action_id}",
            reason="AWAITING_APPROVAL",
            code=ExitCode.REFUSED,
        )


def _await_drain(output: Output, client: "Client", node: Node) -> Node:
    """The node once every attempt that ran there has ended."""
    states = (JobState.PLACED, JobState.RUNNING)
    try:
        with closing(client.jobs.list(states=states, node_id=node.id)) as jobs:
            leaving = [job for job in jobs if _runs_on(job, node.id)]
        for job in leaving:
            output.note(f"{job.id} {one_line(job.spec.name)}: {words(job.state)}, moves away")
            with closing(client.jobs.watch(job_id=job.id)) as views:
                away = next((view for view in views if not _runs_on(view, node.id)), job)
            output.note(f"{job.id} {one_line(job.spec.name)} is away: {words(away.state)}")
    except KeyboardInterrupt:
        output.note(f"The drain goes on; look at it with: orquanta node show {node.name}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    return client.nodes.get(node.id)


def _runs_on(job: Job, node_id: str) -> bool:
    return any(
        attempt.state is not AllocationState.ENDED and any(member.node_id == node_id for member in attempt.members)
        for attempt in job.allocations
    )


def _parse_rung(text: str) -> RepairRung | None:
    if not text:
        return None
    name = text.lower().replace("-", "_")
    if name == RepairRung.UNKNOWN or name not in {rung.value for rung in RepairRung}:
        raise typer.BadParameter(f"{text!r} is not a repair; there are: {_RUNGS}")
    return RepairRung(name)
