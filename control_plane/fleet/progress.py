"""How reports from hosts move an attempt and its job forward. Pure: old values in, new values out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from control_plane.fleet.lifecycle import ALLOCATION
from control_plane.model.ids import NodeId
from control_plane.model.job import (
    Allocation,
    AllocationMember,
    AllocationState,
    ExitReason,
    Job,
    JobState,
)
from control_plane.model.report import MemberReport

STOPPING = "is being stopped: "
"""How the status reason of a job begins that a person has asked to stop."""

NEEDED = ", which it needs, "
"""What the status reason of a job holds that was cancelled because another one did not succeed."""

MOVES_MAX = 20
"""Moves of one job that burn none of its attempts; beyond that something is wrong with the job."""

_OF_A_FAULT = frozenset({ExitReason.EXITED, ExitReason.SIGNALED, ExitReason.START_FAILED})
"""How processes end under which a GPU fails: whether it did is heard a moment later."""

_NEVER = datetime.max.replace(tzinfo=UTC)


def merge(allocation: Allocation, report: MemberReport, now: datetime) -> Allocation:
    """Return the attempt after a report. A report that says less than is known changes nothing."""
    members = []
    for member in allocation.members:
        if member.rank == report.rank and ALLOCATION.allows(member.state, report.state):
            members.append(_merge_member(allocation, member, report))
        else:
            members.append(member)
    return _settle(replace(allocation, members=tuple(members)), now)


def _merge_member(allocation: Allocation, member: AllocationMember, report: MemberReport) -> AllocationMember:
    reason = report.exit_reason
    gang_mate_ended = any(other.rank != member.rank and _failed(other) for other in allocation.members)
    if reason is ExitReason.STOPPED and gang_mate_ended:
        reason = ExitReason.GANG_STOPPED
    return replace(
        member,
        state=report.state,
        exit_reason=reason,
        exit_code=report.exit_code,
        signal=report.signal,
        message=report.message,
        peak_memory_bytes=max(member.peak_memory_bytes, report.peak_memory_bytes),
        gpu_seconds=max(member.gpu_seconds, report.gpu_seconds),
        started_at=member.started_at or report.started_at,
        ended_at=report.ended_at,
    )


def lose(allocation: Allocation, node_ids: Collection[NodeId], now: datetime) -> Allocation:
    """Return the attempt after these nodes were given up: what had not ended there has ended as lost.

    Members on other hosts still run: they are stopped, and the attempt ends when their hosts say so.
    """
    members = tuple(
        replace(
            member,
            state=AllocationState.ENDED,
            exit_reason=ExitReason.NODE_LOST,
            message="its node was lost",
            ended_at=now,
        )
        if member.state is not AllocationState.ENDED and member.node_id in node_ids
        else member
        for member in allocation.members
    )
    return _settle(replace(allocation, members=members), now)


def request_stop(allocation: Allocation, now: datetime) -> Allocation:
    """Return the attempt with a stop on its way; hosts stop what they are no longer asked to run."""
    return _settle(replace(allocation, stop_requested=True), now)


def request_move(allocation: Allocation, now: datetime) -> Allocation:
    """Return the attempt with a stop on its way, so that the job can go on elsewhere.

    One that is being stopped already stays as it is: whoever stopped it has decided what becomes of the job.
    """
    if allocation.stop_requested:
        return allocation
    return _settle(replace(allocation, stop_requested=True, moved=True), now)


def _failed(member: AllocationMember) -> bool:
    return member.state is AllocationState.ENDED and not _succeeded(member)


def _succeeded(member: AllocationMember) -> bool:
    return member.exit_reason is ExitReason.EXITED and member.exit_code == 0


def _settle(allocation: Allocation, now: datetime) -> Allocation:
    """Return the attempt with its own state, stop request and waiver derived from its members."""
    states = [member.state for member in allocation.members]
    if all(state is AllocationState.ENDED for state in states) and not _is_doubtful(allocation):
        cause = first_failure(allocation)
        lost = cause is not None and cause.exit_reason is not None and cause.exit_reason.is_infrastructure
        waived = lost or (allocation.moved and cause is not None)
        return replace(allocation, state=AllocationState.ENDED, waived=waived, ended_at=allocation.ended_at or now)
    # A gang is all or nothing: once one member has failed, the others are stopped.
    stop = allocation.stop_requested or any(_failed(member) for member in allocation.members)
    if stop or AllocationState.STOPPING in states:
        derived = AllocationState.STOPPING
    elif all(state in (AllocationState.RUNNING, AllocationState.ENDED) for state in states):
        derived = AllocationState.RUNNING
    elif any(state is not AllocationState.PENDING for state in states):
        derived = AllocationState.STARTING
    else:
        derived = AllocationState.PENDING
    state = derived if ALLOCATION.allows(allocation.state, derived) else allocation.state
    return replace(allocation, state=state, stop_requested=stop)


def _is_doubtful(allocation: Allocation) -> bool:
    """Tell whether a fault of a GPU may be to blame for the end of all members: then the verdict waits."""
    cause = first_failure(allocation)
    has_gpus = any(member.gpu_uuids for member in allocation.members)
    return has_gpus and not allocation.moved and cause is not None and cause.exit_reason in _OF_A_FAULT


def is_undecided(allocation: Allocation) -> bool:
    """Tell whether every member has ended, and the attempt waits for the verdict whose fault that was."""
    ended = all(member.state is AllocationState.ENDED for member in allocation.members)
    return ended and allocation.state is not AllocationState.ENDED


def conclude(allocation: Allocation, now: datetime, faults: Mapping[int, str]) -> Allocation:
    """Return an undecided attempt with its end: lost by the fleet if there were faults, else by the job's own.

    `faults` tells, by rank, in words what failed under a member.
    """
    cause = first_failure(allocation)
    members = allocation.members
    if faults and cause is not None:
        fault = faults[cause.rank] if cause.rank in faults else faults[min(faults)]
        told = replace(cause, message=f"{cause.message}; {fault}" if cause.message else fault)
        members = tuple(told if member.rank == cause.rank else member for member in members)
    return replace(
        allocation,
        members=members,
        state=AllocationState.ENDED,
        stop_requested=True,
        waived=bool(faults),
        ended_at=allocation.ended_at or now,
    )


def first_failure(allocation: Allocation) -> AllocationMember | None:
    """Return the member that is to blame for a failed attempt, or None if none failed.

    A lost host is to blame before anything else: its gang mates fail because they cannot reach it. Those that were
    only stopped because of another one are not to blame.
    """
    failed = [member for member in allocation.members if _failed(member)]
    if not failed:
        return None
    consequences = (ExitReason.GANG_STOPPED, ExitReason.STOPPED)
    lost = [member for member in failed if member.exit_reason is not None and member.exit_reason.is_infrastructure]
    causes = lost or [member for member in failed if member.exit_reason not in consequences] or failed
    return min(causes, key=lambda member: (member.ended_at or _NEVER, member.rank))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt's new state means for its job."""

    state: JobState
    reason: str
    exit_code: int | None = None


