"""The queue and quotas from the wire."""

from orquanta.convert.jobs import read_job, read_resources
from orquanta.convert.scalars import read_enum, read_set_enum, read_time
from orquanta.types.jobs import JobPriority
from orquanta.types.queues import JobExplanation, NodeVerdict, QueueEntry, Quota, Quotas, WaitReason
from orquanta.v1 import job_pb2, queue_pb2, quota_pb2


def read_entry(message: queue_pb2.QueueEntry) -> QueueEntry:
    """A job that waits."""
    return QueueEntry(
        job_id=message.job_id,
        name=message.name,
        team=message.team,
        user_email=message.user_email,
        position=message.position,
        priority=read_set_enum(JobPriority, job_pb2.JobPriority, message.priority) or JobPriority.NORMAL,
        resources=read_resources(message.resources),
        wait_reason=read_enum(WaitReason, queue_pb2.WaitReason, message.wait_reason),
        waits_for=message.waits_for,
        would_help=tuple(message.would_help),
        estimated_start_at=read_time(message.estimated_start_at),
        queued_at=read_time(message.queued_at),
        epoch=message.epoch,
    )


def read_explanation(message: queue_pb2.ExplainJobResponse) -> JobExplanation:
    """Why a job waits or runs where it runs."""
    return JobExplanation(
        job=read_job(message.job),
        waiting=read_entry(message.waiting) if message.HasField("waiting") else None,
        placement_reason=message.placement_reason,
        nodes=tuple(NodeVerdict(one.node_id, one.node_name, one.fits, one.reason) for one in message.nodes),
        making_way_job_ids=tuple(message.making_way_job_ids),
    )


def read_quota(message: quota_pb2.Quota) -> Quota:
    """A team."""
    return Quota(
        team=message.team,
        weight=message.weight,
        guaranteed_gpus=message.guaranteed_gpus,
        max_gpus=message.max_gpus if message.HasField("max_gpus") else None,
        held_gpus=message.held_gpus,
        borrowed_gpus=message.borrowed_gpus,
        waiting_gpus=message.waiting_gpus,
        running_jobs=message.running_jobs,
        waiting_jobs=message.waiting_jobs,
        dominant_share=message.dominant_share,
        members=tuple(message.members),
    )


def read_quotas(message: quota_pb2.ListQuotasResponse) -> Quotas:
    """All teams."""
    return Quotas(tuple(read_quota(one) for one in message.quotas), message.fleet_gpus, message.guaranteed_gpus)
