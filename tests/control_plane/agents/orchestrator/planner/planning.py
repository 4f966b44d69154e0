"""What the planner's tests share: a fixed time, exchange rates and the walk over a plan's said fields."""

import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, tzinfo
from decimal import Decimal

from control_plane.agents.orchestrator.planner import plan_goal
from control_plane.model.plan import Constraints, GpuRequest, Intent, Plan, Targets

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)  # a Monday
FX_USD = {"EUR": Decimal("1.10"), "GBP": Decimal("1.30"), "CNY": Decimal("0.14"), "JPY": Decimal("0.0065")}


def plan(text: str, answers: dict[str, str] | None = None, timezone: tzinfo = UTC) -> Plan:
    """Plan a goal at the fixed time."""
    return plan_goal(text, now=NOW, timezone=timezone, fx_usd=FX_USD, answers=answers)


def said_fields(subject: Plan) -> Iterator[str]:
    """Yield the path of each field that holds something a person said."""
    if subject.intent not in (Intent.AMBIGUOUS, Intent.UNSAFE):
        yield "intent"
    named = [(f"jobs[{index}]", job) for index, job in enumerate(subject.jobs)]
    if subject.subject is not None:
        named.append(("subject", subject.subject))
    for prefix, job in named:
        for name in ("image", "command", "max_seconds", "condition"):
            if getattr(job, name) is not None:
                yield f"{prefix}.{name}"
        yield from (f"{prefix}.gpu.{f.name}" for f in fields(GpuRequest) if getattr(job.gpu, f.name) not in _NOTHING)
    for prefix, kind in (("constraints", Constraints), ("targets", Targets)):
        part = getattr(subject, prefix)
        yield from (f"{prefix}.{f.name}" for f in fields(kind) if getattr(part, f.name) not in _NOTHING)
    if subject.plan_only:
        yield "plan_only"


_NOTHING = (None, (), False)


def is_zero(subject: Plan, path: str) -> bool:
    """Whether a path holds the number 0, which equals False and so would look unsaid."""
    value: object = subject
    for name in re.findall(r"\w+", path):
        value = value[int(name)] if isinstance(value, tuple) else getattr(value, name)
    return value == 0 and value is not False
