"""The hand-off report of a quarantine: what whoever takes the host over must know, as JSON within 64 KiB."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from node_agent.health.model import Condition, Source
from node_agent.repair.codec import MAXIMUM_HANDOFF
from node_agent.repair.model import RepairRecord
from node_agent.repair.ports import RepairGpu
from node_agent.repair.text import printable

_MAXIMUM_CONDITIONS: Final = 50
_MAXIMUM_REPAIRS: Final = 20
_MAXIMUM_KERNEL_LINES: Final = 100

# Any: the report is JSON.


def handoff_report(
    *,
    node_id: str,
    now: datetime,
    reason: str,
    gpus: Sequence[RepairGpu],
    conditions: Sequence[Condition],
    repairs: Sequence[RepairRecord],
    bug_report: str,
) -> str:
    """Return the report. What does not fit is left out from the end, and the report says how much."""
    kernel = [
        {"at": evidence.observed_at.isoformat(), "line": evidence.text}
        for condition in conditions
        for evidence in condition.evidence
        if evidence.source is Source.KERNEL
    ]
    kernel.sort(key=lambda line: line["at"])
    document: dict[str, Any] = {
        "node_id": node_id,
        "written_at": now.isoformat(),
        "reason": printable(reason),
        "bug_report": bug_report,
        "gpus": [_gpu(gpu) for gpu in gpus],
        "conditions": [_condition(condition) for condition in conditions[:_MAXIMUM_CONDITIONS]],
        "repairs": [_repair(record) for record in repairs[:_MAXIMUM_REPAIRS]],
        "kernel_lines": kernel[-_MAXIMUM_KERNEL_LINES:],
        "left_out": {"conditions": max(0, len(conditions) - _MAXIMUM_CONDITIONS), "repairs": 0, "kernel_lines": 0},
    }
    return _within(document)


def _within(document: dict[str, Any]) -> str:
    """Leave out kernel lines, then repairs, then conditions, oldest or mildest first, until it fits."""
    while len(text := json.dumps(document, ensure_ascii=True, indent=1)) > MAXIMUM_HANDOFF:
        for part, place in (("kernel_lines", 0), ("repairs", -1), ("conditions", -1), ("gpus", -1)):
            if len(document[part]) > (1 if part == "conditions" else 0):
                del document[part][place]
                document["left_out"][part] = document["left_out"].get(part, 0) + 1
                break
        else:
            return json.dumps({"node_id": document["node_id"], "reason": document["reason"], "left_out": "everything"})
    return text


def _gpu(gpu: RepairGpu) -> dict[str, Any]:
    identity = gpu.identity
    return {
        "uuid": identity.uuid,
        "index": identity.index,
        "type": identity.gpu_type,
        "serial": identity.serial,
        "pci_bus_id": identity.pci_bus_id,
        "driver_version": identity.driver_version,
    }


def _condition(condition: Condition) -> dict[str, Any]:
    return {
        "id": condition.id,
        "kind": condition.kind,
        "code": condition.code,
        "severity": condition.severity.name,
        "summary": condition.summary,
        "vendor_action": condition.vendor_action,
        "count": condition.count,
        "first_seen_at": condition.first_seen_at.isoformat(),
        "last_seen_at": condition.last_seen_at.isoformat(),
        "earlier_repairs": condition.earlier_repairs,
        "evidence": [
            {"source": evidence.source.value, "at": evidence.observed_at.isoformat(), "text": evidence.text}
            for evidence in condition.evidence
        ],
    }


def _repair(record: RepairRecord) -> dict[str, Any]:
    return {
        "id": record.order.id,
        "rung": record.order.rung.name,
        "origin": record.order.origin.value,
        "state": record.state.value,
        "message": record.message,
        "started_at": record.started_at.isoformat(),
        "ended_at": None if record.ended_at is None else record.ended_at.isoformat(),
        "failed_steps": [f"{step.name}: {step.detail}"[:300] for step in record.steps if not step.ok],
        "checks": [f"{check.name}: {check.outcome.value}: {check.detail}"[:300] for check in record.checks[:16]],
    }
