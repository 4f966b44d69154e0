"""What would become of a proposal now: judged and carried out as ever, and then taken back whole."""

from collections.abc import Callable

from control_plane.governor.governor import Governor
from control_plane.model.action import Action, Proposal
from control_plane.store.database import Store, Tx


class _TakenBack(Exception):
    """Ends the transaction of a preview, so that nothing of it is kept."""

    def __init__(self, action: Action) -> None:
        super().__init__(action.id)
        self.action = action


async def preview(store: Store, governor: Governor, proposal_of: Callable[[Tx], Proposal]) -> Action:
    """Return the action that a proposal would become, with every rule's verdict; nothing of it happens or is kept.

    `proposal_of` makes the proposal in the transaction that judges it.
    """

    def judge(tx: Tx) -> None:
        raise _TakenBack(governor.propose_in(tx, proposal_of(tx)))

    try:
        await store.write(judge)
    except _TakenBack as taken_back:
        return taken_back.action
    raise AssertionError("a preview always takes itself back")
