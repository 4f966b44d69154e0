"""Passes a person's wish through the governor, once for each request id."""

from collections.abc import Callable
from typing import Final

from control_plane.errors import PreconditionFailed
from control_plane.governor.governor import Governor, denial_error
from control_plane.model.action import Action, ActionState, Proposal
from control_plane.model.ids import ActionId
from control_plane.services.mutations import Mutation
from control_plane.store import actions
from control_plane.store.database import Store, Tx

_ANSWERS_NAME_THE_ACTION: Final = frozenset({"launch_jobs", "drain_node", "repair_node"})


async def propose(
    store: Store, governor: Governor, mutation: Mutation, proposal_of: Callable[[Tx], Proposal]
) -> Action:
    """Return the action that came of a proposal; a retry returns the same action as it is now.

    `proposal_of` makes the proposal in the transaction that decides it, so that what it read still holds.

    Raises:
        PreconditionFailed, ResourceExhausted: the governor denied it, or it failed; the reason is the rule's. Or it
            waits for people (APPROVAL_NEEDED, with its id), and its answer has no place to say so.
    """

    def decide(tx: Tx) -> Action:
        made = mutation.remembered(tx)
        if made is not None:
            return actions.require(tx, ActionId(made))
        action = governor.propose_in(tx, proposal_of(tx))
        mutation.remember(tx, action.id)
        return action

    action = await store.write(decide)
    if action.state in (ActionState.DENIED, ActionState.FAILED):  # recorded, with its reasons, and only then refused
        raise denial_error(action)
    if action.state is ActionState.AWAITING_APPROVAL and action.kind not in _ANSWERS_NAME_THE_ACTION:
        raise PreconditionFailed(
            f"this waits for an approval: {action.summary}; another operator can give it with: orquanta action approve "
            f"{action.id}",
            reason="APPROVAL_NEEDED",
            metadata={"action_id": action.id},
        )
    return action
