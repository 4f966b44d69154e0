"""Passes what a write tool asks for to the governor, as an agent's proposal, and tells what became of it."""

import re
from typing import Final

from control_plane.governor.governor import Governor
from control_plane.governor.preview import preview
from control_plane.model.action import Action, ActionState, LaunchJobs, Proposal
from control_plane.model.ids import ACTION
from control_plane.model.tool import ToolContext, ToolStatus
from control_plane.store import actions
from control_plane.store.database import Store, Tx
from control_plane.tools.arguments import Input
from control_plane.tools.definition import AnyWriteTool, Ask, Proposed, Wish
from control_plane.tools.text import clean

_LINE_MAX: Final = 1_000
_REASONING_MAX: Final = 2_000
_DENIED: Final = re.compile(r"denied \((?P<reason>[A-Z][A-Z0-9_]*)\):")

_STATUS: Final = {
    ActionState.AWAITING_APPROVAL: ToolStatus.APPROVAL_REQUIRED,
    ActionState.DENIED: ToolStatus.DENIED,
    ActionState.REJECTED: ToolStatus.DENIED,
    ActionState.EXPIRED: ToolStatus.DENIED,
    ActionState.SUPERSEDED: ToolStatus.DENIED,
    ActionState.FAILED: ToolStatus.ERROR,
}
"""States of an action as a caller hears of them; the others are OK."""


class Proposals:
    """Proposes on behalf of callers. What an agent asks for is never a person's own act."""

    def __init__(self, store: Store, governor: Governor) -> None:
        self._store = store
        self._governor = governor

    async def propose(self, tool: AnyWriteTool, wanted: Input, context: ToolContext) -> tuple[Action, Wish]:
        """Return the action that came of it, as it is now; a repeat of a step returns the same action.

        With `context.dry_run` it is judged, and nothing of it is kept. Raises domain errors.
        """
        key = f"dry run of {context.step_key}" if context.dry_run else context.step_key
        ask = Ask(context.principal, context.caller, key)
        made: list[Wish] = []

        def proposal_of(tx: Tx) -> Proposal:
            wish = tool.wish(tx, ask, wanted)
            made.append(wish)
            return _proposal(tool, ask, wish, context)

        def propose(tx: Tx) -> Action:
            # A repeat is not read anew: what the act has changed may no longer be there under the name it was given.
            recorded = actions.get(tx, ask.id(ACTION, tool.name))
            if recorded is None:
                return self._governor.propose_in(tx, proposal_of(tx))
            made.append(_wish_of(tx, tool, ask, wanted, recorded))
            return recorded

        if context.dry_run:
            action = await preview(self._store, self._governor, proposal_of)
        else:
            action = await self._store.write(propose)
        return action, made[-1]

    async def wish(self, tool: AnyWriteTool, wanted: Input, ask: Ask) -> Wish:
        """Return what a call would ask for, without asking. Raises domain errors."""
        return await self._store.read(lambda tx: tool.wish(tx, ask, wanted))


def _wish_of(tx: Tx, tool: AnyWriteTool, ask: Ask, wanted: Input, recorded: Action) -> Wish:
    """Return what an action was asked for by, from its record; jobs to launch are their own target."""
    if isinstance(recorded.effect, LaunchJobs):
        return tool.wish(tx, ask, wanted)
    return Wish(recorded.effect, target=recorded.job_id or recorded.node_id or "")


def _proposal(tool: AnyWriteTool, ask: Ask, wish: Wish, context: ToolContext) -> Proposal:
    effect = wish.effect
    if isinstance(effect, LaunchJobs) and context.goal_id is not None:
        effect = LaunchJobs(effect.jobs, context.goal_id, effect.budget_usd)
    planned = any((tool.name, target) in context.planned for target in (wish.target, *wish.also))
    return Proposal(
        id=ask.id(ACTION, tool.name),
        effect=effect,
        proposer=context.caller,
        reasoning=clean(context.reasoning, most=_REASONING_MAX),
        is_person=False,
        user_id=context.principal.user_id,
        goal_id=context.goal_id or wish.goal_id,
        job_id=wish.job_id,
        node_id=wish.node_id,
        run_id=context.run_id,
        tainted=context.tainted and not planned,
    )


def status_of(action: Action) -> ToolStatus:
    """Return how a call went that became this action."""
    return _STATUS.get(action.state, ToolStatus.OK)


def told(action: Action, wish: Wish) -> Proposed:
    """Return an action as its caller hears of it."""
    effect = action.effect
    return Proposed(
        action_id=action.id,
        state=action.state.value,
        summary=clean(action.summary, most=_LINE_MAX),
        target=wish.target,
        decision=tuple(clean(line, most=_LINE_MAX) for line in action.decision),
        outcome=clean(action.outcome, most=_LINE_MAX),
        estimate_usd=action.estimate_usd,
        job_ids=tuple(job.id for job in effect.jobs) if isinstance(effect, LaunchJobs) else (),
    )


def problem(action: Action) -> tuple[str, str]:
    """Return the code and the words for an action that was not carried out."""
    if action.state is ActionState.AWAITING_APPROVAL:
        return "APPROVAL_REQUIRED", f"a person must approve it first: orquanta action approve {action.id}"
    if action.state is ActionState.DENIED:
        found = next((match for line in action.decision if (match := _DENIED.match(line))), None)
        return (found["reason"] if found else "DENIED"), clean(action.outcome, most=_LINE_MAX)
    if action.state is ActionState.FAILED:
        return "ACTION_FAILED", clean(action.outcome, most=_LINE_MAX)
    if status_of(action) is ToolStatus.DENIED:
        return f"ACTION_{action.state.name}", clean(action.outcome, most=_LINE_MAX)
    return "", ""
