"""What notices say. Pure. Nothing private: a summary without secrets, an estimate, ids, a hash, and what to type."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from control_plane.model.action import Action, ActionState
from control_plane.model.incident import Incident
from control_plane.model.money import format_usd
from control_plane.model.redaction import redact
from control_plane.store.notices import ESCALATED, EXPIRING

_SUMMARY_CHARACTERS_MAX: Final = 300


class WebhookKind(StrEnum):
    """What a webhook's receiver understands."""

    JSON = "json"
    SLACK = "slack"


def of_action(kind: str, action: Action, form: WebhookKind) -> str:
    """Return the body of a notice about an action."""
    summary = _plain(action.summary)
    fields = {
        "kind": kind,
        "action_id": action.id,
        "action_kind": action.kind,
        "state": action.state.value,
        "summary": summary,
        "estimate_usd": str(action.estimate_usd),
        "hash": action.hash,
        "show": f"orquanta action show {action.id}",
    }
    price = format_usd(action.estimate_usd)
    money = f", at most {price}" if action.estimate_usd and price not in summary else ""
    if action.state is ActionState.AWAITING_APPROVAL and action.expires_at is not None:
        fields["expires_at"] = action.expires_at.isoformat()
        fields["approve"] = f"orquanta action approve {action.id} --hash {action.hash}"
        need = action.approval_need.count if action.approval_need else 1
        fields["approvals_missing"] = str(max(need - len(action.approvals), 0))
        until = f"{action.expires_at:%H:%M} UTC"
        begin = "Soon nobody can approve it any more" if kind == EXPIRING else "An action waits for approval"
        text = f"{begin} (until {until}): {summary}{money}\n{fields['approve']}"
    else:
        text = f"{action.id} is {action.state.value.replace('_', ' ')}: {summary}\n{fields['show']}"
    return _body(fields, text, form)


def of_incident(incident: Incident, form: WebhookKind) -> str:
    """Return the body of a notice about an incident that waits for a person."""
    fields = {
        "kind": ESCALATED,
        "incident_id": incident.id,
        "node": incident.node_name,
        "summary": _plain(incident.summary),
        "show": f"orquanta incident show {incident.id}",
    }
    text = f"An incident needs a person: {fields['summary']} ({incident.node_name})\n{fields['show']}"
    return _body(fields, text, form)


def _body(fields: Mapping[str, str], text: str, form: WebhookKind) -> str:
    return _FORMS[form](fields, text)


def _slack(_fields: Mapping[str, str], text: str) -> str:
    # Slack reads <...> as a command, for example one that calls a whole channel.
    return json.dumps({"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")})


def _json(fields: Mapping[str, str], text: str) -> str:
    return json.dumps({**fields, "text": text})


_FORMS: Final[Mapping[WebhookKind, Callable[[Mapping[str, str], str], str]]] = {
    WebhookKind.JSON: _json,
    WebhookKind.SLACK: _slack,
}


def _plain(text: str) -> str:
    """One printable line without secrets."""
    line = " ".join(redact(text).split())
    printable = "".join(character if character.isprintable() else "?" for character in line)
    return printable if len(printable) <= _SUMMARY_CHARACTERS_MAX else f"{printable[:_SUMMARY_CHARACTERS_MAX]}..."
