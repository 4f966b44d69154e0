"""`orquanta queue`: which jobs wait, in which order, for what; and `orquanta job why`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.formats import relative, words
from orquanta.cli.job_views import needs_in_words
from orquanta.cli.options import AsJson
from orquanta.cli.output import Output
from orquanta.cli.queue_views import QUEUE_COLUMNS, queue_rows, verdict_rows
from orquanta.cli.queue_watch import watch_queue
from orquanta.cli.session import session_of
from orquanta.types.queues import QUEUE_EVERY_SECONDS, QUEUE_EVERY_SECONDS_MIN, JobExplanation

_SHOWN_MAX = 500


def queue(
    ctx: typer.Context,
    team: Annotated[str, typer.Option("--team", help="Only jobs of this team and the teams in it.")] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Only your own.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=_SHOWN_MAX, help="At most this many.")] = 50,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow changes until Ctrl-C.")] = False,
    every: Annotated[
        float,
        typer.Option("--every", min=QUEUE_EVERY_SECONDS_MIN, max=3600, help="With --watch: seconds between looks."),
    ] = QUEUE_EVERY_SECONDS,
    as_json: AsJson = False,
) -> None:
    """List the jobs that wait, in the order in which they are served, and what each waits for.

    With --watch the table follows changes. There is no stream of the queue: it is asked for again every two seconds
    (--every), and shown when it differs. Into a pipe goes a line for each change, with --json the first jobs as one
    object on a line.
    """
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        user_id = client.auth.who_am_i().id if mine else ""
        if watch:
            if team and not client.queue.head(1, team=team).entries:
                _check_team(team, [quota.team for quota in client.quotas.list().quotas])
            watch_queue(session.output, client, limit=limit, team=team, user_id=user_id, every_seconds=every)
            return
        page = client.queue.head(limit, team=team, user_id=user_id)
        if team and not page.entries:
            _check_team(team, [quota.team for quota in client.quotas.list().quotas])
    if session.as_json:
        session.output.document(page)
        return
    session.output.table(
        QUEUE_COLUMNS,
        queue_rows(page.entries),
        empty="No job waits.",
    )
    if page.total > len(page.entries):
        session.output.note(f"{page.total} jobs wait in all. Ask why one does with: orquanta job why JOB")


def _check_team(team: str, known: Sequence[str]) -> None:
    """Tell a team that is not there from one that waits for nothing."""
    if not any(path == team or path.startswith(f"{team}/") for path in known):
        there = ", ".join(path for path in known if path) or "none yet"
        raise CommandError(
            f"there is no team {team!r}; there are: {there}", reason="TEAM_NOT_FOUND", code=ExitCode.NOT_FOUND
        )


def why(
    ctx: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job's id, j-...")],
    as_json: AsJson = False,
) -> None:
    """Tell why a job waits and what would help, or why it runs where it runs, and how hosts compare for it."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        found = client.queue.explain(job_id)
    if session.as_json:
        session.output.document(found)
    else:
        _print(session.output, found)


def _print(output: Output, found: JobExplanation) -> None:
    job, waiting = found.job, found.waiting
    fields = [
        ("job", job.id),
        ("name", job.spec.name),
        ("state", words(job.state)),
        ("needs", needs_in_words(job.spec.resources)),
    ]
    if waiting is not None:
        fields += [
            ("place", str(waiting.position)),
            ("reason", words(waiting.wait_reason)),
            ("waits for", waiting.waits_for),
            ("would help", "\n".join(waiting.would_help)),
            ("starts", relative(waiting.estimated_start_at)),
            ("make way", ", ".join(found.making_way_job_ids)),
        ]
    else:
        fields += [("why", job.status_reason), ("placed", found.placement_reason)]
    output.fields(fields)
    if found.nodes:
        output.say()
        output.table(("node", "fits", "why"), verdict_rows(found), empty="")
