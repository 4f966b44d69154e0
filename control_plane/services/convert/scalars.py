"""Times and enums on the wire; money is in `control_plane.model.money`."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_NANOS: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_Member = TypeVar("_Member", bound=Enum)
_Number = TypeVar("_Number", bound=int)


def timestamp(when: datetime | None) -> Timestamp | None:
    """Return a time on the wire; None stays unset."""
    if when is None:
        return None
    since = when - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def duration(seconds: float | None) -> Duration | None:
    """Return a span on the wire, to the nanosecond; None stays unset, and no span is negative."""
    if seconds is None:
        return None
    whole, nanos = divmod(round(max(0.0, seconds) * _NANOS), _NANOS)
    return Duration(seconds=whole, nanos=nanos)


def wire_enum(kind: type[_Member], value: Callable[[str], _Number], prefix: str) -> Mapping[_Member, _Number]:
    """Return the wire's number of each member; fails at import if the contract lacks one."""
    return {member: value(f"{prefix}_{member.name}") for member in kind}


def from_wire(numbers: Mapping[_Member, _Number]) -> Mapping[int, _Member]:
    """Return the member of each number on the wire."""
    return {int(number): member for member, number in numbers.items()}
