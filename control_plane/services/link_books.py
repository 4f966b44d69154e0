"""A host's reports into the books: checked against what was placed there, in one transaction for many."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from control_plane.governor import books
from control_plane.model.ids import AllocationId, NodeId
from control_plane.model.job import WHOLE_GPU_MILLI, Allocation, AllocationMember, AllocationState
from control_plane.model.report import MemberReport
from control_plane.store import allocations, audit
from control_plane.store.database import Tx

MemberKey = tuple[AllocationId, int]
"""Allocation and rank."""

_SLACK_SECONDS: Final = 1.0  # between a host's measure of time and ours


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one report.

    `ack`: the host may forget the member. `leftover`: it runs on the host, and the books have given it up.
    `foreign`: it is not this node's to report.
    """

    key: MemberKey
    ack: bool
    leftover: bool
    foreign: bool = False


def settle(tx: Tx, node_id: NodeId, reports: Sequence[MemberReport], *, audit_foreign: bool) -> list[Settled]:
    """Take reports of one node into the books, in order; with `audit_foreign`, the first foreign one goes on record."""
    known = allocations.existing(tx, {report.allocation_id for report in reports})
    settled: list[Settled] = []
    for report in reports:
        if report.allocation_id in known:
            settled.append(_settle(tx, node_id, report, audit_foreign=audit_foreign))
            audit_foreign = audit_foreign and not settled[-1].foreign
        else:
            settled.append(_unknown(report))
    return settled


def _unknown(report: MemberReport, *, foreign: bool = False) -> Settled:
    """Nothing is changed by it. What runs has to end, and what has ended may be forgotten by the host."""
    ended = report.state is AllocationState.ENDED
    return Settled((report.allocation_id, report.rank), ack=ended, leftover=not ended, foreign=foreign)


def _settle(tx: Tx, node_id: NodeId, report: MemberReport, *, audit_foreign: bool) -> Settled:
    key = (report.allocation_id, report.rank)
    ended = report.state is AllocationState.ENDED
    allocation = allocations.get(tx, report.allocation_id)
    member = None if allocation is None else _member(allocation, node_id, report)
    if allocation is None or member is None:
        if allocation is not None and audit_foreign:
            _audit_foreign(tx, node_id, allocation, report)
        return _unknown(report, foreign=allocation is not None)
    outcome = books.apply_report(tx, node_id, _within_reason(tx, node_id, allocation, member, report))
    given_up = AllocationState.ENDED in (allocation.state, member.state)
    return Settled(key, ack=outcome.ack or (ended and given_up), leftover=given_up and not ended)


def _member(allocation: Allocation, node_id: NodeId, report: MemberReport) -> AllocationMember | None:
    if allocation.job_id != report.job_id or allocation.epoch != report.epoch:
        return None
    return next(
        (member for member in allocation.members if member.rank == report.rank and member.node_id == node_id), None
    )


def _within_reason(
    tx: Tx, node_id: NodeId, allocation: Allocation, member: AllocationMember, report: MemberReport
) -> MemberReport:
    """No host can have used its GPUs for longer than it was given them: a person pays for what it says."""
    wall_seconds = max(0.0, (tx.now - allocation.created_at).total_seconds()) + _SLACK_SECONDS
    most = wall_seconds * len(member.gpu_uuids) * allocation.gpu_milli / WHOLE_GPU_MILLI
    if report.gpu_seconds <= most:
        return report
    if report.state is AllocationState.ENDED and member.state is not AllocationState.ENDED:
        audit.append(
            tx,
            agent_name="node-link",
            action="report.correct",
            reasoning=f"the host reports {report.gpu_seconds:.1f} GPU-seconds; since the placement no more than "
            f"{most:.1f} can have passed, which is what counts",
            outcome="corrected",
            payload={"reported_gpu_seconds": report.gpu_seconds, "counted_gpu_seconds": most, "rank": report.rank},
            job_id=allocation.job_id,
            node_id=node_id,
        )
    return replace(report, gpu_seconds=most)


def _audit_foreign(tx: Tx, node_id: NodeId, allocation: Allocation, report: MemberReport) -> None:
    audit.append(
        tx,
        agent_name="node-link",
        action="report.refuse",
        reasoning="the node reports about a member of an attempt that is not its own; it may be in a stranger's hands",
        outcome="refused",
        payload={"allocation_id": allocation.id, "epoch": report.epoch, "rank": report.rank},
        job_id=allocation.job_id,
        node_id=node_id,
    )
