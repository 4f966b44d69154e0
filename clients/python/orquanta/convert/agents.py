"""Agents from the wire."""

from orquanta.convert.scalars import read_enum, read_time
from orquanta.types.agents import Agent, AgentStatus
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
