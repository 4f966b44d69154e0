"""Times, money and enums between the wire and Python."""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from typing import Protocol, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_MICROS_PER_USD = 1_000_000

Number = TypeVar("Number", bound=int)
SentNumber_co = TypeVar("SentNumber_co", bound=int, covariant=True)
Member = TypeVar("Member", bound=StrEnum)


class WireEnum(Protocol[SentNumber_co]):
    """What a generated enum can do; its values are called `<PREFIX>_<MEMBER>`."""

    @property
    def DESCRIPTOR(self) -> EnumDescriptor:  # noqa: N802 - protobuf's own name
        """The enum as the contract declares it."""

    def Value(self, name: str) -> SentNumber_co:  # noqa: N802 - protobuf's own name
        """The number of the value of that full name."""


def read_time(message: Timestamp) -> datetime | None:
    """An aware UTC time, or None for the zero timestamp, which no server sends for a real moment."""
    if message.seconds == 0 and message.nanos == 0:
        return None
    return message.ToDatetime(tzinfo=UTC)


def write_time(moment: datetime) -> Timestamp:
    """A timestamp; the time must be aware."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone is ambiguous; use datetime.now(tz=UTC) or add tzinfo")
    message = Timestamp()
    message.FromDatetime(moment.astimezone(UTC))
    return message


def write_duration(span: timedelta) -> Duration:
    """A duration."""
    message = Duration()
    message.FromTimedelta(span)
    return message


def read_seconds(message: Duration) -> float:
    """A span in seconds."""
    return message.seconds + message.nanos / 1e9


def read_usd(micros: int) -> Decimal:
    """US dollars with six decimals, exactly."""
    return Decimal(micros).scaleb(-6)


def write_usd(amount: Decimal) -> int:
    """Micro-dollars; what is finer is cut off, so that a cap never grows."""
    if not amount.is_finite():
        raise ValueError(f"an amount of money must be finite, not {amount}")
    return int((amount * _MICROS_PER_USD).to_integral_value(rounding=ROUND_DOWN))


def read_enum(kind: type[Member], wire: WireEnum[Number], number: Number) -> Member:
    """The member of the same name; `UNKNOWN` for 0 and for a value that this version does not know."""
    return read_set_enum(kind, wire, number) or kind("unknown")


def read_set_enum(kind: type[Member], wire: WireEnum[Number], number: Number) -> Member | None:
    """As `read_enum`, but None for 0: for enums where "unspecified" means that there is none yet."""
    if number == 0:
        return None
    value = wire.DESCRIPTOR.values_by_number.get(number)
    name = value.name.removeprefix(_prefix(wire)).lower() if value is not None else "unknown"
    return kind(name) if name in {member.value for member in kind} else kind("unknown")


def write_enum(wire: WireEnum[Number], member: StrEnum) -> Number:
    """The wire's number; `UNKNOWN` is not a value that can be sent."""
    if member.value == "unknown":
        raise ValueError(f"{type(member).__name__}.UNKNOWN only stands for what a newer server sent")
    return wire.Value(_prefix(wire) + member.value.upper())


def _prefix(wire: WireEnum[Number]) -> str:
    return wire.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")
