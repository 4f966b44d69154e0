"""`orquanta job`: one command or image that runs on GPUs."""

import re
import shlex
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from orquanta.cli.diagnosis_views import print_diagnosis
from orquanta.cli.exits import ExitCode, code_for_job
from orquanta.cli.formats import elapsed, gpus, money, or_dash, relative, words
from orquanta.cli.goal_views import node_names
from orquanta.cli.job_follow import APPROVAL_NEEDED, copy_logs, follow_job
from orquanta.cli.job_views import print_job
from orquanta.cli.options import (
    AsJson,
    Limit,
    Reason,
    RequestId,
    States,
    first,
    page_size,
    parse_pairs,
    parse_span,
    parse_states,
)
from orquanta.cli.session import Session, session_of
from orquanta.types.jobs import JobPriority, JobSpec, JobState, ResourceRequest, Submission

if TYPE_CHECKING:
    pass

job_commands = typer.Typer(no_args_is_help=True, help="Jobs: one command or image that runs on GPUs.")

_GIB = 1024**3
_MAX_NAME = 63

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, j-...")]


class Priority(Enum):
    """Priorities that can be asked for."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


@job_commands.command()
def submit(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND...]", help="One argument is a shell command line; more are quoted."),
    ] = None,
    gpu_count: Annotated[int, typer.Option("--gpus", "-g", min=0, help="GPUs over all nodes; 0 for none.")] = 1,
    gpu_type: Annotated[
        list[str] | None, typer.Option("--gpu-type", "-t", help="An acceptable model; may be repeated.")
    ] = None,
    exclude_gpu_type: Annotated[
        list[str] | None, typer.Option("--exclude-gpu-type", help="A model not to use; may be repeated.")
    ] = None,
    gpu_memory_gib: Annotated[
        float, typer.Option("--gpu-memory", min=0, help="Memory that each GPU must have, in GiB.")
    ] = 0,
    nodes: Annotated[int, typer.Option("--nodes", "-N", min=0, help="Spread the GPUs over this many nodes.")] = 0,
    cpus: Annotated[float, typer.Option("--cpus", min=0, help="CPUs on each node.")] = 0,
    memory_gib: Annotated[float, typer.Option("--memory", min=0, help="Memory on each node, in GiB.")] = 0,
    image: Annotated[str, typer.Option("--image", "-i", help="A container image to run in.")] = "",
    template: Annotated[str, typer.Option("--template", help="A shipped program to run instead of a command.")] = "",
    name: Annotated[str, typer.Option("--name", help="A name for people.")] = "",
    environment: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    max_hours: Annotated[float, typer.Option("--max-hours", min=0, help="Wall-clock limit in hours.")] = 0,
    max_time: Annotated[str, typer.Option("--max-time", help="Wall-clock limit such as 90s or 15m.")] = "",
    priority: Annotated[Priority, typer.Option("--priority")] = Priority.NORMAL,
    after: Annotated[
        list[str] | None, typer.Option("--after", metavar="JOB", help="Start when this job has succeeded.")
    ] = None,
    max_attempts: Annotated[int, typer.Option("--max-attempts", min=0, help="Attempts at most when hosts fail.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print its output, wait for its end.")] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for its end.")] = False,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Submit a job: orquanta job submit --gpus 2 --gpu-type H100 -- python train.py.

    With --wait or --follow the exit code is 0 only if the job succeeds.
    """
    session = session_of(ctx, as_json=as_json)
    if not (command or image or template):
        raise typer.BadParameter("give a command after --, an --image or a --template")
    if max_hours and max_time:
        raise typer.BadParameter("give either --max-hours or --max-time")
    limit_seconds = parse_span(max_time).total_seconds() if max_time else max_hours * 3600
    spec = JobSpec(
        name=name or _default_name(command or [], image, template),
        resources=ResourceRequest(
            gpu_count=gpu_count,
            gpu_types=tuple(gpu_type or ()),
            node_count=nodes,
            min_gpu_memory_bytes=int(gpu_memory_gib * _GIB),
            exclude_gpu_types=tuple(exclude_gpu_type or ()),
            cpu_milli=int(cpus * 1000),
            memory_bytes=int(memory_gib * _GIB),
        ),
        command=_command_line(command or []),
        image=image,
        template=template,
        environment=parse_pairs(environment, "variable"),
        max_runtime_seconds=int(limit_seconds),
        priority=JobPriority(priority.value),
        depends_on=tuple(after or ()),
        max_attempts=max_attempts,
    )
    with session.connect() as client:
        submission = client.jobs.submit(spec, request_id=request_id or None)
        if follow or wait:
            follow_job(session, client, submission, with_logs=follow)
        else:
            _print_submission(session, submission)


def _default_name(command: list[str], image: str, template: str) -> str:
    """A name that tells jobs apart in a list: the template, the program or the image."""
    words = command[0].split() if len(command) == 1 else command
    text = template or (words[0] if words else "") or image.partition("@")[0].partition(":")[0]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text.rpartition("/")[2]).strip("-_.")
    return name[:_MAX_NAME].rstrip("-_.") or "job"


def _command_line(arguments: list[str]) -> str:
    """One argument is a command line already (`'a && b'`); several are a program and its arguments."""
    return arguments[0] if len(arguments) == 1 else shlex.join(arguments)


def _print_submission(session: Session, submission: Submission) -> None:
    job = submission.job
    if session.as_json:
        session.output.document(submission)
    else:
        session.output.say(f"{job.id} {words(job.state)}. {job.status_reason}".rstrip())
        if submission.action_id:
            session.output.note(APPROVAL_NEEDED.format(action_id=submission.action_id))
        else:
            session.output.note(f"Follow it with: orquanta job logs -f {job.id}")
    raise typer.Exit(ExitCode.REFUSED if submission.action_id else code_for_job(job.state))


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
                gpus(job.spec.resources.gpu_count, job.spec.resources.gpu_types),
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
    tail: Annotated[int, typer.Option("--tail", min=0, help="Only this many last lines; 0 for all.")] = 0,
    rank: Annotated[int | None, typer.Option("--rank", min=0, help="Only this rank of a gang.")] = None,
    attempt: Annotated[int, typer.Option("--attempt", min=0, help="Which attempt; the newest if 0.")] = 0,
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
