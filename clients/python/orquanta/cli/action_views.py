"""How actions are shown: what would be done, who has approved it, who may, and for how long it waits."""

import json
from collections.abc import Sequence
from datetime import timedelta

from orquanta.cli.documents import Document
from orquanta.cli.formats import moment, money, now, relative, short, span, words
from orquanta.cli.output import Output
from orquanta.types.actions import Action, ActionState, Approval


def print_action(output: Output, action: Action) -> None:
    """All of an action."""
    output.fields(
        [
            ("action", action.id),
            ("state", words(action.state)),
            *_what(action),
            ("proposed by", action.proposer),
            ("because", action.reasoning),
            ("read strangers' words", "yes" if action.tainted else ""),
            ("governor", "\n".join(action.decision)),
            ("policies", action.policy_version),
            *_approvals(action),
            ("goal", action.goal_id),
            ("job", action.job_id),
            ("node", action.node_id),
            ("run", action.run_id),
            ("undoes", action.undoes),
            ("undone by", action.undone_by),
            ("decided by", action.decided_by),
            ("outcome", action.outcome),
            ("proposed", moment(action.created_at)),
            ("ended", moment(action.finished_at)),
            ("hash", action.hash),
        ]
    )


def print_asked(output: Output, action: Action) -> None:
    """What a person is about to approve: exactly what is bound by their approval, and who else must."""
    output.fields(
        [
            ("action", action.id),
            *_what(action),
            ("proposed by", action.proposer),
            ("because", action.reasoning),
            ("read strangers' words", "yes" if action.tainted else ""),
            *_approvals(action),
            ("hash", action.hash),
        ]
    )


def print_waiting(output: Output, actions: Sequence[Action]) -> None:
    """Actions that wait for an approval: who may give it, and how much time is left."""
    output.table(
        ("action", "what", "by", "estimate", "needs", "time left"),
        [
            (
                action.id,
                short(action.summary or action.kind),
                action.proposer,
                money(action.estimate_usd),
                still_needed(action),
                time_left(action),
            )
            for action in actions
        ],
        empty="Nothing waits for an approval.",
    )


def still_needed(action: Action) -> str:
    """How many people must still approve, and who may: "1 of 2 more: admin"."""
    need = action.approval_need
    if need is None:
        return "an operator"
    missing = max(need.count - len(action.approvals), 0)
    people = "one person" if missing == 1 else f"{missing} people"
    asker = action.proposer if "@" in action.proposer else "who asked for it"
    return f"{people} more of {need.count} ({' or '.join(need.allowed) or 'operator'}, not {asker})"


def time_left(action: Action) -> str:
    """How long an action waits still."""
    if action.expires_at is None:
        return "-"
    seconds = (action.expires_at - now()) / timedelta(seconds=1)
    return span(seconds) if seconds > 0 else "none"


def _what(action: Action) -> list[tuple[str, str]]:
    try:
        arguments = json.dumps(_told(json.loads(action.arguments_json or "{}")), indent=2, ensure_ascii=False)
    except ValueError:
        arguments = action.arguments_json
    return [
        ("what", action.summary),
        ("kind", action.kind),
        ("arguments", arguments),
        ("estimate", money(action.estimate_usd)),
    ]


def _told(value: Document) -> Document:
    """JSON without what is empty or not set, so that a person sees what is; numbers and false stay."""
    if isinstance(value, dict):
        return {key: _told(item) for key, item in value.items() if item not in (None, "", [], {})}
    return [_told(item) for item in value] if isinstance(value, list) else value


def _approvals(action: Action) -> list[tuple[str, str]]:
    shown = [("approved by", "\n".join(map(_approval, action.approvals)))]
    if action.state is ActionState.AWAITING_APPROVAL:
        shown.append(("needs", still_needed(action)))
        shown.append(("approval until", moment(action.expires_at)))
    return shown


def _approval(approval: Approval) -> str:
    by_grant = f" beforehand, {approval.grant_id}" if approval.grant_id else ""
    reason = f": {approval.reason}" if approval.reason else ""
    return f"{approval.approver}{by_grant}, {relative(approval.approved_at)}{reason}"
