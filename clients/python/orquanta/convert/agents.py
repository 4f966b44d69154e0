"""Agents from the wire."""

from orquanta.convert.scalars import read_enum, read_time, read_usd
from orquanta.types.agents import Agent, AgentStatus, ModelEndpoint, ReasoningStatus, Replica, Replicas
from orquanta.v1 import agent_pb2 as pb


def read_agent(message: pb.Agent) -> Agent:
    """An agent."""
    return Agent(
        name=message.name,
        status=read_enum(AgentStatus, pb.AgentStatus, message.status),
        paused=message.paused,
        last_action=message.last_action,
        last_error=message.last_error,
        metrics=dict(message.metrics),
        updated_at=read_time(message.updated_at),
    )


def read_reasoning_status(message: pb.GetReasoningStatusResponse) -> ReasoningStatus:
    """How reasoning is done."""
    return ReasoningStatus(
        endpoints=tuple(_read_endpoint(endpoint) for endpoint in message.endpoints),
        cost_today_usd=read_usd(message.cost_today_usd_micros),
        cost_per_day_usd=read_usd(message.cost_per_day_usd_micros),
        tokens_today=message.tokens_today,
    )


def read_replicas(message: pb.ListReplicasResponse) -> Replicas:
    """The control planes of a fleet."""
    return Replicas(
        replicas=tuple(_read_replica(replica) for replica in message.replicas),
        control_epoch=message.control_epoch,
        leads_since=read_time(message.leads_since),
        answered_by=message.answered_by,
    )


def _read_replica(message: pb.Replica) -> Replica:
    return Replica(
        name=message.name,
        server=message.server,
        link_server=message.link_server,
        leads=message.leads,
        links=message.links,
        version=message.version,
        policy_version=message.policy_version,
        settings_version=message.settings_version,
        started_at=read_time(message.started_at),
        silent_seconds=message.silent_seconds,
    )


def _read_endpoint(message: pb.ModelEndpoint) -> ModelEndpoint:
    return ModelEndpoint(
        name=message.name,
        model=message.model,
        base_url=message.base_url,
        mode=message.mode,
        tools=message.tools,
        streams=message.streams,
        breaker=message.breaker,
        last_error=message.last_error,
        calls=message.calls,
        failures=message.failures,
    )
