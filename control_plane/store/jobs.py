"""Jobs in the database."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from sqlalchemy import String, cast, func, select
from sqlmodel import col

from control_plane.errors import NotFound
from control_plane.fleet import lifecycle
from control_plane.model.ids import GoalId, JobId, NodeId, UserId
from control_plane.model.job import Allocation, Job, JobState
from control_plane.model.money import from_micros, to_micros
from control_plane.model.record import Noun
from control_plane.store import allocations
from control_plane.store.database import Tx
from control_plane.store.documents import JOB_SPEC
from control_plane.store.pages import Page, PageRequest, batched, newest_first
from control_plane.store.readable import readable
from control_plane.store.tables import AllocationMemberRow, AllocationRow, JobRow

_LIVE: Final = col(JobRow.status).in_([state.value for state in JobState if not state.ended])


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; empty means all."""

    states: tuple[JobState, ...] = ()
    goal_id: GoalId | None = None
    user_id: UserId | None = None
    node_id: NodeId | None = None


def _whole(tx: Tx, rows: Sequence[JobRow]) -> Callable[[JobRow], Job]:
    """Return what makes jobs of these rows with their attempts: three statements for any number of them."""
    attempts = allocations.of_jobs(tx, [JobId(row.id) for row in rows if row.epoch])
    return lambda row: _model(row, attempts.get(JobId(row.id), ()))


def _shown(tx: Tx, rows: Sequence[JobRow]) -> Callable[[JobRow], Job]:
    """Return what makes jobs of these rows with the attempts that can be read, and says why if one cannot be."""
    attempts, unread = allocations.readable_of_jobs(tx, [JobId(row.id) for row in rows if row.epoch])

    def shown(row: JobRow) -> Job:
        job = _model(row, attempts.get(JobId(row.id), ()))
        why = unread.get(job.id)
        return (
            job
            if why is None
            else replace(job, status_reason="; ".join(filter(None, (job.status_reason, why.message))))
        )

    return shown


def _model(row: JobRow, attempts: tuple[Allocation, ...] = ()) -> Job:
    return Job(
        id=JobId(row.id),
        goal_id=None if row.goal_id is None else GoalId(row.goal_id),
        user_id=UserId(row.user_id),
        user_email=row.user_email,
        spec=JOB_SPEC.load(row.spec),
        state=JobState(row.status),
        status_reason=row.status_reason,
        epoch=row.epoch,
        provider=row.provider,
        created_at=row.created_at,
        queued_at=row.queued_at,
        version=row.version,
        cancel_requested=row.cancel_requested,
        cost_usd=from_micros(row.cost_usd_micros),
        reserved_usd=from_micros(row.reserved_usd_micros),
        exit_code=row.exit_code,
        started_at=row.started_at,
        finished_at=row.finished_at,
        allocations=attempts,
        moves=row.moves,
        team=row.team,
    )


def get(tx: Tx, job_id: JobId, *, with_allocations: bool = True) -> Job | None:
    """Return the job, or None."""
    row = tx.session.get(JobRow, job_id)
    if row is None:
        return None
    return _whole(tx, [row])(row) if with_allocations else _model(row)


def require(tx: Tx, job_id: JobId, *, with_allocations: bool = True) -> Job:
    """Return the job. Raises NotFound."""
    job = get(tx, job_id, with_allocations=with_allocations)
    if job is None:
        raise NotFound(f"there is no job {job_id}; list them with: orquanta job list", reason="JOB_NOT_FOUND")
    return job


def of_goal(tx: Tx, goal_id: GoalId, *, with_allocations: bool = True) -> tuple[Job, ...]:
    """Return the goal's jobs in the order of its plan; those that took the places of others come after them."""
    query = select(JobRow).where(col(JobRow.goal_id) == goal_id)
    rows = sorted(tx.session.execute(query).scalars(), key=lambda row: (row.created_at, _position(row), row.id))
    return tuple(map(_whole(tx, rows) if with_allocations else _model, rows))


