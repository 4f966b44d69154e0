"""`orquanta job`: one command or image that runs on GPUs."""

from typing import Annotated

import typer

from orquanta.cli.diagnosis_views import print_diagnosis
from orquanta.cli.exits import ExitCode
from orquanta.cli.formats import elapsed, money, or_dash, relative, words
from orquanta.cli.goal_views import node_names
from orquanta.cli.job_follow import copy_logs
from orquanta.cli.job_submit import submit
from orquanta.cli.job_views import asked_gpus, print_job
from orquanta.cli.options import (
    COUNT_MAX,
    AsJson,
    Limit,
    Reason,
    RequestId,
    States,
    first,
    page_size,
    parse_states,
)
from orquanta.cli.queue import why
from orquanta.cli.session import session_of
from orquanta.types.jobs import JobState

job_commands = typer.Typer(no_args_is_help=True, help="Jobs: one command or image that runs on GPUs.")
job_commands.command()(submit)
job_commands.command()(why)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, j-...")]


@job_commands.command("list")
def list_jobs(
    ctx: typer.Context,
    state: States = None,
    goal: Annotated[str, typer.Option("--goal", help="Only jobs of this goal.")] = "",
    node: Annotated[str, typer.Option("--node", help="Only jobs with an attempt on this node.")] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Only your own.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    session = session_of(ctx, as_json=as_json)
    states = parse_states(JobState, state)
    with session.connect() as client:
        user_id = client.auth.who_am_i().id if mine else ""
        found = client.jobs.list(states=states, goal_id=goal, node_id=node, user_id=user_id, page_size=page_size(limit))
        jobs = first(found, limit)
    if session.as_json:
        session.output.document({"jobs": jobs})
        return
    session.output.table(
        ("job", "name", "state", "gpus", "nodes", "elapsed", "cost", "submitted", "goal"),
        [
            (
                job.id,
                or_dash(job.spec.name),
                words(job.state),
                asked_gpus(job.spec.resources),
                or_dash(node_names(job)),
                elapsed(job.started_at, job.finished_at),
                money(job.cost_usd),
                relative(job.created_at),
                or_dash(job.goal_id),
            )
            for job in jobs
        ],
        empty="No jobs.",
    )


@job_commands.command()
def show(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job, why it is in its state, and all its attempts."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        job = client.jobs.get(job_id)
    if session.as_json:
        session.output.document(job)
    else:
        print_job(session.output, job)


@job_commands.command()
def diagnose(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Tell why a job failed, what to do about it, and the evidence.

    Evidence are lines of its log, conditions of its hosts and reports of how its processes ended, each with an id.
    It is found by rules; where they end, a model is asked once for each attempt, and its words are marked as such.
    """
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        found = client.jobs.diagnose(job_id)
    if session.as_json:
        session.output.document(found)
    else:
        print_diagnosis(session.output, found)


@job_commands.command()
def logs(
    ctx: typer.Context,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    tail: Annotated[
        int, typer.Option("--tail", min=0, max=COUNT_MAX, help="Only this many last lines; 0 for all.")
    ] = 0,
    rank: Annotated[int | None, typer.Option("--rank", min=0, max=COUNT_MAX, help="Only this rank of a gang.")] = None,
    attempt: Annotated[
        int, typer.Option("--attempt", min=0, max=COUNT_MAX, help="Which attempt; the newest if 0.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Print a job's output, byte for byte, both streams to stdout. With --json: one line for each chunk."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        try:
            copy_logs(session, client, job_id, follow=follow, tail=tail, rank=rank, attempt=attempt)
        except KeyboardInterrupt:
            session.output.note(f"The job goes on; follow it with: orquanta job logs -f {job_id}")
            raise typer.Exit(ExitCode.INTERRUPTED) from None


@job_commands.command()
def cancel(
    ctx: typer.Context, job_id: JobId, reason: Reason = "", request_id: RequestId = "", as_json: AsJson = False
) -> None:
    """Stop a job: SIGTERM, a grace, then SIGKILL of its whole tree."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        job = client.jobs.cancel(job_id, reason=reason, request_id=request_id or None)
    if session.as_json:
        session.output.document(job)
    session.output.say(f"{job.id} {words(job.state)}. {job.status_reason}".rstrip())


@job_commands.command()
def templates(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the shipped programs that a job can name instead of a command."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        found = client.jobs.templates()
    if session.as_json:
        session.output.document({"templates": found})
        return
    session.output.table(
        ("template", "for", "what it does"),
        [(entry.name, or_dash(entry.intent), entry.description) for entry in found],
        empty="No templates.",
    )
