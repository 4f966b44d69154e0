"""When a host takes no jobs by its own decision: pure, for the daemon to ask."""

from collections.abc import Sequence
from typing import Final

from node_agent.health.model import Condition, Scope, Severity
from node_agent.policy.keeper import PolicyStanding

AFTER_SECONDS: Final = 60.0
"""How long the link must be down where no policy says so."""
_SHOWN = 3


def cordon_reason(
    *,
    link_down_seconds: float | None,
    standing: PolicyStanding,
    after_seconds: float | None,
    conditions: Sequence[Condition],
) -> str:
    """Return why the host takes no jobs now; empty if it does.

    `link_down_seconds` is None while the link is up: then the control plane decides, who knows the conditions.
    `after_seconds` is the policy's, of an expired one too.
    """
    if link_down_seconds is None:
        return ""
    fatal = [
        condition.summary
        for condition in conditions
        if condition.scope is Scope.HOST and condition.severity is Severity.FATAL
    ]
    if fatal:
        more = f" and {len(fatal) - _SHOWN} more" if len(fatal) > _SHOWN else ""
        return f"the control plane cannot hear of what is wrong here: {'; '.join(fatal[:_SHOWN])}{more}"
    after = AFTER_SECONDS if after_seconds is None else after_seconds
    if standing is not PolicyStanding.VALID and link_down_seconds > after:
        what = "its local policy has run out" if standing is PolicyStanding.EXPIRED else "it has no local policy"
        return f"the link has been down for longer than {after:.0f} s and {what}"
    return ""
