"""Plain values for the fleet's pure rules."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from control_plane.model.ids import ALLOCATION, NODE, AllocationId, JobId, UserId, derived_id
from control_plane.model.job import (
    Allocation,
    AllocationMember,
    AllocationState,
    ExitReason,
    Job,
    JobSpec,
    JobState,
)
from control_plane.model.report import MemberReport
from tests.control_plane.world import job_id, spec

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
ATTEMPT: AllocationId = derived_id(ALLOCATION, "attempt")


def job(name: str = "train", one: JobSpec | None = None, *, user: str = "ada", epoch: int = 0) -> Job:
    return Job(
        id=job_id(name),
        goal_id=None,
        user_id=UserId(user),
        user_email=f"{user}@example.com",
        spec=replace(one or spec(), name=name),
        state=JobState.QUEUED,
        status_reason="",
        epoch=epoch,
        provider="owned",
        created_at=NOW,
        queued_at=NOW,
        version=1,
    )


def member(rank: int, node: str = "", *, gpu_seconds: float = 0.0) -> AllocationMember:
    name = node or f"node-{rank}"
    return AllocationMember(rank, derived_id(NODE, name), name, (f"GPU-{name}-0",), gpu_seconds=gpu_seconds)


def allocation(*members: AllocationMember) -> Allocation:
    return Allocation(
        id=ATTEMPT,
        job_id=job_id("train"),
        epoch=1,
        state=AllocationState.PENDING,
        gpu_type="H100",
        price_usd_per_gpu_hour=Decimal("3.99"),
        max_runtime_seconds=3600,
        master_address="",
        master_port=20_000,
        placement_reason="",
        created_at=NOW,
        members=members,
    )


def report(
    rank: int,
    state: AllocationState,
    reason: ExitReason | None = None,
    *,
    exit_code: int | None = None,
    ended_at: datetime | None = None,
    gpu_seconds: float = 0.0,
    of: JobId = job_id("train"),  # noqa: B008 - an id is a text
) -> MemberReport:
    return MemberReport(
        allocation_id=ATTEMPT,
        job_id=of,
        epoch=1,
        rank=rank,
        state=state,
        exit_reason=reason,
        exit_code=exit_code,
        gpu_seconds=gpu_seconds,
        ended_at=ended_at,
    )