def page(tx: Tx, which: JobFilter, request: PageRequest) -> Page[Job]:
    """Return a page of jobs, newest first."""
    query = select(JobRow)
    if which.states:
        query = query.where(col(JobRow.status).in_([state.value for state in which.states]))
    if which.goal_id:
        query = query.where(col(JobRow.goal_id) == which.goal_id)
    if which.user_id:
        query = query.where(col(JobRow.user_id) == which.user_id)
    if which.node_id:
        there = (
            select(col(AllocationRow.job_id))
            .join(AllocationMemberRow, col(AllocationMemberRow.allocation_id) == col(AllocationRow.id))
            .where(col(AllocationMemberRow.node_id) == which.node_id)
        )
        query = query.where(col(JobRow.id).in_(there))
    rows, token = newest_first(tx.session, query, request, col(JobRow.created_at), col(JobRow.id))
    return Page(tuple(readable(tx, rows, _shown(tx, rows))), token)


def many(tx: Tx, job_ids: Iterable[JobId]) -> tuple[Job, ...]:
    """Return those of the jobs that exist and can be read, without their attempts, in the order of their ids."""
    found: list[Job] = []
    for ids in batched(sorted(job_ids)):
        query = select(JobRow).where(col(JobRow.id).in_(ids)).order_by(col(JobRow.id))
        found += readable(tx, tx.session.execute(query).scalars(), _model)
    return tuple(found)


def live(tx: Tx) -> tuple[Job, ...]:
    """Return the jobs that have not ended and can be read, without their attempts, in the order of their ids."""
    query = select(JobRow).where(_LIVE).order_by(col(JobRow.id))
    return tuple(readable(tx, tx.session.execute(query).scalars(), _model))


def live_ids(tx: Tx) -> tuple[JobId, ...]:
    """Return the jobs that have not ended, whether they can be read or not, in the order of their ids."""
    query = select(col(JobRow.id)).where(_LIVE).order_by(col(JobRow.id))
    return tuple(JobId(job_id) for job_id in tx.session.execute(query).scalars())


def _position(row: JobRow) -> int:
    return int(row.job_metadata.get("position", 0))


def states(tx: Tx, job_ids: set[JobId]) -> dict[JobId, JobState]:
    """Return the state of each of the jobs that exists."""
    found: dict[JobId, JobState] = {}
    for ids in batched(sorted(job_ids)):
        query = select(col(JobRow.id), col(JobRow.status)).where(col(JobRow.id).in_(ids))
        found.update({JobId(job_id): JobState(status) for job_id, status in tx.session.execute(query)})
    return found


def dependents(tx: Tx, job: Job) -> tuple[Job, ...]:
    """Return the queued jobs that wait for this one, of those that can be read."""
    query = select(JobRow).where(
        col(JobRow.status) == JobState.QUEUED.value,
        col(JobRow.user_id) == job.user_id,
        # Narrows the search in the database; what the id stands for is looked at below.
        cast(col(JobRow.spec), String).contains(job.id),
    )
    candidates = readable(tx, tx.session.execute(query).scalars(), _model)
    return tuple(candidate for candidate in candidates if job.id in candidate.spec.depends_on)


def owners(tx: Tx, job_ids: Iterable[JobId]) -> dict[JobId, tuple[UserId, JobState]]:
    """Return whose each of the jobs is, and its state."""
    found: dict[JobId, tuple[UserId, JobState]] = {}
    for ids in batched(job_ids):
        query = select(col(JobRow.id), col(JobRow.user_id), col(JobRow.status)).where(col(JobRow.id).in_(ids))
        for job_id, user_id, status in tx.session.execute(query):
            found[JobId(job_id)] = (UserId(user_id), JobState(status))
    return found


def reserved_of_goal(tx: Tx, goal_id: GoalId) -> Decimal:
    """Return what the goal's jobs have spent and reserved together."""
    query = select(func.coalesce(func.sum(col(JobRow.cost_usd_micros) + col(JobRow.reserved_usd_micros)), 0)).where(
        col(JobRow.goal_id) == goal_id
    )
    return from_micros(int(tx.session.execute(query).scalar_one()))


