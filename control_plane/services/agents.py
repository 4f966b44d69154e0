"""AgentService: the loops that propose, and how to pause them."""

from typing_extensions import override

from control_plane.errors import NotFound
from control_plane.model.agent import AgentRecord
from control_plane.reasoning.contract import ReasoningReport
from control_plane.services.caller import person
from control_plane.services.convert import records as convert
from control_plane.services.convert.reasoning import reasoning_status
from control_plane.services.mutations import mutation
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.others import agent_name
from control_plane.store import agents, audit, model_usage
from control_plane.store.database import Store, Tx
from orquanta.v1 import agent_pb2
from orquanta.v1.agent_pb2_grpc import AgentServiceServicer


class Agents(AgentServiceServicer):
    """Serves agents."""

    def __init__(self, *, store: Store, reasoning: ReasoningReport) -> None:
        self._store = store
        self._reasoning = reasoning

    @override
    async def ListAgents(self, request: agent_pb2.ListAgentsRequest, context: object) -> agent_pb2.ListAgentsResponse:
        found = await self._store.read(agents.every)
        return agent_pb2.ListAgentsResponse(agents=[convert.agent(agent) for agent in found])

    @override
    async def GetAgent(self, request: agent_pb2.GetAgentRequest, context: object) -> agent_pb2.GetAgentResponse:
        fields = Fields()
        name = agent_name(fields, "name", request.name)
        fields.check()
        agent = await self._store.read(lambda tx: _require(tx, name))
        return agent_pb2.GetAgentResponse(agent=convert.agent(agent))

    @override
    async def PauseAgent(self, request: agent_pb2.PauseAgentRequest, context: object) -> agent_pb2.PauseAgentResponse:
        return agent_pb2.PauseAgentResponse(agent=await self._set("PauseAgent", request, paused=True))

    @override
    async def ResumeAgent(
        self, request: agent_pb2.ResumeAgentRequest, context: object
    ) -> agent_pb2.ResumeAgentResponse:
        return agent_pb2.ResumeAgentResponse(agent=await self._set("ResumeAgent", request, paused=False))

    @override
    async def GetReasoningStatus(
        self, request: agent_pb2.GetReasoningStatusRequest, context: object
    ) -> agent_pb2.GetReasoningStatusResponse:
        today = await self._store.read(model_usage.of_day)
        return reasoning_status(self._reasoning, today)

    async def _set(
        self, method: str, request: agent_pb2.PauseAgentRequest | agent_pb2.ResumeAgentRequest, *, paused: bool
    ) -> agent_pb2.Agent:
        fields = Fields()
        name = agent_name(fields, "name", request.name)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation(method, request, request.request_id)
        caller = person()

        def write(tx: Tx) -> AgentRecord:
            agent = _require(tx, name)
            if change.remembered(tx) is None:
                if agent.paused != paused:
                    agents.set_paused(tx, name, paused=paused)
                    audit.append(
                        tx,
                        agent_name=caller.email,
                        action="agent.paused" if paused else "agent.resumed",
                        reasoning=reason,
                        outcome="done",
                        payload={"agent": name},
                        user_id=caller.user_id,
                    )
                change.remember(tx, name)
            return _require(tx, name)

        return convert.agent(await self._store.write(write))


def _require(tx: Tx, name: str) -> AgentRecord:
    agent = agents.get(tx, name)
    if agent is None:
        known = ", ".join(record.name for record in agents.every(tx))
        raise NotFound(f"there is no agent {name!r}; there are {known or 'none'}", reason="AGENT_NOT_FOUND")
    return agent
