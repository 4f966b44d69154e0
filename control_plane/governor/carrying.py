"""Carries out an action that may be: all of its effect, or nothing of it."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import structlog

from control_plane.errors import OrQuantaError, Unavailable
from control_plane.fleet.prices import PriceTable
from control_plane.governor.execution import execute
from control_plane.governor.undo import check_undo
from control_plane.model.action import Action, ActionState, Proposal
from control_plane.store import actions
from control_plane.store.database import Tx
from control_plane.store.transaction import Inseparable

log = structlog.get_logger()


def carry_out(tx: Tx, proposal: Proposal, action: Action, prices: PriceTable) -> tuple[Action, Decimal]:
    """Execute, and undo everything if that fails.

    Raises Unavailable when the database is away, and Inseparable where only the whole transaction can be undone.
    """
    try:
        with tx.savepoint():
            if proposal.undoes is not None:
                check_undo(tx, proposal)
            outcome = execute(tx, proposal, prices)
            if proposal.undoes is not None:
                actions.mark_undone(tx, proposal.undoes, by=proposal.id)
    except (Unavailable, Inseparable):
        raise
    except OrQuantaError as error:
        return ended(action, ActionState.FAILED, str(error), tx.now), Decimal(0)
    except Exception as error:
        log.exception("action.failed", action_id=action.id, kind=action.kind)
        return ended(action, ActionState.FAILED, f"internal error: {type(error).__name__}", tx.now), Decimal(0)
    return ended(action, ActionState.DONE, outcome.text, tx.now), outcome.cost_impact_usd


def ended(action: Action, state: ActionState, outcome: str, now: datetime) -> Action:
    """Return the action as it has ended."""
    return replace(action, state=state, outcome=outcome, finished_at=now)
