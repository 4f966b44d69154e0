"""`orquanta queue`: which jobs wait, in which order, for what; and `orquanta job why`."""

from typing import Annotated

import typer

from orquanta.cli.formats import or_dash, relative, words
from orquanta.cli.job_views import asked_gpus, needs_in_words
from orquanta.cli.options import AsJson
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.queues import JobExplanation, QueueEntry

_SHOWN_MAX = 500


def queue(
    ctx: typer.Context,
    team: Annotated[str, typer.Option("--team", help="Only jobs of this team and the teams in it.")] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Only your own.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=_SHOWN_MAX, help="At most this many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the jobs that wait, in the order in which they are served, and what each waits for."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        user_id = client.auth.who_am_i().id if mine else ""
        page = client.queue.head(limit, team=team, user_id=user_id)
    if session.as_json:
        session.output.document(page)
        return
    session.output.table(
        ("place", "job", "name", "team", "by", "gpus", "priority", "since", "starts", "waits for"),
        [
            (
                str(one.position),
                one.job_id,
                or_dash(one.name),
                or_dash(one.team),
                one.user_email,
                asked_gpus(one.resources),
                words(one.priority),
                relative(one.queued_at),
                _start(one),
                one.waits_for,
            )
            for one in page.entries
        ],
        empty="No job waits.",
    )
    if page.total > len(page.entries):
        session.output.note(f"{page.total} jobs wait in all. Ask why one does with: orquanta job why JOB")


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


def _start(one: QueueEntry) -> str:
    return "-" if one.estimated_start_at is None else relative(one.estimated_start_at)


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
            ("starts", "" if waiting.estimated_start_at is None else _start(waiting)),
            ("make way", ", ".join(found.making_way_job_ids)),
        ]
    else:
        fields += [("why", job.status_reason), ("placed", found.placement_reason)]
    output.fields(fields)
    if found.nodes:
        output.say()
        output.table(
            ("node", "fits", "why"),
            [(one.node_name or one.node_id, "yes" if one.fits else "no", one.reason) for one in found.nodes],
            empty="",
        )