def insert(tx: Tx, job: Job, *, position: int) -> None:
    """Record a job; `position` is its place in its goal's plan."""
    row = JobRow(
        id=job.id,
        goal_id=job.goal_id,
        user_id=job.user_id,
        user_email=job.user_email,
        team=job.team,
        name=job.spec.name,
        provider=job.provider,
        gpu_type="|".join(job.spec.resources.gpu_types),
        gpu_count=job.spec.resources.gpu_count,
        status=job.state.value,
        status_reason=job.status_reason,
        epoch=job.epoch,
        priority=int(job.spec.priority),
        cost_usd_micros=to_micros(job.cost_usd),
        reserved_usd_micros=to_micros(job.reserved_usd),
        spec=JOB_SPEC.dump(job.spec),
        job_metadata={"position": position},
        created_at=job.created_at,
        queued_at=job.queued_at,
        version=job.version,
    )
    tx.session.add(row)
    tx.session.flush()
    _emit(tx, row, "job.queued")


def update(
    tx: Tx,
    job_id: JobId,
    *,
    state: JobState | None = None,
    status_reason: str | None = None,
    epoch: int | None = None,
    cancel_requested: bool | None = None,
    cost_usd: Decimal | None = None,
    reserved_usd: Decimal | None = None,
    exit_code: int | None = None,
    started_at: datetime | None = None,
    finished_at: datetime | None = None,
    moved: bool = False,
    ran_for: timedelta = timedelta(),
) -> Job:
    """Change what is given and return the job without its attempts. A moved job keeps its place in the queue.

    `ran_for` is how long an attempt was under way that made way for another job: that time was not spent waiting.

    Raises NotFound, or LifecycleError for an impossible change.
    """
    row = tx.session.get(JobRow, job_id)
    if row is None:
        raise NotFound(f"there is no job {job_id}", reason="JOB_NOT_FOUND")
    if state is not None and state.value != row.status:
        lifecycle.JOB.check(JobState(row.status), state)
        row.status = state.value
        if moved:
            row.moves += 1
            row.queued_at += ran_for
        elif state is JobState.QUEUED:
            row.queued_at = tx.now
    values = {
        "status_reason": status_reason,
        "epoch": epoch,
        "cancel_requested": cancel_requested,
        "cost_usd_micros": None if cost_usd is None else to_micros(cost_usd),
        "reserved_usd_micros": None if reserved_usd is None else to_micros(reserved_usd),
        "exit_code": exit_code,
        "started_at": started_at,
        "finished_at": finished_at,
    }
    for name, value in values.items():
        if value is not None:
            setattr(row, name, value)
    row.version += 1
    tx.session.add(row)
    _emit(tx, row, f"job.{row.status}")
    return _model(row)


def _emit(tx: Tx, row: JobRow, kind: str) -> None:
    tx.emit(Noun.JOB, row.id, kind, f"{row.name}: {row.status_reason}", parent_id=row.goal_id or "")


def longest_wait_seconds(tx: Tx) -> float:
    """Return for how long the oldest queued job waits; 0 if none does."""
    query = select(func.min(col(JobRow.queued_at))).where(col(JobRow.status) == JobState.QUEUED.value)
    oldest: datetime | None = tx.session.execute(query).scalar()
    return 0.0 if oldest is None else max(0.0, (tx.now - oldest).total_seconds())


def waits_of_started(tx: Tx, *, since: datetime, limit: int = 10_000) -> dict[JobId, float]:
    """Return how many seconds jobs waited from their submission that first ran after `since`."""
    columns = (col(JobRow.id), col(JobRow.created_at), col(JobRow.started_at))
    query = select(*columns).where(columns[2] > since).order_by(columns[2]).limit(limit)
    return {JobId(job): (started - created).total_seconds() for job, created, started in tx.session.execute(query)}


def count_by_state(tx: Tx) -> dict[JobState, int]:
    """Return how many jobs are in each state."""
    rows = tx.session.execute(select(col(JobRow.status), func.count()).group_by(col(JobRow.status)))
    return dict(readable(tx, rows, lambda row: (JobState(row[0]), int(row[1])), "the state of jobs"))
