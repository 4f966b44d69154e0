"""Replicas of the control plane as people see them."""

from collections.abc import Sequence
from datetime import datetime

from control_plane.replicas.directory import Replica
from orquanta.v1 import agent_pb2


def replica_list(
    replicas: Sequence[Replica], epoch: int, leader: str, since: datetime | None, *, answered_by: str
) -> agent_pb2.ListReplicasResponse:
    """Return the replicas and who leads."""
    made = agent_pb2.ListReplicasResponse(
        replicas=[_replica(one, leads=one.said.name == leader) for one in replicas],
        control_epoch=epoch,
        answered_by=answered_by,
    )
    if since is not None:
        made.leads_since.FromDatetime(since)
    return made


def _replica(replica: Replica, *, leads: bool) -> agent_pb2.Replica:
    said = replica.said
    made = agent_pb2.Replica(
        name=said.name,
        server=said.server,
        link_server=said.link_server,
        leads=leads,
        links=said.links,
        version=said.version,
        policy_version=said.policy_version,
        settings_version=said.settings_version,
        silent_seconds=replica.silent_seconds,
    )
    made.started_at.FromDatetime(datetime.fromisoformat(said.started_at))
    return made
