"""`orquanta job submit`: what a job runs and needs, from options."""

import re
import shlex
from enum import Enum
from typing import Annotated

import typer

from orquanta.cli.exits import ExitCode, code_for_job
from orquanta.cli.formats import words
from orquanta.cli.job_follow import APPROVAL_NEEDED, follow_job
from orquanta.cli.options import (
    COUNT_MAX,
    CPUS_MAX,
    GIB_MAX,
    HOURS_MAX,
    AsJson,
    RequestId,
    parse_pairs,
    parse_share,
    parse_span,
)
from orquanta.cli.session import Session, session_of
from orquanta.types.jobs import JobPriority, JobSpec, ResourceRequest, Submission, TopologyDomain

_GIB = 1024**3
_MAX_NAME = 63


class Priority(Enum):
    """Priorities that can be asked for."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class Near(Enum):
    """How near to each other the GPUs of a gang can be asked to be."""

    NVLINK = "nvlink"
    NODE = "node"
    RACK = "rack"
    ZONE = "zone"


def submit(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND...]", help="One argument is a shell command line; more are quoted."),
    ] = None,
    gpu_count: Annotated[
        int, typer.Option("--gpus", "-g", min=0, max=COUNT_MAX, help="GPUs over all nodes; 0 for none.")
    ] = 1,
    gpu_share: Annotated[
        str, typer.Option("--gpu-share", help="A part of one GPU instead: 0.25 or 250m. Its memory goes with it.")
    ] = "",
    share_memory_gib: Annotated[
        float,
        typer.Option("--share-memory", min=0, max=GIB_MAX, help="GPU memory of that part, in GiB; in proportion if 0."),
    ] = 0,
    mig: Annotated[
        str, typer.Option("--mig", metavar="PROFILE", help="MIG devices such as 1g.10gb; --gpus then counts them.")
    ] = "",
    gpu_type: Annotated[
        list[str] | None, typer.Option("--gpu-type", "-t", help="An acceptable model; may be repeated.")
    ] = None,
    exclude_gpu_type: Annotated[
        list[str] | None, typer.Option("--exclude-gpu-type", help="A model not to use; may be repeated.")
    ] = None,
    gpu_memory_gib: Annotated[
        float, typer.Option("--gpu-memory", min=0, max=GIB_MAX, help="Memory that each GPU must have, in GiB.")
    ] = 0,
    nodes: Annotated[
        int, typer.Option("--nodes", "-N", min=0, max=COUNT_MAX, help="Spread the GPUs over this many nodes.")
    ] = 0,
    near: Annotated[
        Near | None, typer.Option("--near", help="Demand that its GPUs share an NVLink island, node, rack or zone.")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only on nodes with it; may be repeated.")
    ] = None,
    not_on: Annotated[
        list[str] | None, typer.Option("--not-on", metavar="NODE", help="Not on this node; may be repeated.")
    ] = None,
    apart: Annotated[
        str, typer.Option("--apart", metavar="WORD", help="Never on one node with your team's jobs of the same word.")
    ] = "",
    exclusive: Annotated[bool, typer.Option("--exclusive", help="Share its nodes with no other job.")] = False,
    cpus: Annotated[float, typer.Option("--cpus", min=0, max=CPUS_MAX, help="CPUs on each node.")] = 0,
    memory_gib: Annotated[float, typer.Option("--memory", min=0, max=GIB_MAX, help="Memory on each node, in GiB.")] = 0,
    image: Annotated[str, typer.Option("--image", "-i", help="A container image to run in.")] = "",
    template: Annotated[str, typer.Option("--template", help="A shipped program to run instead of a command.")] = "",
    name: Annotated[str, typer.Option("--name", help="A name for people.")] = "",
    environment: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    max_hours: Annotated[
        float, typer.Option("--max-hours", min=0, max=HOURS_MAX, help="Wall-clock limit in hours.")
    ] = 0,
    max_time: Annotated[str, typer.Option("--max-time", help="Wall-clock limit such as 90s or 15m.")] = "",
    priority: Annotated[Priority, typer.Option("--priority")] = Priority.NORMAL,
    after: Annotated[
        list[str] | None, typer.Option("--after", metavar="JOB", help="Start when this job has succeeded.")
    ] = None,
    max_attempts: Annotated[
        int, typer.Option("--max-attempts", min=0, max=COUNT_MAX, help="Attempts at most when hosts fail.")
    ] = 0,
    checkpoint_signal: Annotated[
        str,
        typer.Option(
            "--checkpoint-signal", metavar="SIGNAL", help="Asks it to save its work before it is moved: SIGUSR1."
        ),
    ] = "",
    checkpoint_time: Annotated[
        str, typer.Option("--checkpoint-time", help="How long that may take, such as 90s; 30s if not given.")
    ] = "",
    executor: Annotated[str, typer.Option("--executor", help="What runs it; the fleet's own daemons if empty.")] = "",
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
            gpu_milli=parse_share(gpu_share) if gpu_share else 0,
            share_memory_bytes=int(share_memory_gib * _GIB),
            mig_profile=mig,
            node_labels=parse_pairs(labels, "label"),
            exclude_nodes=tuple(not_on or ()),
            anti_affinity=apart,
            exclusive_nodes=exclusive,
            topology=TopologyDomain(near.value) if near else TopologyDomain.ANY,
        ),
        command=_command_line(command or []),
        image=image,
        template=template,
        environment=parse_pairs(environment, "variable"),
        max_runtime_seconds=int(limit_seconds),
        priority=JobPriority(priority.value),
        depends_on=tuple(after or ()),
        max_attempts=max_attempts,
        checkpoint_signal=checkpoint_signal,
        checkpoint_seconds=int(parse_span(checkpoint_time).total_seconds()) if checkpoint_time else 0,
        executor=executor,
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
