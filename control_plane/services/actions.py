"""ActionService: proposed effects, their approval, and the kill switch."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from typing_extensions import override

from control_plane.governor.approvals import Decided
from control_plane.governor.governor import Governor
from control_plane.governor.undo import undo_effect
from control_plane.model.action import Action, Proposal
from control_plane.model.ids import ACTION, GOAL, ActionId, GoalId
from control_plane.model.record import Event, Noun
from control_plane.services.caller import person
from control_plane.services.convert import actions as convert
from control_plane.services.convert.scalars import from_wire
from control_plane.services.mutations import Mutation, mutation
from control_plane.services.paging import Paging
from control_plane.services.proposals import propose
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.others import action_hash
from control_plane.services.watch import Watched, Watcher
from control_plane.store import actions
from control_plane.store.actions import ActionFilter
from control_plane.store.database import Store, Tx
from orquanta.v1 import action_pb2
from orquanta.v1.action_pb2_grpc import ActionServiceServicer

_STATES: Final = from_wire(convert.ACTION_STATE)


class Actions(ActionServiceServicer):
    """Serves actions."""

    def __init__(self, *, store: Store, governor: Governor, watcher: Watcher) -> None:
        self._store = store
        self._governor = governor
        self._watcher = watcher

    @override
    async def GetAction(self, request: action_pb2.GetActionRequest, context: object) -> action_pb2.GetActionResponse:
        fields = Fields()
        action_id = fields.id("action_id", ACTION, request.action_id)
        fields.check()
        action = await self._store.read(lambda tx: actions.require(tx, action_id))
        return action_pb2.GetActionResponse(action=convert.action(action))

    @override
    async def ListActions(
        self, request: action_pb2.ListActionsRequest, context: object
    ) -> action_pb2.ListActionsResponse:
        fields = Fields()
        which = ActionFilter(
            states=tuple(fields.enums("states", request.states, _STATES)),
            goal_id=fields.optional_id("goal_id", GOAL, request.goal_id),
        )
        fields.check()
        paging = Paging(request)
        page = await self._store.read(lambda tx: actions.page(tx, which, paging.wanted))
        return action_pb2.ListActionsResponse(
            actions=[convert.action(action) for action in page.items], next_page_token=paging.next(page.next_token)
        )

    @override
    async def WatchActions(
        self, request: action_pb2.WatchActionsRequest, context: object
    ) -> AsyncIterator[action_pb2.WatchActionsResponse]:
        fields = Fields()
        goal_id = fields.optional_id("goal_id", GOAL, request.goal_id)
        fields.check()
        async for change in self._watcher.watch(_watched(goal_id), request.resume_token):
            yield action_pb2.WatchActionsResponse(action=convert.action(change.item), resume_token=change.resume_token)

    @override
    async def ApproveAction(
        self, request: action_pb2.ApproveActionRequest, context: object
    ) -> action_pb2.ApproveActionResponse:
        fields = Fields()
        action_id = fields.id("action_id", ACTION, request.action_id)
        approved_hash = action_hash(fields, request.hash)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("ApproveAction", request, request.request_id)
        caller = person()

        def approve(tx: Tx) -> Decided:
            made = change.remembered(tx)
            if made is not None:
                return Decided(actions.require(tx, ActionId(made)))
            decided = self._governor.approvals.approve_in(tx, action_id, caller, approved_hash, reason)
            if decided.error is None:
                change.remember(tx, action_id)
            return decided

        decided = await self._store.write(approve)
        if decided.error is not None:
            raise decided.error
        return action_pb2.ApproveActionResponse(action=convert.action(decided.action))

    @override
    async def RejectAction(
        self, request: action_pb2.RejectActionRequest, context: object
    ) -> action_pb2.RejectActionResponse:
        fields = Fields()
        action_id = fields.id("action_id", ACTION, request.action_id)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("RejectAction", request, request.request_id)
        caller = person()

        def reject(tx: Tx) -> Action:
            made = change.remembered(tx)
            if made is not None:
                return actions.require(tx, ActionId(made))
            rejected = self._governor.approvals.reject_in(tx, action_id, caller, reason)
            change.remember(tx, action_id)
            return rejected

        return action_pb2.RejectActionResponse(action=convert.action(await self._store.write(reject)))

    @override
    async def UndoAction(self, request: action_pb2.UndoActionRequest, context: object) -> action_pb2.UndoActionResponse:
        fields = Fields()
        action_id = fields.id("action_id", ACTION, request.action_id)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("UndoAction", request, request.request_id)
        caller = person()

        def proposal(tx: Tx) -> Proposal:
            first = actions.require(tx, action_id)
            return Proposal(
                id=change.id(ACTION),
                effect=undo_effect(tx, first, reason or f"{caller.email} undoes {first.id}"),
                proposer=caller.email,
                reasoning=reason or f"undo of {first.id}",
                is_person=not caller.for_agent,
                user_id=caller.user_id,
                goal_id=first.goal_id,
                job_id=first.job_id,
                node_id=first.node_id,
                undoes=first.id,
            )

        action = await propose(self._store, self._governor, change, proposal)
        return action_pb2.UndoActionResponse(action=convert.action(action))

    @override
    async def StopAll(self, request: action_pb2.StopAllRequest, context: object) -> action_pb2.StopAllResponse:
        switch = await self._switch("StopAll", request, engaged=True)
        return action_pb2.StopAllResponse(kill_switch=switch)

    @override
    async def ResumeAll(self, request: action_pb2.ResumeAllRequest, context: object) -> action_pb2.ResumeAllResponse:
        switch = await self._switch("ResumeAll", request, engaged=False)
        return action_pb2.ResumeAllResponse(kill_switch=switch)

    @override
    async def GetKillSwitch(
        self, request: action_pb2.GetKillSwitchRequest, context: object
    ) -> action_pb2.GetKillSwitchResponse:
        switch = await self._store.read(actions.kill_switch)
        return action_pb2.GetKillSwitchResponse(kill_switch=convert.kill_switch(switch))

    async def _switch(
        self, method: str, request: action_pb2.StopAllRequest | action_pb2.ResumeAllRequest, *, engaged: bool
    ) -> action_pb2.KillSwitch:
        fields = Fields()
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation(method, request, request.request_id)
        # A retry that comes late must not undo what somebody decided since.
        if await self._store.read(change.remembered) is not None:
            return convert.kill_switch(await self._store.read(actions.kill_switch))
        switch = await self._governor.set_kill_switch(engaged=engaged, principal=person(), reason=reason)
        await self._remember(change, "kill-switch")
        return convert.kill_switch(switch)

    async def _remember(self, change: Mutation, result_id: str) -> None:
        """Record the request id; the decision itself is safe to repeat, should this not happen."""

        def record(tx: Tx) -> None:
            if change.remembered(tx) is None:
                change.remember(tx, result_id)

        await self._store.write(record)


def _watched(goal_id: GoalId | None) -> Watched[ActionId, Action]:
    def concerns(event: Event) -> ActionId | None:
        if event.noun is not Noun.ACTION or (goal_id and event.parent_id != goal_id):
            return None
        return ActionId(event.id)

    def current(tx: Tx) -> Sequence[Action]:
        return actions.awaiting(tx, goal_id)

    def load(tx: Tx, action_ids: Iterable[ActionId]) -> Mapping[ActionId, Action]:
        found = ((wanted, actions.get(tx, wanted)) for wanted in action_ids)
        return {wanted: action for wanted, action in found if action is not None}

    return Watched(
        scope=("actions", goal_id or ""), concerns=concerns, current=current, load=load, ended=lambda _tx: False
    )
