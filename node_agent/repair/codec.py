"""Records of repairs as JSON, with bounds: what is read back was checked, whatever the disk did to it."""

from datetime import UTC, datetime
from typing import Any, Final

from node_agent.health.model import Rung
from node_agent.repair.model import Check, CheckOutcome, Origin, RepairOrder, RepairRecord, RepairState, Step
from node_agent.repair.text import MAXIMUM_DETAIL, MAXIMUM_MESSAGE, printable

MAXIMUM_STEPS: Final = 64
"""Steps of a record; also its checks."""
MAXIMUM_HANDOFF: Final = 64 * 1024
"""Bytes of a hand-off report."""
_MAXIMUM_NAME: Final = 200
_MAXIMUM_LIST: Final = 256
"""GPUs, processes and conditions of an order."""

# Any: the documents are JSON.


def to_json(record: RepairRecord) -> dict[str, Any]:
    """Return a record as a document of plain values."""
    order = record.order
    return {
        "order": {
            "id": order.id,
            "rung": order.rung.value,
            "origin": order.origin.value,
            "reason": order.reason,
            "incident_id": order.incident_id,
            "gpu_uuids": list(order.gpu_uuids),
            "service": order.service,
            "process_ids": list(order.process_ids),
            "dry_run": order.dry_run,
            "not_after": _moment(order.not_after),
            "condition_ids": list(order.condition_ids),
            "policy_version": order.policy_version,
            "may_stop_jobs": order.may_stop_jobs,
        },
        "state": record.state.value,
        "message": record.message,
        "started_at": _moment(record.started_at),
        "boot_id": record.boot_id,
        "ended_at": _moment(record.ended_at),
        "steps": [
            [step.name, step.ok, step.detail, _moment(step.started_at), step.seconds, step.undo]
            for step in record.steps
        ],
        "checks": [[check.name, check.outcome.value, check.detail, check.seconds] for check in record.checks],
        "handoff_json": record.handoff_json,
    }


def from_json(document: Any) -> RepairRecord:
    """Read a record; raises ValueError for a document that is not one."""
    try:
        return _record(document)
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a record of a repair: {error!r}") from error


def _record(document: Any) -> RepairRecord:
    started_at = _time(document["started_at"])
    if started_at is None:
        raise ValueError("a record without a beginning")
    handoff = str(document["handoff_json"])
    return RepairRecord(
        order=_order(document["order"]),
        state=RepairState(document["state"]),
        message=printable(str(document["message"]), MAXIMUM_MESSAGE),
        started_at=started_at,
        boot_id=printable(str(document["boot_id"]), _MAXIMUM_NAME),
        ended_at=_time(document["ended_at"]),
        steps=tuple(_step(step) for step in document["steps"][:MAXIMUM_STEPS]),
        checks=tuple(_check(check) for check in document["checks"][:MAXIMUM_STEPS]),
        handoff_json=handoff if len(handoff.encode(errors="replace")) <= MAXIMUM_HANDOFF else "",
    )


def _order(document: Any) -> RepairOrder:
    return RepairOrder(
        id=printable(str(document["id"]), _MAXIMUM_NAME),
        rung=Rung(document["rung"]),
        origin=Origin(document["origin"]),
        reason=printable(str(document["reason"])),
        incident_id=printable(str(document["incident_id"]), _MAXIMUM_NAME),
        gpu_uuids=_names(document["gpu_uuids"]),
        service=printable(str(document["service"]), _MAXIMUM_NAME),
        process_ids=tuple(int(pid) for pid in document["process_ids"][:_MAXIMUM_LIST]),
        dry_run=bool(document["dry_run"]),
        not_after=_time(document["not_after"]),
        condition_ids=_names(document["condition_ids"]),
        policy_version=int(document["policy_version"]),
        may_stop_jobs=bool(document["may_stop_jobs"]),
    )


def _step(row: Any) -> Step:
    name, ok, detail, started_at, seconds, undo = row
    began = _time(started_at)
    if began is None:
        raise ValueError("a step without a beginning")
    return Step(
        printable(str(name), _MAXIMUM_NAME), bool(ok), printable(str(detail)), began, float(seconds), bool(undo)
    )


def _check(row: Any) -> Check:
    name, outcome, detail, seconds = row
    text = printable(str(detail), MAXIMUM_DETAIL)
    return Check(printable(str(name), _MAXIMUM_NAME), CheckOutcome(outcome), text, float(seconds))


def _names(values: Any) -> tuple[str, ...]:
    return tuple(printable(str(value), _MAXIMUM_NAME) for value in values[:_MAXIMUM_LIST])


def _moment(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(text: Any) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
