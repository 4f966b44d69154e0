"""How the queue looks to a person."""

from collections.abc import Sequence

from orquanta.cli.formats import or_dash, relative, words
from orquanta.cli.job_views import asked_gpus
from orquanta.types.jobs import AllocationState
from orquanta.types.queues import JobExplanation, QueueEntry

_NAMED_MAX = 3
"""Hosts of which the same is to be said and that are named one by one."""

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


def verdict_rows(found: JobExplanation) -> list[tuple[str, str, str]]:
    """How hosts compare for a job, best first; many of which the same is to be said share a row."""
    holds = {
        member.node_id
        for allocation in found.job.allocations
        if allocation.state is not AllocationState.ENDED
        for member in allocation.members
    }
    alike: dict[tuple[str, str], list[str]] = {}
    for one in found.nodes:
        fits = "it is here" if one.node_id in holds else "yes" if one.fits else "no"
        alike.setdefault((fits, one.reason), []).append(one.node_name or one.node_id)
    rows = []
    for (fits, reason), names in alike.items():
        named = names if len(names) <= _NAMED_MAX else [f"{names[0]} and {len(names) - 1} more"]
        rows += [(name, fits, reason) for name in named]
    return rows
