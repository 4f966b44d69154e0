"""Who turns a goal's text into a plan."""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Protocol

from control_plane.model.plan import Plan


class Planner(Protocol):
    """Turns a text into a plan. Pure: the same arguments always give the same plan."""

    def __call__(
        self,
        text: str,
        *,
        now: datetime,
        timezone: tzinfo,
        fx_usd: Mapping[str, Decimal],
        floor_price_usd_per_hour: Mapping[str, Decimal],
        answers: Mapping[str, str],
    ) -> Plan:
        """Return the plan; `answers` are a person's, by the field of the question."""
        ...


def plan_by_rules(
    text: str,
    *,
    now: datetime,
    timezone: tzinfo,
    fx_usd: Mapping[str, Decimal],
    floor_price_usd_per_hour: Mapping[str, Decimal],
    answers: Mapping[str, str],
) -> Plan:
    """Return the plan by rules. Blocking."""
    # Its patterns take half of a cold start to compile: the first goal waits for them, in its thread, not the fleet.
    from control_plane.agents.orchestrator.planner import plan_goal  # noqa: PLC0415 - see above

    return plan_goal(
        text,
        now=now,
        timezone=timezone,
        fx_usd=fx_usd,
        floor_price_usd_per_hour=floor_price_usd_per_hour,
        answers=answers,
    )
