"""Words for incidents: what is wrong and why a repair fits, citing the evidence. Pure."""

from collections.abc import Collection, Iterable

from control_plane.model.health import Authority, Condition, ConditionSeverity

_CONDITIONS_TOLD = 8
_EVIDENCE_CITED = 4

_SAYS = {
    Authority.DRIVER: "the driver itself asks for it",
    Authority.CATALOGUE: "the vendor's catalogue says so",
    Authority.RULE: "a rule of the daemon says so",
}


def summary(node_name: str, conditions: Collection[Condition]) -> str:
    """Return the trouble in one line, for example "alpha: XID 79 on GPU-1 (and 2 more)"."""
    if not conditions:
        return f"{node_name}: repair on request"
    worst = min(conditions, key=lambda one: (-one.severity, one.first_seen_at, one.id))
    more = f" (and {len(conditions) - 1} more)" if len(conditions) > 1 else ""
    return f"{node_name}: {worst.summary or worst.kind}{more}"


def diagnose(conditions: Iterable[Condition]) -> str:
    """Return what is wrong and why which repair fits, one line for each condition, citing evidence ids."""
    lines = []
    told = list(conditions)
    for one in told[:_CONDITIONS_TOLD]:
        cited = ", ".join(piece.id for piece in one.evidence[:_EVIDENCE_CITED]) or "no evidence kept"
        lines.append(f"{one.id}: {one.summary or one.kind}, {seen(one.count)} [{cited}]; {fitting(one)}")
    if len(told) > _CONDITIONS_TOLD:
        lines.append(f"and {len(told) - _CONDITIONS_TOLD} more conditions")
    return "\n".join(lines)


def seen(count: int) -> str:
    """Return how often something was seen."""
    return "seen once" if count == 1 else f"seen {count} times"


def fitting(condition: Condition) -> str:
    """Return which repair fits a condition and who says so, or that none is known."""
    if condition.repair is None:
        fatal = condition.severity is ConditionSeverity.FATAL
        return "no repair is known for it" + ("; it takes no jobs until it is over" if fatal else "")
    why = _SAYS.get(condition.authority, "") if condition.authority else ""
    vendor = f" ({condition.vendor_action})" if condition.vendor_action else ""
    before = condition.earlier_repairs
    again = f"; it was repaired {'once' if before == 1 else f'{before} times'} before" if before else ""
    return f"fits: {condition.repair.words}{vendor}" + (f", as {why}" if why else "") + again
