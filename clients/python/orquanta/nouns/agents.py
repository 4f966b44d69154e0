"""Agents: the loops that propose actions."""

from collections.abc import AsyncGenerator, Iterable, Sequence

from orquanta.convert.agents import read_agent, read_reasoning_status, read_replicas
from orquanta.convert.runs import read_event, read_run
from orquanta.convert.scalars import write_enum
from orquanta.transport import Transport, paged, request_id_or_new
from orquanta.types.agents import Agent, ReasoningStatus, Replicas
from orquanta.types.runs import ReasoningEvent, Run, RunState, RunView
from orquanta.v1 import agent_pb2 as pb
from orquanta.v1.agent_pb2_grpc import AgentServiceStub


class AsyncAgents:
    """Look at agents, pause and resume them; follow what they think and do."""

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

    async def replicas(self) -> Replicas:
        """The control planes of this fleet, and which of them leads."""
        response = await self._transport.call(self._stub.ListReplicas, pb.ListReplicasRequest())
        return read_replicas(response)

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

    async def pause_all(self, *, reason: str = "", request_id: str | None = None) -> tuple[Agent, ...]:
        """Pause every agent that proposes anything; those that only keep books, rules and memories go on."""
        request = pb.PauseAllAgentsRequest(reason=reason, request_id=request_id_or_new(request_id))
        response = await self._transport.call(self._stub.PauseAllAgents, request)
        return tuple(read_agent(agent) for agent in response.agents)

    async def resume_all(self, *, reason: str = "", request_id: str | None = None) -> tuple[Agent, ...]:
        """Resume every agent."""
        request = pb.ResumeAllAgentsRequest(reason=reason, request_id=request_id_or_new(request_id))
        response = await self._transport.call(self._stub.ResumeAllAgents, request)
        return tuple(read_agent(agent) for agent in response.agents)

    async def run(self, run_id: str) -> RunView:
        """One reasoning run with its newest events, at most 500. Raises NotFound."""
        response = await self._transport.call(self._stub.GetRun, pb.GetRunRequest(run_id=run_id))
        return RunView(read_run(response.run), tuple(read_event(event) for event in response.events))

    def runs(
        self, *, goal_id: str = "", agent_name: str = "", states: Iterable[RunState] = (), page_size: int = 0
    ) -> AsyncGenerator[Run, None]:
        """Reasoning runs, newest first; pages are fetched as needed."""
        wanted = [write_enum(pb.RunState, state) for state in states]

        async def fetch(token: str) -> tuple[Sequence[Run], str]:
            response = await self._transport.call(
                self._stub.ListRuns,
                pb.ListRunsRequest(
                    page_size=page_size, page_token=token, goal_id=goal_id, agent_name=agent_name, states=wanted
                ),
            )
            return [read_run(run) for run in response.runs], response.next_page_token

        return paged(fetch)

    def watch(
        self, *, run_id: str = "", goal_id: str = "", agent_name: str = "", deltas: bool = False
    ) -> AsyncGenerator[ReasoningEvent, None]:
        """What agents think and do, over broken connections without a gap or a repeat.

        Of a run or a goal from its beginning, otherwise from now. A run's stream ends with the run. With `deltas` also
        what a model writes while it writes it.
        """
        return self._transport.watch(
            self._stub.WatchReasoning,
            lambda token: pb.WatchReasoningRequest(
                run_id=run_id, goal_id=goal_id, agent_name=agent_name, resume_token=token, include_deltas=deltas
            ),
            lambda response: read_event(response.event),
            until=None if run_id else lambda _event: False,
        )

    async def stop_run(self, run_id: str, *, reason: str = "", request_id: str | None = None) -> Run:
        """End a run at its next step; what it has done stays done."""
        response = await self._transport.call(
            self._stub.StopRun,
            pb.StopRunRequest(run_id=run_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_run(response.run)

    async def models(self) -> ReasoningStatus:
        """Which models there are to reason with, what they can do, and what was used today."""
        response = await self._transport.call(self._stub.GetReasoningStatus, pb.GetReasoningStatusRequest())
        return read_reasoning_status(response)
