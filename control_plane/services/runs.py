"""The runs of AgentService: what agents think and do about one goal, incident or question, and how to stop it."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from typing_extensions import override

from control_plane.bus.run_messages import reasoning_event
from control_plane.errors import NotFound
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import GOAL, RUN, RunId, UserId
from control_plane.model.run import Run
from control_plane.services.caller import owner_or, person
from control_plane.services.convert import runs as convert
from control_plane.services.convert.scalars import from_wire
from control_plane.services.mutations import mutation
from control_plane.services.paging import Paging
from control_plane.services.reasoning_stream import ReasoningStream, Wanted
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.others import agent_name
from control_plane.store import audit, run_events, runs
from control_plane.store.database import Store, Tx
from control_plane.store.runs import RunFilter
from orquanta.v1 import agent_pb2
from orquanta.v1.agent_pb2_grpc import AgentServiceServicer

_STATES: Final = from_wire(convert.RUN_STATE)
_NOBODY: Final = UserId("00000000-0000-0000-0000-000000000000")


class Runs(AgentServiceServicer):
    """Serves runs. A run belongs to who its goal belongs to; those of nobody are for operators."""

    def __init__(self, *, store: Store, stream: ReasoningStream) -> None:
        self._store = store
        self._stream = stream

    @override
    async def GetRun(self, request: agent_pb2.GetRunRequest, context: object) -> agent_pb2.GetRunResponse:
        fields = Fields()
        run_id = fields.id("run_id", RUN, request.run_id)
        fields.check()

        def read(tx: Tx) -> agent_pb2.GetRunResponse:
            found = runs.require(tx, run_id)
            events = run_events.newest_of_run(tx, run_id)
            return agent_pb2.GetRunResponse(run=convert.run(found), events=[reasoning_event(event) for event in events])

        await self._own(run_id)
        return await self._store.read(read)

    @override
    async def ListRuns(self, request: agent_pb2.ListRunsRequest, context: object) -> agent_pb2.ListRunsResponse:
        fields = Fields()
        caller = person()
        which = RunFilter(
            goal_id=fields.optional_id("goal_id", GOAL, request.goal_id),
            agent_name=agent_name(fields, "agent_name", request.agent_name) if request.agent_name else "",
            user_id=None if caller.role.allows(Role.OPERATOR) else caller.user_id,
            states=tuple(fields.enums("states", request.states, _STATES)),
        )
        fields.check()
        paging = Paging(request)
        page = await self._store.read(lambda tx: runs.page(tx, which, paging.wanted))
        return agent_pb2.ListRunsResponse(
            runs=[convert.run(one) for one in page.items], next_page_token=paging.next(page.next_token)
        )

    @override
    async def WatchReasoning(
        self, request: agent_pb2.WatchReasoningRequest, context: object
    ) -> AsyncIterator[agent_pb2.WatchReasoningResponse]:
        fields = Fields()
        caller = person()
        wanted = Wanted(
            run_id=fields.optional_id("run_id", RUN, request.run_id),
            goal_id=fields.optional_id("goal_id", GOAL, request.goal_id),
            agent_name=agent_name(fields, "agent_name", request.agent_name) if request.agent_name else "",
            user_id=None if caller.role.allows(Role.OPERATOR) else caller.user_id,
            deltas=request.include_deltas,
        )
        fields.check()
        if wanted.run_id is not None:
            await self._own(wanted.run_id)
        async with aclosing(self._stream.watch(wanted, request.resume_token)) as events:
            async for event, resume_token in events:
                yield agent_pb2.WatchReasoningResponse(event=reasoning_event(event), resume_token=resume_token)

    @override
    async def StopRun(self, request: agent_pb2.StopRunRequest, context: object) -> agent_pb2.StopRunResponse:
        fields = Fields()
        run_id = fields.id("run_id", RUN, request.run_id)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        caller = await self._own(run_id)
        change = mutation("StopRun", request, request.request_id)

        def write(tx: Tx) -> Run:
            if change.remembered(tx) is None:
                _stop(tx, run_id, caller, reason)
                change.remember(tx, run_id)
            return runs.require(tx, run_id)

        return agent_pb2.StopRunResponse(run=convert.run(await self._store.write(write)))

    async def _own(self, run_id: RunId) -> Principal:
        """Return the caller if the run is theirs, or if they are an operator. Raises NotFound, PermissionDenied."""
        found = await self._store.read(lambda tx: runs.get(tx, run_id))
        if found is None:
            raise NotFound(f"there is no run {run_id}; list them with: orquanta agent runs", reason="RUN_NOT_FOUND")
        return owner_or(Role.OPERATOR, found.user_id or _NOBODY, f"run {run_id}")


def _stop(tx: Tx, run_id: RunId, caller: Principal, reason: str) -> None:
    before = runs.require(tx, run_id)
    if before.state.ended:
        return
    runs.request_stop(tx, run_id, f"it was stopped by {caller.email}: {reason or 'no reason given'}")
    audit.append(
        tx,
        agent_name=caller.email,
        action="run.stop",
        reasoning=reason,
        outcome="done",
        goal_id=before.goal_id or "",
        run_id=run_id,
        user_id=caller.user_id,
    )
