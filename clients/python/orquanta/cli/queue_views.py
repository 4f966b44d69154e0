"""How the queue looks to a person."""

from collections.abc import Sequence

from orquanta.cli.formats import or_dash, relative, words
from orquanta.cli.job_views import asked_gpus
from orquanta.types.queues import QueueEntry

QUEUE_COLUMNS = ("place", "job", "name", "team", "by", "gpus", "priority", "since", "starts", "waits for")


def queue_rows(entries: Sequence[QueueEntry]) -> list[tuple[str, ...]]:
    """A row under `QUEUE_COLUMNS` for each job."""
    return [
        (
            str(one.position),
            one.job_id,
            or_dash(one.name),
            or_dash(one.team),
            one.user_email,
            asked_gpus(one.resources),
            words(one.priority),
            relative(one.queued_at),
            relative(one.estimated_start_at),
            one.waits_for,
        )
        for one in entries
    ]
