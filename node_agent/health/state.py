"""What the health engine must remember through a restart of the daemon, as JSON."""

import dataclasses
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum
from typing import Any, Final

from node_agent.health.findings import Finding, Track
from node_agent.health.host import MAXIMUM_GPUS
from node_agent.health.lemons import MAXIMUM_REPAIRS
from node_agent.health.model import (
    MAXIMUM_CONDITIONS,
    MAXIMUM_EVIDENCE,
    Authority,
    Evidence,
    GpuIdentity,
    Rung,
    Scope,
    Severity,
    Source,
)

VERSION: Final = 1
MAXIMUM_BYTES: Final = 8 << 20
"""A state of more characters is not read: 500 conditions with 8 pieces of evidence of 500 characters stay below."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A condition as it is kept."""

    finding: Finding
    first_seen_at: datetime
    last_seen_at: datetime
    count: int
    next_told: int
    evidence: tuple[Evidence, ...]
    process_ids: tuple[int, ...]
    acknowledged_by: str
    flapping: str

    @classmethod
    def of(cls, track: Track) -> "Remembered":
        """Return a condition that lasts, to be kept."""
        return cls(
            finding=track.finding,
            first_seen_at=track.first_seen_at,
            last_seen_at=track.last_seen_at,
            count=track.count,
            next_told=track.next_told,
            evidence=track.evidence(),
            process_ids=tuple(track.process_ids),
            acknowledged_by=track.acknowledged_by,
            flapping=track.flapping,
        )

    def track(self, seen_seconds: float) -> Track:
        """Return it as a condition that lasts, last seen at `seen_seconds` of the monotonic clock."""
        pieces = list(self.evidence[:MAXIMUM_EVIDENCE])
        newest = pieces.pop() if len(pieces) > 1 else None
        return Track(
            finding=self.finding,
            first_seen_at=self.first_seen_at,
            last_seen_at=self.last_seen_at,
            seen_seconds=seen_seconds,
            next_told=self.next_told,
            count=self.count,
            first=pieces[:2],
            recent=deque(pieces[2:], maxlen=MAXIMUM_EVIDENCE - 3),
            newest=newest,
            process_ids=list(self.process_ids),
            acknowledged_by=self.acknowledged_by,
            flapping=self.flapping,
        )


@dataclass(frozen=True, slots=True)
class HealthState:
    """All that outlives the daemon. Equal states have equal JSON."""

    boot_id: str = ""
    conditions: tuple[Remembered, ...] = ()
    repairs: Mapping[str, tuple[datetime, ...]] = field(default_factory=dict)
    """Repairs by UUID; those of the host under the empty text."""
    gpus: tuple[GpuIdentity, ...] = ()
    links: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """NVLinks that have been up, by UUID."""
    uncorrected: Mapping[str, int] = field(default_factory=dict)
    """Uncorrected memory errors as last read, by UUID."""
    lost_before_boot: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps({"version": VERSION, **_plain(self)}, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "HealthState":
        """Read what `to_json` wrote.

        Raises:
            ValueError: The text is no state of this version; begin with an empty one and keep the file for a look.
        """
        if len(text) > MAXIMUM_BYTES:
            raise ValueError(f"a health state of more than {MAXIMUM_BYTES} characters; begin with an empty one")
        try:
            data = json.loads(text)
            if data["version"] != VERSION:
                raise ValueError(f"a health state of version {data['version']}, not {VERSION}; begin with an empty one")
            return cls(
                boot_id=str(data["boot_id"]),
                conditions=tuple(_remembered(one) for one in data["conditions"][:MAXIMUM_CONDITIONS]),
                repairs={
                    str(subject): tuple(_time(at) for at in times[-MAXIMUM_REPAIRS:])
                    for subject, times in list(data["repairs"].items())[: MAXIMUM_GPUS + 1]
                },
                gpus=tuple(GpuIdentity(**{**gpu, "index": int(gpu["index"])}) for gpu in data["gpus"][:MAXIMUM_GPUS]),
                links={
                    str(uuid): tuple(int(link) for link in links)
                    for uuid, links in list(data["links"].items())[:MAXIMUM_GPUS]
                },
                uncorrected={str(uuid): int(count) for uuid, count in list(data["uncorrected"].items())[:MAXIMUM_GPUS]},
                lost_before_boot=tuple(str(uuid) for uuid in data["lost_before_boot"][:MAXIMUM_GPUS]),
            )
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"no health state ({error!r}); begin with an empty one") from error


# Any: JSON in, JSON out.
def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"a time without a zone: {text}; begin with an empty health state")
    return at


def _remembered(data: Any) -> Remembered:
    return Remembered(
        finding=_finding(data["finding"]),
        first_seen_at=_time(data["first_seen_at"]),
        last_seen_at=_time(data["last_seen_at"]),
        count=int(data["count"]),
        next_told=max(2, int(data["next_told"])),
        evidence=tuple(
            Evidence(str(one["id"]), Source(one["source"]), str(one["text"]), _time(one["observed_at"]))
            for one in data["evidence"][:MAXIMUM_EVIDENCE]
        ),
        process_ids=tuple(int(pid) for pid in data["process_ids"]),
        acknowledged_by=str(data["acknowledged_by"]),
        flapping=str(data["flapping"]),
    )


def _finding(data: Any) -> Finding:
    after = data["clear_after_seconds"]
    return Finding(
        id=str(data["id"]),
        scope=Scope(data["scope"]),
        subject=str(data["subject"]),
        kind=str(data["kind"]),
        severity=Severity[data["severity"]],
        summary=str(data["summary"]),
        code=int(data["code"]),
        gpu_uuid=str(data["gpu_uuid"]),
        pci_bus_id=str(data["pci_bus_id"]),
        repair=None if data["repair"] is None else Rung[data["repair"]],
        authority=None if data["authority"] is None else Authority(data["authority"]),
        vendor_action=str(data["vendor_action"]),
        sticky=bool(data["sticky"]),
        service=str(data["service"]),
        clear_after_seconds=None if after is None else float(after),
        cured_by_boot=bool(data["cured_by_boot"]),
    )