def judge(job: Job, allocation: Allocation, *, max_attempts: int) -> Verdict:
    """Return what the job becomes, given its newest attempt."""
    if allocation.state is not AllocationState.ENDED:
        return _judge_live(job, allocation)
    cause = first_failure(allocation)
    if cause is None:
        return Verdict(JobState.SUCCEEDED, "every process ended with exit code 0", 0)
    if job.cancel_requested:
        return Verdict(JobState.CANCELLED, job.status_reason.removeprefix(STOPPING), cause.exit_code)
    if allocation.preempted_for is not None and job.moves < MOVES_MAX:
        return Verdict(
            JobState.QUEUED,
            f"attempt {allocation.epoch} made way for {allocation.preempted_for}; it goes on when there is room",
        )
    if allocation.moved and job.moves < MOVES_MAX:
        return Verdict(
            JobState.QUEUED, f"attempt {allocation.epoch} was moved away ({describe(cause)}); it goes on elsewhere"
        )
    if allocation.waived:
        if allocation.epoch - job.moves < max_attempts:
            return Verdict(
                JobState.QUEUED, f"attempt {allocation.epoch} was lost ({describe(cause)}); it is tried again"
            )
        return Verdict(
            JobState.FAILED, f"attempt {allocation.epoch} of at most {max_attempts} was lost: {describe(cause)}"
        )
    return Verdict(JobState.FAILED, describe(cause), cause.exit_code)


def _judge_live(job: Job, allocation: Allocation) -> Verdict:
    nodes = ", ".join(member.node_name for member in allocation.members)
    if allocation.state is AllocationState.RUNNING:
        return Verdict(JobState.RUNNING, f"runs on {nodes}")
    cause = first_failure(allocation)
    if cause is not None and is_undecided(allocation) and not job.cancel_requested:
        return Verdict(job.state, f"{describe(cause)}; waits a moment for word of a fault of its GPUs")
    if allocation.state is AllocationState.STOPPING:
        if allocation.preempted_for is not None and not job.cancel_requested:
            return Verdict(job.state, f"makes way for {allocation.preempted_for}")
        return Verdict(job.state, job.status_reason if job.cancel_requested else f"is being stopped on {nodes}")
    return Verdict(job.state, f"starts on {nodes}")


def describe(member: AllocationMember) -> str:
    """Return how a member ended, for a person."""
    texts = {
        ExitReason.EXITED: f"exit code {member.exit_code}",
        ExitReason.SIGNALED: f"killed by signal {member.signal}",
        ExitReason.OOM_KILLED: "out of memory: the kernel killed it; ask for more memory",
        ExitReason.STOPPED: "stopped on request",
        ExitReason.TIMED_OUT: "ran longer than its time limit",
        ExitReason.FENCED: "its host was out of contact for too long and stopped it",
        ExitReason.START_FAILED: "could not be started",
        ExitReason.SUPERVISOR_LOST: "its supervisor was killed",
        ExitReason.NODE_LOST: "its node was lost",
        ExitReason.GANG_STOPPED: "stopped because another member of its gang ended",
    }
    text = texts[member.exit_reason] if member.exit_reason else "still runs"
    where = (
        f"rank {member.rank} on {member.node_name}: " if member.rank or member.message else f"on {member.node_name}: "
    )
    if member.message.startswith(text):  # the host says the same, and more
        return f"{where}{member.message}"
    detail = f" ({member.message})" if member.message and member.exit_reason is not ExitReason.NODE_LOST else ""
    return f"{where}{text}{detail}"
