"""Agents: the loops that propose actions."""

from orquanta.convert.agents import read_agent, read_reasoning_status
from orquanta.transport import Transport, request_id_or_new
from orquanta.types.agents import Agent, ReasoningStatus
from orquanta.v1 import agent_pb2 as pb
from orquanta.v1.agent_pb2_grpc import AgentServiceStub


class AsyncAgents:
    """Look at agents, pause and resume them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = AgentServiceStub(transport.channel)

    async def list(self) -> tuple[Agent, ...]:
        """The agents by name."""
        response = await self._transport.call(self._stub.ListAgents, pb.ListAgentsRequest())
        return tuple(read_agent(agent) for agent in response.agents)

    async def get(self, name: str) -> Agent:
        """One agent. Raises NotFound."""
        response = await self._transport.call(self._stub.GetAgent, pb.GetAgentRequest(name=name))
        return read_agent(response.agent)

    async def pause(self, name: str, *, reason: str = "", request_id: str | None = None) -> Agent:
        """Pause an agent: it proposes nothing until resumed."""
        response = await self._transport.call(
            self._stub.PauseAgent,
            pb.PauseAgentRequest(name=name, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_agent(response.agent)

    async def resume(self, name: str, *, reason: str = "", request_id: str | None = None) -> Agent:
        """Resume a paused agent."""
        response = await self._transport.call(
            self._stub.ResumeAgent,
            pb.ResumeAgentRequest(name=name, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_agent(response.agent)

    async def models(self) -> ReasoningStatus:
        """Which models there are to reason with, what they can do, and what was used today."""
        response = await self._transport.call(self._stub.GetReasoningStatus, pb.GetReasoningStatusRequest())
        return read_reasoning_status(response)
