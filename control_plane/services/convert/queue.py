"""The queue, what hosts are worth to a job, and quotas on the wire."""

from collections.abc import Sequence
from typing import Final

from control_plane.fleet.placement.verdicts import Verdict
from control_plane.fleet.queueing.figures import TeamFigures
from control_plane.fleet.queueing.model import Standing, WaitingJob, WaitReason
from control_plane.services.convert.jobs import PRIORITY, resources
from control_plane.services.convert.scalars import timestamp, wire_enum
from orquanta.v1 import queue_pb2, quota_pb2

WAIT_REASON: Final = wire_enum(WaitReason, queue_pb2.WaitReason.Value, "WAIT_REASON")


def entry(standing: Standing, job: WaitingJob, name: str) -> queue_pb2.QueueEntry:
    """Return a job that waits, with where it stands."""
    return queue_pb2.QueueEntry(
        job_id=job.job_id,
        name=name,
        team=job.team,
        user_email=job.user_email,
        position=standing.position,
        priority=PRIORITY[job.priority],
        resources=resources(job.resources),
        wait_reason=WAIT_REASON[standing.reason],
        waits_for=standing.waits_for,
        would_help=standing.would_help,
        estimated_start_at=timestamp(standing.estimated_start_at),
        queued_at=timestamp(job.queued_at),
        epoch=job.epoch,
    )


def verdict(value: Verdict) -> queue_pb2.NodeVerdict:
    """Return what is thought of a host for one job."""
    return queue_pb2.NodeVerdict(node_id=value.node_id, node_name=value.name, fits=value.fits, reason=value.reason)


def quota(value: TeamFigures, members: Sequence[str] = ()) -> quota_pb2.Quota:
    """Return what a team is entitled to, holds and waits for."""
    return quota_pb2.Quota(
        team=value.team.path,
        weight=value.team.weight,
        guaranteed_gpus=value.team.guaranteed_gpus,
        max_gpus=value.team.max_gpus,
        held_gpus=value.held_gpus,
        borrowed_gpus=value.borrowed_gpus,
        waiting_gpus=value.waiting_gpus,
        running_jobs=value.running_jobs,
        waiting_jobs=value.waiting_jobs,
        dominant_share=value.dominant_share,
        members=members,
    )
