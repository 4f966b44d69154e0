"""Keeps the books: what hosts report moves attempts, jobs, money and goals forward, each exactly once."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from control_plane.fleet import cost, preemption, progress
from control_plane.governor import goal_ends
from control_plane.model.ids import AllocationId, NodeId
from control_plane.model.job import Allocation, AllocationMember, AllocationState, ExitReason, Job, JobState
from control_plane.model.money import format_usd
from control_plane.model.report import MemberReport
from control_plane.store import allocations, audit, jobs, users
from control_plane.store.database import Tx

log = structlog.get_logger()

_AGENT = "safety_governor"


@dataclass(frozen=True, slots=True)
class Assignment:
    """One member that should run on a node."""

    job: Job
    allocation: Allocation
    member: AllocationMember


@dataclass(frozen=True, slots=True)
class ReportOutcome:
    """What became of a report. `ack` tells the host that it may forget an ended member."""

    ack: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class NodeMembers:
    """The members of one node that have not ended, as of one moment."""

    desired: tuple[Assignment, ...]
    """All that should run there. What is being stopped is not in it."""
    stopping: tuple[Assignment, ...]
    """All that is to stop there."""

    @property
    def withdrawn(self) -> tuple[Assignment, ...]:
        """Those to stop that were withdrawn before the node said anything about them."""
        return tuple(one for one in self.stopping if one.member.state is AllocationState.PENDING)


def of_node(tx: Tx, node_id: NodeId) -> NodeMembers:
    """Return the node's members."""
    wanted: list[Assignment] = []
    stopping: list[Assignment] = []
    for allocation in allocations.live(tx, node_id=node_id):
        job = jobs.require(tx, allocation.job_id, with_allocations=False)
        for member in allocation.members:
            if member.node_id == node_id and member.state is not AllocationState.ENDED:
                (stopping if allocation.stop_requested else wanted).append(Assignment(job, allocation, member))
    return NodeMembers(tuple(wanted), tuple(stopping))


def goes_on(stopped: Assignment) -> bool:
    """Tell whether a further attempt is to take up the work of one that is being stopped: it was moved away.

    Nothing takes it up after a person has cancelled the job, before or after that, or a member of its gang has failed.
    """
    return stopped.allocation.moved and not stopped.job.cancel_requested


def never_started(tx: Tx, node_id: NodeId, members: Collection[tuple[AllocationId, int]]) -> None:
    """End withdrawn members, by allocation and rank, of which the node surely never heard: it cannot report them.

    The caller knows: they are neither in the node's full state nor among what it was asked to run since then.
    """
    for assignment in of_node(tx, node_id).withdrawn:
        allocation, member = assignment.allocation, assignment.member
        if (allocation.id, member.rank) in members:
            apply_report(
                tx,
                node_id,
                MemberReport(
                    allocation_id=allocation.id,
                    job_id=allocation.job_id,
                    epoch=allocation.epoch,
                    rank=member.rank,
                    state=AllocationState.ENDED,
                    exit_reason=ExitReason.STOPPED,
                    message="stopped before it started",
                    ended_at=tx.now,
                ),
            )


def apply_report(tx: Tx, node_id: NodeId, report: MemberReport) -> ReportOutcome:
    """Take a host's report into the books.

    A report about an attempt that has ended in the books, that is older than the job's newest, or that is not this
    node's, changes nothing. The same report twice is the same as once.
    """
    ended = report.state is AllocationState.ENDED
    before = allocations.get(tx, report.allocation_id)
    if before is None:
        log.warning("report.unknown_allocation", node_id=node_id, allocation_id=report.allocation_id)
        return ReportOutcome(ack=ended, changed=False)
    is_its_own = any(member.rank == report.rank and member.node_id == node_id for member in before.members)
    if not is_its_own or (report.job_id, report.epoch) != (before.job_id, before.epoch):
        log.warning("report.foreign_allocation", node_id=node_id, allocation_id=report.allocation_id)
        return ReportOutcome(ack=False, changed=False)
    if before.state is AllocationState.ENDED:
        return ReportOutcome(ack=ended, changed=False)
    after = progress.merge(before, report, tx.now)
    if after == before:
        return ReportOutcome(ack=ended, changed=False)
    advance(tx, before, after)
    return ReportOutcome(ack=ended, changed=True)


