"""Reads what the queue and the placement need: everything at once, or only what events say has changed."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from control_plane.fleet.placement.room import Claim, Host
from control_plane.fleet.queueing.model import WaitingJob
from control_plane.model.ids import JobId, NodeId
from control_plane.model.job import Allocation, Job, JobState
from control_plane.model.node import Node
from control_plane.model.record import Event, Noun
from control_plane.scheduling.values import Rights, UserLimits, bare_claim_of, claim_of, host_of, waiting_of
from control_plane.store import allocations, conditions, events, held, jobs, nodes, teams, users
from control_plane.store.database import Tx
from control_plane.store.feed import EventFeed, Page
from control_plane.store.held import Remains
from control_plane.store.readable import read_each, readable

EVENTS_MAX: Final = 20_000
"""Events that are followed one by one; who is further behind reads everything anew."""

_ALONE_MAX: Final = 64  # what is wrong with more of them is cheaper to read with all the rest
_QUIET: Final = frozenset({allocations.ASSIGNMENTS_CHANGED, conditions.ORDERED})
_NOUNS: Final = (Noun.NODE, Noun.JOB, Noun.AGENT)


@dataclass(frozen=True, slots=True)
class Terms:
    """What of the settings decides how rows are read."""

    max_gpus_per_user: int
    min_runtime_seconds: float


@dataclass(frozen=True, slots=True)
class JobNow:
    """A job as it is now: it waits, or an attempt of it holds something, or neither."""

    job_id: JobId
    waiting: WaitingJob | None = None
    claim: Claim | None = None
    status_reason: str = ""
    depends_on: tuple[JobId, ...] = ()


@dataclass(frozen=True, slots=True)
class Everything:
    """The fleet and the queue at one moment."""

    sequence: int
    hosts: tuple[Host, ...]
    jobs: tuple[JobNow, ...]
    rights: Rights


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed up to an event. A node without a host has left; `rights` None means that they are as before."""

    sequence: int
    hosts: Mapping[NodeId, Host | None]
    jobs: tuple[JobNow, ...]
    rights: Rights | None


def everything(tx: Tx, terms: Terms) -> Everything:
    """Read the whole fleet and the whole queue."""
    sequence = events.newest(tx)
    unwell, closed = conditions.gpu_health(tx), conditions.closed_hosts(tx)
    found = (host_of(node, unwell=unwell.get(node.id, {}), closed=node.id in closed) for node in nodes.active(tx))
    hosts = tuple(host for host in found if host is not None)
    asked = (*jobs.live_ids(tx), *held.by_unknown(tx))
    return Everything(sequence, hosts, _jobs(tx, jobs.live(tx), terms, asked=asked), rights(tx, terms))


async def newer(feed: EventFeed, since: int) -> Page:
    """Return the events after what was read before, as far as they are in memory. Raises Unavailable."""
    return await feed.since(since, nouns=_NOUNS, limit=EVENTS_MAX)


def concerns(event: Event) -> bool:
    """Whether what is read here may be another after an event."""
    return event.noun is Noun.JOB or (event.noun is Noun.NODE and event.kind not in _QUIET) or _is_of_rights(event)


def changes(tx: Tx, known: Page, terms: Terms, dependents: Mapping[JobId, Collection[JobId]]) -> Changes | None:
    """Read what has changed, as the events in memory say (`newer`) and those since; None if there are too many.

    The transaction begins after `known` was taken: what it sees is at least as new. `dependents` are, by job, the
    waiting jobs that wait for it: with it, they change.
    """
    newest = events.newest(tx)
    if known.more or not known.whole or newest > known.position + EVENTS_MAX:
        return None
    node_ids, job_ids, rights_changed = set[NodeId](), dict[JobId, None](), False
    for event in (*known.events, *_since(tx, known.position, newest)):
        if event.noun is Noun.JOB:
            job_ids[JobId(event.id)] = None
            job_ids.update(dict.fromkeys(dependents.get(JobId(event.id), ())))
        elif event.noun is Noun.NODE and event.kind not in _QUIET:
            node_ids.add(NodeId(event.id))
        rights_changed = rights_changed or _is_of_rights(event)
    return Changes(
        max(known.position, newest),  # events about other things than these are passed over
        hosts_now(tx, node_ids),
        jobs_now(tx, job_ids, terms),
        rights(tx, terms) if rights_changed else None,
    )


