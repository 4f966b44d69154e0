"""Looks whether memory is as the store has it, at little cost: by counts, and by some of what is known, in turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, TypeVar

from control_plane.fleet.placement.room import Claim, Host
from control_plane.model.ids import JobId, NodeId
from control_plane.model.job import JobState
from control_plane.scheduling.reading import JobNow, Terms, hosts_now, jobs_now
from control_plane.scheduling.world import World
from control_plane.store import jobs
from control_plane.store.database import Tx

_Item = TypeVar("_Item")

JOBS_MAX: Final = 200
HOSTS_MAX: Final = 20
"""Looked at one by one in one check; the next one goes on where it ended."""


@dataclass(frozen=True, slots=True)
class Which:
    """What is looked at one by one."""

    job_ids: Sequence[JobId]
    node_ids: Sequence[NodeId]


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store has at one moment: how many wait and run, and some jobs and hosts."""

    waiting: int
    running: int
    jobs: tuple[JobNow, ...]
    hosts: Mapping[NodeId, Host | None]


def some_of(world: World, number: int) -> Which:
    """Return what the check of this number is to look at: each time others, until all have had their turn."""
    known = [*world.queue.jobs(), *world.attempts]
    return Which(_part(known, number, JOBS_MAX), _part([*world.hosts], number, HOSTS_MAX))


def stored(tx: Tx, terms: Terms, which: Which) -> Stored:
    """Read what the store has of it."""
    counts = jobs.count_by_state(tx)
    return Stored(
        counts.get(JobState.QUEUED, 0),
        counts.get(JobState.PLACED, 0) + counts.get(JobState.RUNNING, 0),
        jobs_now(tx, which.job_ids, terms),
        hosts_now(tx, which.node_ids),
    )


def looks_as(world: World, found: Stored) -> bool:
    """Return False if memory may differ from what the store had at the same moment; then all is to be compared.

    A job that has just failed may hold nothing any more while it is still said to run, so counts may differ for a
    moment where nothing is wrong.
    """
    waiting = world.queue.jobs()
    running = sum(job_id not in waiting for job_id in world.attempts)
    return (
        (len(waiting), running) == (found.waiting, found.running)
        and all(world.hosts.get(node_id) == host for node_id, host in found.hosts.items())
        and all(
            waiting.get(one.job_id) == one.waiting and _plain(world.claim_of(one.job_id)) == _plain(one.claim)
            for one in found.jobs
        )
    )


def _plain(claim: Claim | None) -> Claim | None:
    """Return a claim without what memory alone knows of it: until when it is spared."""
    return None if claim is None else replace(claim, protected_until=None)


def _part(known: Sequence[_Item], number: int, most: int) -> list[_Item]:
    turns = max(1, -(-len(known) // most))
    start = number % turns * most
    return list(islice(known, start, start + most))
