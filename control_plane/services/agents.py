"""AgentService: the loops that propose, and how to pause them."""

from typing_extensions import override

from control_plane.errors import NotFound, PreconditionFailed
from control_plane.model.agent import AgentRecord
from control_plane.model.identity import Principal
from control_plane.reasoning.contract import ReasoningReport
from control_plane.replicas.directory import Directory
from control_plane.services.caller import person
from control_plane.services.convert import records as convert
from control_plane.services.convert.reasoning import reasoning_status
from control_plane.services.convert.replicas import replica_list
from control_plane.services.mutations import mutation
from control_plane.services.reasoning_stream import ReasoningStream
from control_plane.services.runs import Runs
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.others import agent_name
from control_plane.store import agents, audit, model_usage
from control_plane.store.database import Store, Tx
from orquanta.v1 import agent_pb2

_NEVER_PAUSED = frozenset({"auditor", "memory_keeper", "policy_keeper", "safety_governor"})
"""They propose nothing: they sign, remember, and keep rules and approvals up to date."""


class Agents(Runs):
    """Serves agents, and the runs in which they reason."""

    def __init__(
        self, *, store: Store, reasoning: ReasoningReport, stream: ReasoningStream, directory: Directory | None = None
    ) -> None:
        super().__init__(store=store, stream=stream)
        self._reasoning = reasoning
        self._directory = directory

    @override
    async def ListReplicas(
        self, request: agent_pb2.ListReplicasRequest, context: object
    ) -> agent_pb2.ListReplicasResponse:
        epoch, leader, since = await self._store.leadership()
        if self._directory is None:
            return replica_list((), epoch, leader, since, answered_by="")
        own = self._directory.own_name
        return replica_list(self._directory.replicas(), epoch, leader or own, since, answered_by=own)

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
    async def PauseAllAgents(
        self, request: agent_pb2.PauseAllAgentsRequest, context: object
    ) -> agent_pb2.PauseAllAgentsResponse:
        return agent_pb2.PauseAllAgentsResponse(agents=await self._set_all("PauseAllAgents", request, paused=True))

    @override
    async def ResumeAllAgents(
        self, request: agent_pb2.ResumeAllAgentsRequest, context: object
    ) -> agent_pb2.ResumeAllAgentsResponse:
        return agent_pb2.ResumeAllAgentsResponse(agents=await self._set_all("ResumeAllAgents", request, paused=False))

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
            if paused and name in _NEVER_PAUSED:
                raise PreconditionFailed(
                    f"{name} proposes nothing and is never paused: what it does keeps the others honest",
                    reason="AGENT_NEVER_PAUSED",
                )
            if change.remembered(tx) is None:
                if agent.paused != paused:
                    _pause(tx, name, caller, reason, paused=paused)
                change.remember(tx, name)
            return _require(tx, name)

        return convert.agent(await self._store.write(write))

    async def _set_all(
        self,
        method: str,
        request: agent_pb2.PauseAllAgentsRequest | agent_pb2.ResumeAllAgentsRequest,
        *,
        paused: bool,
    ) -> list[agent_pb2.Agent]:
        fields = Fields()
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation(method, request, request.request_id)
        caller = person()

        def write(tx: Tx) -> tuple[AgentRecord, ...]:
            if change.remembered(tx) is None:
                for agent in agents.every(tx):
                    if agent.paused != paused and agent.name not in _NEVER_PAUSED:
                        _pause(tx, agent.name, caller, reason, paused=paused)
                change.remember(tx, "all")
            return agents.every(tx)

        return [convert.agent(agent) for agent in await self._store.write(write)]


def _pause(tx: Tx, name: str, caller: Principal, reason: str, *, paused: bool) -> None:
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


def _require(tx: Tx, name: str) -> AgentRecord:
    agent = agents.get(tx, name)
    if agent is None:
        known = ", ".join(record.name for record in agents.every(tx))
        raise NotFound(f"there is no agent {name!r}; there are {known or 'none'}", reason="AGENT_NOT_FOUND")
    return agent