def _since(tx: Tx, position: int, newest: int) -> tuple[Event, ...]:
    """Return what was committed between the look into memory and this transaction: seldom anything."""
    return events.after(tx, position, limit=newest - position, nouns=_NOUNS) if newest > position else ()


def _is_of_rights(event: Event) -> bool:
    return event.kind == teams.TERMS_CHANGED


def rights(tx: Tx, terms: Terms) -> Rights:
    """Read who may hold how much."""
    return Rights(teams.every(tx), UserLimits(terms.max_gpus_per_user, users.gpu_limits(tx)))


def jobs_now(tx: Tx, job_ids: Collection[JobId], terms: Terms) -> tuple[JobNow, ...]:
    """Read jobs as they are now."""
    return _jobs(tx, jobs.many(tx, job_ids), terms, asked=job_ids)


def hosts_now(tx: Tx, node_ids: Collection[NodeId]) -> dict[NodeId, Host | None]:
    """Read hosts as they are now; None for those that have left or cannot be read."""
    nodes.load(tx, node_ids)
    if len(node_ids) > _ALONE_MAX:
        unwell, closed = conditions.gpu_health(tx), conditions.closed_hosts(tx)
    else:
        unwell, closed = {}, frozenset()
        for node_id in node_ids:
            unwell |= conditions.gpu_health(tx, node_id)
            closed |= conditions.closed_hosts(tx, node_id)
    found = ((node_id, _node(tx, node_id)) for node_id in sorted(node_ids))
    return {
        node_id: None if node is None else host_of(node, unwell=unwell.get(node_id, {}), closed=node_id in closed)
        for node_id, node in found
    }


def _node(tx: Tx, node_id: NodeId) -> Node | None:
    """Return a node, None if there is none or it cannot be read: as when all of them are read."""
    return next(iter(readable(tx, [node_id], partial(nodes.get, tx), f"nodes {node_id}")), None)


def _jobs(tx: Tx, found: Iterable[Job], terms: Terms, asked: Iterable[JobId] = ()) -> tuple[JobNow, ...]:
    """Return the jobs as they are now; of those that were asked for and are not found, that they are gone.

    A job that cannot be read does not wait either, but what it holds it holds; so does an attempt that cannot be read.
    """
    known = tuple(found)
    needed = {one for job in known if job.state is JobState.QUEUED for one in job.spec.depends_on}
    states = read_each(tx, needed, lambda ids: jobs.states(tx, set(ids)), "the state of a job")
    started = [job.id for job in known if job.epoch and not job.state.ended]
    newest = held.newest(tx, started)
    made = []
    for job in known:
        queued = job.state is JobState.QUEUED
        made.append(
            JobNow(
                job.id,
                waiting_of(job, states) if queued else None,
                _claim_of(job, newest.get(job.id), terms),
                job.status_reason if queued else "",
                job.spec.depends_on if queued else (),
            )
        )
    there = {job.id for job in known}
    return (*made, *_unread(tx, [job_id for job_id in asked if job_id not in there]))


def _claim_of(job: Job, attempt: Allocation | Remains | None, terms: Terms) -> Claim | None:
    if isinstance(attempt, Allocation):
        return claim_of(job, attempt, min_runtime_seconds=terms.min_runtime_seconds)
    return None if attempt is None else bare_claim_of(attempt, job.user_id, job)


def _unread(tx: Tx, job_ids: list[JobId]) -> Iterator[JobNow]:
    owners = held.user_ids(tx, job_ids)
    attempts = held.newest(tx, list(owners))
    for job_id in job_ids:
        attempt = attempts.get(job_id)
        yield JobNow(job_id, claim=None if attempt is None else bare_claim_of(attempt, owners[job_id]))