def advance(tx: Tx, before: Allocation, after: Allocation) -> Job:
    """Write an attempt's new state and all that follows from it for its job, its money and its goal."""
    job = jobs.require(tx, after.job_id, with_allocations=False)
    if after.state is AllocationState.ENDED:
        after = preemption.settled(job, after)
        charge = cost.attempt_usd(after, reserved_usd=job.reserved_usd)
        after = replace(after, cost_usd=charge)
        job = jobs.update(tx, job.id, cost_usd=job.cost_usd + charge, reserved_usd=job.reserved_usd - charge)
        users.account(tx, job.user_id, spent_usd=charge, reserved_usd=-charge)
    allocations.update(tx, before, after)
    verdict = progress.judge(job, after, max_attempts=job.spec.max_attempts)
    runs = verdict.state is JobState.RUNNING or _ran_unheard(after)
    started = tx.now if runs and job.started_at is None else None
    if verdict.state.ended:
        return close_job(tx, job, verdict.state, verdict.reason, exit_code=verdict.exit_code, started_at=started)
    if verdict.state is not job.state or verdict.reason != job.status_reason:
        moved = after.moved and verdict.state is JobState.QUEUED
        job = jobs.update(
            tx,
            job.id,
            state=verdict.state,
            status_reason=verdict.reason,
            started_at=started,
            moved=moved,
            ran_for=tx.now - after.created_at if after.preempted_for else timedelta(),
        )
        if verdict.state is JobState.QUEUED:
            _record(tx, job, "job.requeued", verdict.reason, cost_impact_usd=Decimal(0))
    return job


def _ran_unheard(allocation: Allocation) -> bool:
    """Tell whether an attempt has ended that ran: of a short one, its end may be the first that is heard of it."""
    ended = allocation.state is AllocationState.ENDED
    return ended and any(member.started_at is not None for member in allocation.members)


def close_job(
    tx: Tx,
    job: Job,
    state: JobState,
    reason: str,
    *,
    exit_code: int | None = None,
    started_at: datetime | None = None,
) -> Job:
    """End a job: give back what is still reserved, cancel what waits for it, and end its goal if it was the last.

    A job that has ended already stays as it is: it may wait for several that end together.
    """
    job = jobs.require(tx, job.id, with_allocations=False)
    if job.state.ended:
        return job
    released = job.reserved_usd
    users.account(tx, job.user_id, spent_usd=Decimal(0), reserved_usd=-released)
    closed = jobs.update(
        tx,
        job.id,
        state=state,
        status_reason=reason,
        exit_code=exit_code,
        reserved_usd=Decimal(0),
        started_at=started_at,
        finished_at=tx.now,
    )
    text = f"{reason}; cost {format_usd(closed.cost_usd)}, {format_usd(released)} given back"
    _record(tx, closed, f"job.{state.value}", text, cost_impact_usd=-released)
    if state is not JobState.SUCCEEDED:
        came_to = "has failed" if state is JobState.FAILED else "was cancelled"
        for dependent in jobs.dependents(tx, closed):
            close_job(tx, dependent, JobState.CANCELLED, f"{job.spec.name} ({job.id}){progress.NEEDED}{came_to}")
    if closed.goal_id is not None:
        goal_ends.close_if_done(tx, closed.goal_id)
    return closed


def _record(tx: Tx, job: Job, action: str, reasoning: str, *, cost_impact_usd: Decimal) -> None:
    audit.append(
        tx,
        agent_name=_AGENT,
        action=action,
        reasoning=reasoning,
        outcome=job.state.value,
        cost_impact_usd=cost_impact_usd,
        goal_id=job.goal_id or "",
        job_id=job.id,
        user_id=job.user_id,
    )
