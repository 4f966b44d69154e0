"""Pages for people: conditions, events, repairs and status in plain text. What comes from a host is made printable."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from orquanta.v1 import health_pb2, repair_pb2

_SEVERITIES: Final = {
    health_pb2.CONDITION_SEVERITY_FATAL: "FATAL",
    health_pb2.CONDITION_SEVERITY_WARNING: "WARNING",
    health_pb2.CONDITION_SEVERITY_INFO: "info",
}
_EVIDENCE_SHOWN: Final = 3


def printable(text: str) -> str:
    """Return text without what could steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def moment(stamp: Timestamp) -> str:
    """Return a time as people read it, in UTC."""
    return stamp.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%S") if stamp.seconds else "-"


def severity(condition: health_pb2.Condition) -> str:
    """Return how bad a condition is, in one word."""
    return _SEVERITIES.get(condition.severity, "?")


def rung(number: int) -> str:
    """Return a rung's name, such as `reset_gpu`; a dash for none."""
    name = _name(repair_pb2.RepairRung, number, "REPAIR_RUNG_")
    return "-" if name == "unspecified" else name


def describe_conditions(conditions: Sequence[health_pb2.Condition]) -> Iterable[str]:
    """Yield lines: each condition with its repair, who says so and its newest evidence."""
    if not conditions:
        yield "Nothing is wrong."
    for one in conditions:
        known = f", acknowledged by {printable(one.acknowledged_by)}" if one.acknowledged_by else ""
        yield f"{severity(one):8} {printable(one.id)}{known}"
        yield f"         {printable(one.summary)}"
        if one.repair:
            authority = _name(health_pb2.Authority, one.authority, "AUTHORITY_")
            vendor = f", {printable(one.vendor_action)}" if one.vendor_action else ""
            yield f"         repair: {rung(one.repair)} (says the {authority}{vendor})"
        yield f"         seen {one.count} time(s), first {moment(one.first_seen_at)}, last {moment(one.last_seen_at)}"
        for evidence in one.evidence[-_EVIDENCE_SHOWN:]:
            yield f"           {moment(evidence.observed_at)}  {printable(evidence.text)}  [{printable(evidence.id)}]"


def describe_event(event: health_pb2.HealthEvent) -> str:
    """Return one event as a line."""
    kind = _name(health_pb2.HealthEventKind, event.kind, "HEALTH_EVENT_KIND_")
    condition = event.condition
    why = f" ({printable(event.reason)})" if event.reason else ""
    return (
        f"{moment(event.occurred_at)}  {kind:8} {severity(condition):8} {printable(condition.id)}"
        f"  {printable(condition.summary)}{why}"
    )


def describe_repair(report: repair_pb2.RepairReport) -> Iterable[str]:
    """Yield lines: a repair, its steps and what its verification found."""
    state = _name(repair_pb2.RepairState, report.state, "REPAIR_STATE_")
    origin = _name(repair_pb2.RepairOrigin, report.origin, "REPAIR_ORIGIN_").replace("_", " ")
    dry = ", dry run" if report.dry_run else ""
    yield f"{moment(report.started_at)}  {printable(report.repair_id)}  {rung(report.rung)}  {state}  by {origin}{dry}"
    yield f"    {printable(report.message)}"
    for step in report.steps:
        undo = "undo: " if step.undo else ""
        mark = "ok    " if step.ok else "FAILED"
        seconds = step.took.ToTimedelta().total_seconds()
        yield f"    {mark} {undo}{printable(step.name)} ({seconds:.1f} s) {printable(step.detail)}".rstrip()
    for check in report.checks:
        outcome = _name(repair_pb2.CheckOutcome, check.outcome, "CHECK_OUTCOME_").replace("_", " ")
        yield f"    check {printable(check.name)}: {outcome} {printable(check.detail)}".rstrip()


def describe_status(value: dict[str, Any]) -> Iterable[str]:
    """Yield the lines of `status`. Any: it comes from JSON."""
    if not value["joined"]:
        yield f"not joined ({value['state_dir']}); run `orquanta-node join` first"
        return
    link = value.get("link") or {}
    up = f"up, {link.get('server', '')}" if link.get("connected") else f"down: {link.get('reason', '')}"
    yield f"node      {value.get('node_id', '')} ({value.get('node_name', '')})"
    if not value["running"]:
        hung = f"does not answer, pid {value['pid']}" if value["pid"] else "not running"
        yield f"daemon    {hung}; start it with: systemctl start orquanta-node"
        return
    yield f"daemon    running, pid {value['pid']}, version {value.get('version', '')}"
    yield f"link      {printable(up)}"
    yield f"expires   {value.get('certificate_expires_at', '')}"
    yield f"gpus      {len(value.get('gpus', []))}"
    for name in ("cordoned", "spool", "policy", "kernel_log", "repair"):
        if value.get(name):
            yield f"{name.replace('_', ' '):9} {printable(str(value[name]))}"
    for member in value.get("members", []):
        end = "" if member["exit_code"] is None else f", exit code {member['exit_code']}"
        yield f"member    {member['job_id']} {member['allocation_id']}.{member['rank']} {member['state']}{end}"
    for condition in value.get("conditions", []):
        yield f"{condition['severity']:9} {printable(condition['summary'])}"


def age(text: str, now: datetime) -> datetime:
    """Return when `30s`, `5m`, `2h` or `7d` ago was. Raises ValueError."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    if len(text) < 2 or text[-1] not in units or not text[:-1].isdecimal() or len(text) > 9:  # noqa: PLR2004 - a digit and a unit
        raise ValueError(f"{text!r} is no age: write one such as 30s, 5m, 2h or 7d")
    return datetime.fromtimestamp(now.timestamp() - int(text[:-1]) * units[text[-1]], UTC)


def _name(enum: Any, number: int, prefix: str) -> str:
    """Return the word of an enum's value; a value of a later version is its number. Any: generated enums."""
    try:
        return str(enum.Name(number)).removeprefix(prefix).lower()
    except ValueError:
        return str(number)
