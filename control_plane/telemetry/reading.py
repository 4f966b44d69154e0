"""One batch of a host, checked and taken apart into columns. A host is a stranger until checked.

The cost of a batch is Python's, not protobuf's: parsing 8 GPUs takes 1 µs, looking at each of their values 15 times as
long. So only what the windows keep is looked at, each value once, and the GPUs' names only when they change.
"""

import math
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from orquanta.v1 import event_pb2

GPUS_PER_NODE_MAX: Final = 64

UNSET_PERCENT: Final = 255
UNSET_CELSIUS: Final = -32_768
UNSET_KIB: Final = 0xFFFF_FFFF
UNSET_WATTS: Final = math.nan

_MAX_BATCH_BYTES: Final = 64 * 1024
_KEPT_BYTES_PER_GPU: Final = 512
_KEPT_BYTES: Final = 1024
"""A batch beyond this, and beyond what its GPUs may take, is kept without what is not known here."""

_MAX_UUID_CHARACTERS: Final = 128
_MAX_ERROR_CHARACTERS: Final = 1000
_MAX_PERCENT: Final = 100
_MIN_CELSIUS: Final = -100
_MAX_CELSIUS: Final = 999
_MAX_WATTS: Final = 100_000.0
_MAX_BYTES: Final = 2**42 - 2048  # 4 TiB: KiB fit into 32 bits, less the one that means "unset"
_KIB_BITS: Final = 10

_VALUES: Final = attrgetter(
    "uuid",
    "utilization_percent",
    "temperature_celsius",
    "memory_used_bytes",
    "power_watts",
    "memory_total_bytes",
    "error",
)


@dataclass(frozen=True, slots=True)
class Reading:
    """The values of one batch in columns, a value for each GPU; what the driver does not tell is UNSET_*.

    `serialized` is the batch as it came, a `TelemetryBatch`.
    """

    uuids: tuple[str, ...]
    percents: tuple[int, ...]
    celsius: tuple[int, ...]
    memory_kib: tuple[int, ...]
    watts: tuple[float, ...]
    serialized: bytes


def read_batch(data: bytes, known: tuple[str, ...] = ()) -> Reading:
    """Return what a message's body says. `known`: the GPUs of an earlier batch of this host, which were checked.

    Raises DecodeError or ValueError if it makes no sense.
    """
    if len(data) > _MAX_BATCH_BYTES:
        raise ValueError(f"a batch of {len(data)} bytes; at most {_MAX_BATCH_BYTES} are taken")
    batch = event_pb2.TelemetryBatch.FromString(data)
    if not batch.HasField("sampled_at") or len(batch.gpus) > GPUS_PER_NODE_MAX:
        raise ValueError(f"a batch without a time, or of {len(batch.gpus)} GPUs")
    if len(data) > _KEPT_BYTES + _KEPT_BYTES_PER_GPU * len(batch.gpus):
        batch.DiscardUnknownFields()
        data = batch.SerializeToString()
    return reading_of(batch, data, known)


def reading_of(batch: event_pb2.TelemetryBatch, serialized: bytes = b"", known: tuple[str, ...] = ()) -> Reading:
    """Return what a batch says; it is serialized here if that was not given. Raises ValueError if it makes no sense."""
    data = serialized or batch.SerializeToString()
    samples = batch.gpus
    if not samples:
        return Reading((), (), (), (), (), data)
    uuids, percents, celsius, used, watts, totals, errors = zip(*map(_VALUES, samples), strict=True)
    if uuids != known:
        _check_names(uuids)
    # Unset fields read as zero, which is in range.
    sensible = (
        max(percents) <= _MAX_PERCENT
        and max(celsius) <= _MAX_CELSIUS
        and min(celsius) >= _MIN_CELSIUS
        and max(used) <= _MAX_BYTES
        and max(totals) <= _MAX_BYTES
        and math.isfinite(sum(watts))
        and max(watts) <= _MAX_WATTS
        and min(watts) >= 0
        and (not any(errors) or max(map(len, errors)) <= _MAX_ERROR_CHARACTERS)
    )
    if not sensible:
        raise ValueError("a sample out of range")
    memory = tuple(value >> _KIB_BITS for value in used)
    # Only a zero can be unset.
    if not all(percents):
        percents = _told(samples, "utilization_percent", percents, UNSET_PERCENT)
    if not all(celsius):
        celsius = _told(samples, "temperature_celsius", celsius, UNSET_CELSIUS)
    if not all(memory):
        memory = _told(samples, "memory_used_bytes", memory, UNSET_KIB)
    if not all(watts):
        watts = tuple(
            value if value or sample.HasField("power_watts") else UNSET_WATTS
            for value, sample in zip(watts, samples, strict=True)
        )
    return Reading(uuids, percents, celsius, memory, watts, data)


def _told(samples: object, name: str, values: tuple[int, ...], unset: int) -> tuple[int, ...]:
    """Return the values, with `unset` for those that the driver did not tell."""
    return tuple(
        value if value or sample.HasField(name) else unset
        for value, sample in zip(values, samples, strict=True)  # type: ignore[call-overload] # a repeated field
    )


def _check_names(uuids: tuple[str, ...]) -> None:
    for uuid in uuids:
        if not 0 < len(uuid) <= _MAX_UUID_CHARACTERS or not uuid.isprintable():
            raise ValueError(f"a GPU's name makes no sense: {uuid[:_MAX_UUID_CHARACTERS]!a}")
    if len(set(uuids)) != len(uuids):
        raise ValueError("two samples of one GPU in a batch")
