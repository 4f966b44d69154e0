"""Following a job: its approval, its output byte for byte, its end."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from orquanta.cli.exits import CommandError, ExitCode, code_for_job
from orquanta.cli.formats import elapsed, money, words
from orquanta.cli.session import Session
from orquanta.types.actions import ActionState
from orquanta.types.jobs import Job, Submission

if TYPE_CHECKING:
    from orquanta import Client

APPROVAL_NEEDED = (
    "It waits for another operator: orquanta action approve {action_id}. What may cost less, by a shorter "
    "--max-time or fewer --gpus, may need no approval."
)
_UNDECIDED = {
    ActionState.PROPOSED,
    ActionState.AWAITING_APPROVAL,
    ActionState.APPROVED,
    ActionState.EXECUTING,
}


def follow_job(session: Session, client: "Client", submission: Submission, *, with_logs: bool) -> None:
    """Wait for the job's end, printing its output if asked to; exits with the job's code."""
    job_id = submission.job.id
    try:
        if submission.action_id:
            _await_approval(session, client, submission.action_id)
        if with_logs:
            session.output.note(f"{job_id} submitted")
            copy_logs(session, client, job_id, follow=True)
        job = client.jobs.wait(job_id)
    except KeyboardInterrupt:
        session.output.note(f"The job goes on; follow it with: orquanta job logs -f {job_id}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if session.as_json:
        session.output.record(job)
    else:
        session.output.note(_ending(job))
    raise typer.Exit(code_for_job(job.state))


def _await_approval(session: Session, client: "Client", action_id: str) -> None:
    """Wait until another operator lets the job run; before that there is no job to follow."""
    session.output.note(APPROVAL_NEEDED.format(action_id=action_id))
    action = client.actions.get(action_id)
    if action.state in _UNDECIDED:
        with closing(client.actions.watch()) as changes:
            action = next(change for change in changes if change.id == action_id and change.state not in _UNDECIDED)
    if action.state is not ActionState.DONE:
        raise CommandError(
            f"{action_id} {words(action.state)}. {action.outcome}".rstrip(),
            reason="NOT_APPROVED",
            code=ExitCode.REFUSED,
        )


def _ending(job: Job) -> str:
    code = "" if job.exit_code is None else f" with exit code {job.exit_code}"
    took = elapsed(job.started_at, job.finished_at)
    why = f": {job.status_reason}" if job.status_reason else ""
    return f"{job.id} {words(job.state)}{code} after {took}, {money(job.cost_usd)}{why}"


def copy_logs(
    session: Session,
    client: "Client",
    job_id: str,
    *,
    follow: bool,
    tail: int = 0,
    rank: int | None = None,
    attempt: int = 0,
) -> None:
    """Print the output of an attempt as it was written; with --json, one line for each chunk."""
    stdout = sys.stdout.buffer
    chunks = client.jobs.logs(job_id, epoch=attempt, rank=rank, follow=follow, tail_lines=tail)
    with closing(chunks):
        for chunk in chunks:
            if session.as_json:
                document = {
                    "epoch": chunk.epoch,
                    "rank": chunk.rank,
                    "stream": chunk.stream,
                    "text": chunk.data.decode(errors="replace"),
                    "read_at": chunk.read_at,
                    "lost_bytes": chunk.lost_bytes,
                }
                session.output.record(document)
                continue
            if chunk.lost_bytes:
                session.output.note(f"[{chunk.lost_bytes} bytes were dropped here]")
            stdout.write(chunk.data)
            stdout.flush()
