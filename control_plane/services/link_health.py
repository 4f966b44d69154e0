"""What hosts say about their health, as values. A host is a stranger until checked: nothing here trusts it.

What is said is about the host itself: its node is that of its certificate, and ids are its own names for things.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration

from control_plane.errors import InvalidArgument
from control_plane.governor.health import Loss, Record
from control_plane.model.health import (
    Authority,
    Condition,
    ConditionEvidence,
    ConditionScope,
    ConditionSeverity,
    EvidenceSource,
    HealthEvent,
    HealthEventKind,
)
from control_plane.model.repair import (
    CheckOutcome,
    RepairOrigin,
    RepairReport,
    RepairState,
    RepairStep,
    Rung,
    VerificationCheck,
)
from control_plane.model.telemetry import GpuMinute, Rollup
from control_plane.services.link_wire import clean, read_past, read_time
from orquanta.v1 import event_pb2, health_pb2, node_link_pb2, repair_pb2

CONDITIONS_MAX: Final = 512
"""Conditions in one Hello; a daemon keeps 500."""
RECORDS_MAX: Final = 500
"""Records in one batch of a spool."""

_EVIDENCE_MAX: Final = 8
_PROCESSES_MAX: Final = 16
_GPUS_MAX: Final = 64
_STEPS_MAX: Final = 64
_CHECKS_MAX: Final = 64
_CONDITION_IDS_MAX: Final = 64
_EVIDENCE_CHARACTERS: Final = 500
_DETAIL_CHARACTERS: Final = 2_000
_MESSAGE_CHARACTERS: Final = 2_000
_HANDOFF_CHARACTERS: Final = 64 * 1024
_SECONDS_MAX: Final = 7 * 86_400.0
_COUNT_MAX: Final = 2**53
_ROLLUP_KEPT: Final = timedelta(days=8)
"""A spool holds seven days; what is older was never in one."""
_MINUTE_SAMPLES_MAX: Final = 100_000
_WATTS_MAX: Final = 100_000.0
_CELSIUS: Final = (-273, 1_000)
_MEMORY_BYTES_MAX: Final = 1 << 50
_PROCESS_ID_MAX: Final = 2**31 - 1
_SEQUENCE_MAX: Final = 2**62

_ID: Final = re.compile(r"[\x21-\x7e]{1,200}")
_NAME: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_GPU: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._:/-]{0,95}")
_SERVICE: Final = re.compile("[A-Za-z0-9@_.-]{1,100}")
_KIND: Final = re.compile("[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")

_SCOPES: Final[Mapping[int, ConditionScope]] = {
    health_pb2.ConditionScope.Value(f"CONDITION_SCOPE_{one.name}"): one for one in ConditionScope
}
_SEVERITIES: Final[Mapping[int, ConditionSeverity]] = {
    health_pb2.ConditionSeverity.Value(f"CONDITION_SEVERITY_{one.name}"): one for one in ConditionSeverity
}
_SOURCES: Final[Mapping[int, EvidenceSource]] = {
    health_pb2.EvidenceSource.Value(f"EVIDENCE_SOURCE_{one.name}"): one for one in EvidenceSource
}
_AUTHORITIES: Final[Mapping[int, Authority]] = {
    health_pb2.Authority.Value(f"AUTHORITY_{one.name}"): one for one in Authority
}
_KINDS: Final[Mapping[int, HealthEventKind]] = {
    health_pb2.HealthEventKind.Value(f"HEALTH_EVENT_KIND_{one.name}"): one for one in HealthEventKind
}
_RUNGS: Final[Mapping[int, Rung]] = {repair_pb2.RepairRung.Value(f"REPAIR_RUNG_{one.name}"): one for one in Rung}
_STATES: Final[Mapping[int, RepairState]] = {
    repair_pb2.RepairState.Value(f"REPAIR_STATE_{one.name}"): one for one in RepairState
}
_ORIGINS: Final[Mapping[int, RepairOrigin]] = {
    repair_pb2.RepairOrigin.Value(f"REPAIR_ORIGIN_{one.name}"): one for one in RepairOrigin
}
_OUTCOMES: Final[Mapping[int, CheckOutcome]] = {
    repair_pb2.CheckOutcome.Value(f"CHECK_OUTCOME_{one.name}"): one for one in CheckOutcome
}


def read_condition(wire: health_pb2.Condition, now: datetime) -> Condition:
    """Return what a host says is wrong, with texts cut and cleaned and times that can be.

    Raises InvalidArgument (CONDITION_INVALID) for what makes no sense.
    """
    scope, severity = _SCOPES.get(wire.scope), _SEVERITIES.get(wire.severity)
    if not _ID.fullmatch(wire.id) or scope is None or severity is None or not _KIND.fullmatch(wire.kind):
        raise InvalidArgument(
            f"a condition makes no sense: {wire.id[:96]!a}, kind {wire.kind[:64]!a}, scope {wire.scope}, severity "
            f"{wire.severity}",
            reason="CONDITION_INVALID",
        )
    first_seen_at = read_past(wire.first_seen_at, now)
    return Condition(
        id=wire.id,
        scope=scope,
        subject=clean(wire.subject),
        kind=wire.kind,
        severity=severity,
        summary=clean(wire.summary, _EVIDENCE_CHARACTERS),
        first_seen_at=first_seen_at,
        last_seen_at=max(first_seen_at, read_past(wire.last_seen_at, now)),
        count=min(max(1, wire.count), _COUNT_MAX),
        code=wire.code,
        gpu_uuid=wire.gpu_uuid if _GPU.fullmatch(wire.gpu_uuid) else "",
        pci_bus_id=clean(wire.pci_bus_id, 32),
        repair=_RUNGS.get(wire.repair),
        authority=_AUTHORITIES.get(wire.authority),
        vendor_action=clean(wire.vendor_action, 64),
        sticky=wire.sticky,
        evidence=tuple(_evidence(one, now) for one in list(wire.evidence)[:_EVIDENCE_MAX]),
        acknowledged_by=clean(wire.acknowledged_by),
        process_ids=_processes(wire.process_ids),
        service=wire.service if _SERVICE.fullmatch(wire.service) else "",
        earlier_repairs=min(wire.earlier_repairs, 10_000),
    )


def _evidence(wire: health_pb2.ConditionEvidence, now: datetime) -> ConditionEvidence:
    return ConditionEvidence(
        id=clean(wire.id, 96),
        source=_SOURCES.get(wire.source, EvidenceSource.DAEMON),
        text=clean(wire.text, _EVIDENCE_CHARACTERS),
        observed_at=read_past(wire.observed_at, now),
    )


def _processes(process_ids: Iterable[int]) -> tuple[int, ...]:
    # Never init, and no number that could mean a group.
    return tuple(one for one in list(process_ids)[:_PROCESSES_MAX] if 1 < one <= _PROCESS_ID_MAX)


def read_conditions(wires: Iterable[health_pb2.Condition], now: datetime) -> tuple[tuple[Condition, ...], int]:
    """Return the conditions of a Hello that can be read, each id once, and how many cannot."""
    found: dict[str, Condition] = {}
    refused = 0
    for wire in wires:
        try:
            condition = read_condition(wire, now)
        except InvalidArgument:
            refused += 1
            continue
        found[condition.id] = condition
    return tuple(found.values())[:CONDITIONS_MAX], refused


def read_repair_report(wire: repair_pb2.RepairReport, now: datetime) -> RepairReport:
    """Return what a host says about a repair. Raises InvalidArgument (REPAIR_INVALID)."""
    rung, state, origin = _RUNGS.get(wire.rung), _STATES.get(wire.state), _ORIGINS.get(wire.origin)
    if rung is None or state is None or origin is None or not _NAME.fullmatch(wire.repair_id):
        raise InvalidArgument(
            f"a repair report makes no sense: {wire.repair_id[:64]!a}, rung {wire.rung}, state {wire.state}, origin "
            f"{wire.origin}",
            reason="REPAIR_INVALID",
        )
    started_at = read_past(wire.started_at, now) if wire.HasField("started_at") else None
    ended_at = read_past(wire.ended_at, now) if wire.HasField("ended_at") else None
    return RepairReport(
        repair_id=wire.repair_id,
        origin=origin,
        rung=rung,
        state=state,
        incident_id=clean(wire.incident_id, 64),
        gpu_uuids=tuple(uuid for uuid in list(wire.gpu_uuids)[:_GPUS_MAX] if _GPU.fullmatch(uuid)),
        service=wire.service if _SERVICE.fullmatch(wire.service) else "",
        dry_run=wire.dry_run,
        message=clean(wire.message, _MESSAGE_CHARACTERS, lines=True),
        steps=tuple(_step(step, now) for step in list(wire.steps)[:_STEPS_MAX]),
        checks=tuple(_check(check) for check in list(wire.checks)[:_CHECKS_MAX]),
        started_at=started_at,
        ended_at=max(started_at, ended_at) if started_at and ended_at else ended_at,
        handoff_json=clean(wire.handoff_json, _HANDOFF_CHARACTERS, lines=True),
        condition_ids=tuple(one for one in list(wire.condition_ids)[:_CONDITION_IDS_MAX] if _ID.fullmatch(one)),
        policy_version=min(wire.policy_version, _SEQUENCE_MAX),
    )


def _step(wire: repair_pb2.RepairStep, now: datetime) -> RepairStep:
    return RepairStep(
        name=clean(wire.name),
        ok=wire.ok,
        detail=clean(wire.detail, _DETAIL_CHARACTERS, lines=True),
        started_at=read_past(wire.started_at, now) if wire.HasField("started_at") else None,
        seconds=_seconds(wire.took),
        undo=wire.undo,
    )


def _check(wire: repair_pb2.VerificationCheck) -> VerificationCheck:
    return VerificationCheck(
        name=clean(wire.name),
        # What cannot be understood was not checked.
        outcome=_OUTCOMES.get(wire.outcome, CheckOutcome.NOT_CHECKED),
        detail=clean(wire.detail, _DETAIL_CHARACTERS, lines=True),
        seconds=_seconds(wire.took),
    )


def _seconds(wire: Duration) -> float:
    seconds = wire.seconds + wire.nanos / 1e9
    return min(max(0.0, seconds), _SECONDS_MAX) if math.isfinite(seconds) else 0.0


def read_spool_id(text: str) -> str:
    """Return the id of a spool. Raises InvalidArgument (SPOOL_INVALID)."""
    if not _NAME.fullmatch(text):
        raise InvalidArgument(f"{text[:64]!a} is not the id of a spool", reason="SPOOL_INVALID")
    return text


def read_record(wire: node_link_pb2.SpoolRecord, now: datetime) -> tuple[Record, str]:
    """Return one record of a spool, and why it cannot be read, if so: then it has no content, and is not sent again.

    Raises InvalidArgument (SPOOL_INVALID) for a sequence number that cannot be.
    """
    if not 0 < wire.sequence < _SEQUENCE_MAX:
        raise InvalidArgument(f"a spool's record has the sequence number {wire.sequence}", reason="SPOOL_INVALID")
    recorded_at = read_time(wire.recorded_at) or now  # by the host's clock, and only compared with the same clock
    content: HealthEvent | RepairReport | Rollup | Loss | None = None
    try:
        match wire.WhichOneof("content"):
            case "health_event":
                content = _health_event(wire.health_event, now)
            case "repair_report":
                content = read_repair_report(wire.repair_report, now)
            case "loss":
                loss = wire.loss
                content = Loss(
                    min(loss.records, _COUNT_MAX), min(loss.telemetry_samples, _COUNT_MAX), clean(loss.reason)
                )
            case "telemetry_rollup":
                content = _rollup(wire.telemetry_rollup, now)
            case _:
                pass  # of a later version
    except InvalidArgument as error:
        return Record(wire.sequence, recorded_at, None), error.message
    return Record(wire.sequence, recorded_at, content), ""


def _rollup(wire: event_pb2.TelemetryRollup, now: datetime) -> Rollup:
    if len(wire.gpus) > _GPUS_MAX:
        raise InvalidArgument(f"a roll-up of {len(wire.gpus)} GPUs", reason="ROLLUP_INVALID")
    began = read_past(wire.started_at, now)
    if began < now - _ROLLUP_KEPT:
        raise InvalidArgument("a roll-up of a time long ago", reason="ROLLUP_INVALID")
    return Rollup(
        began,
        min(wire.samples, _MINUTE_SAMPLES_MAX),
        tuple(
            GpuMinute(
                uuid=clean(gpu.uuid, 96),
                utilization_percent=_within(gpu.utilization_percent, 100),
                memory_used_bytes_max=min(gpu.memory_used_bytes_max, _MEMORY_BYTES_MAX),
                temperature_celsius_max=max(_CELSIUS[0], min(gpu.temperature_celsius_max, _CELSIUS[1])),
                power_watts=_within(gpu.power_watts, _WATTS_MAX),
            )
            for gpu in wire.gpus
        ),
    )


def _within(value: float, most: float) -> float:
    """Return a figure of a host within what can be; one that is not a number is 0."""
    return min(max(value, 0.0), most) if math.isfinite(value) else 0.0


def _health_event(wire: health_pb2.HealthEvent, now: datetime) -> HealthEvent:
    kind = _KINDS.get(wire.kind)
    if kind is None:
        raise InvalidArgument(f"a health event of kind {wire.kind}", reason="CONDITION_INVALID")
    return HealthEvent(
        id=clean(wire.id, 96),
        kind=kind,
        condition=read_condition(wire.condition, now),
        occurred_at=read_past(wire.occurred_at, now),
        reason=clean(wire.reason, _EVIDENCE_CHARACTERS),
    )
