"""Actions: proposed effects, approvals and the kill switch."""

from collections.abc import AsyncGenerator, Iterable, Sequence

from orquanta.convert.actions import read_action, read_kill_switch
from orquanta.convert.scalars import write_enum
from orquanta.transport import Transport, paged, request_id_or_new
from orquanta.types.actions import Action, ActionState, KillSwitch
from orquanta.v1 import action_pb2 as pb
from orquanta.v1.action_pb2_grpc import ActionServiceStub


class AsyncActions:
    """Look at what was proposed, approve or reject it, stop everything."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = ActionServiceStub(transport.channel)

    async def get(self, action_id: str) -> Action:
        """One action. Raises NotFound."""
        response = await self._transport.call(self._stub.GetAction, pb.GetActionRequest(action_id=action_id))
        return read_action(response.action)

    def list(
        self, *, states: Iterable[ActionState] = (), goal_id: str = "", page_size: int = 0
    ) -> AsyncGenerator[Action, None]:
        """Actions, newest first; pages are fetched as they are needed."""
        wanted = [write_enum(pb.ActionState, state) for state in states]

        async def fetch(token: str) -> tuple[Sequence[Action], str]:
            response = await self._transport.call(
                self._stub.ListActions,
                pb.ListActionsRequest(page_size=page_size, page_token=token, states=wanted, goal_id=goal_id),
            )
            return [read_action(action) for action in response.actions], response.next_page_token

        return paged(fetch)

    def watch(self, *, goal_id: str = "") -> AsyncGenerator[Action, None]:
        """Every action that awaits approval, then each action after each change; never ends by itself."""
        return self._transport.watch(
            self._stub.WatchActions,
            lambda token: pb.WatchActionsRequest(goal_id=goal_id, resume_token=token),
            lambda event: read_action(event.action),
            until=lambda _action: False,
        )

    async def approve(
        self, action_id: str, action_hash: str, *, reason: str = "", request_id: str | None = None
    ) -> Action:
        """Approve exactly the action whose hash (`Action.hash`) is given, never your own.

        Raises PreconditionFailed or Conflict if the action is not that one or does not await approval.
        """
        response = await self._transport.call(
            self._stub.ApproveAction,
            pb.ApproveActionRequest(
                action_id=action_id,
                hash=action_hash,
                reason=reason,
                request_id=request_id_or_new(request_id),
            ),
        )
        return read_action(response.action)

    async def reject(self, action_id: str, *, reason: str = "", request_id: str | None = None) -> Action:
        """Reject an action that awaits approval."""
        response = await self._transport.call(
            self._stub.RejectAction,
            pb.RejectActionRequest(action_id=action_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_action(response.action)

    async def undo(self, action_id: str, *, reason: str = "", request_id: str | None = None) -> Action:
        """Take back what a done action did. Returns the action that does so; it may need an approval of its own.

        Raises PreconditionFailed if there is no undo, or what is undone is not as the action left it.
        """
        response = await self._transport.call(
            self._stub.UndoAction,
            pb.UndoActionRequest(action_id=action_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_action(response.action)

    async def stop_all(self, *, reason: str = "", request_id: str | None = None) -> KillSwitch:
        """Stop all effects at once; reads go on, running jobs go on."""
        response = await self._transport.call(
            self._stub.StopAll, pb.StopAllRequest(reason=reason, request_id=request_id_or_new(request_id))
        )
        return read_kill_switch(response.kill_switch)

    async def resume_all(self, *, reason: str = "", request_id: str | None = None) -> KillSwitch:
        """Release the kill switch."""
        response = await self._transport.call(
            self._stub.ResumeAll, pb.ResumeAllRequest(reason=reason, request_id=request_id_or_new(request_id))
        )
        return read_kill_switch(response.kill_switch)

    async def kill_switch(self) -> KillSwitch:
        """Whether the kill switch is engaged."""
        response = await self._transport.call(self._stub.GetKillSwitch, pb.GetKillSwitchRequest())
        return read_kill_switch(response.kill_switch)
