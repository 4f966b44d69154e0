"""The JetStream streams and their bounds. The oldest messages go first when a bound is reached."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from control_plane.bus.subjects import ALL_EVENTS, ALL_LOGS, ALL_RUNS

_MIB: Final = 1 << 20
_DAY_SECONDS: Final = 86_400


class Stream(Enum):
    """The streams; the value is the name that the broker knows."""

    LOGS = "ORQ_LOGS"
    EVENTS = "ORQ_EVENTS"
    RUNS = "ORQ_RUNS"


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a stream keeps. `duplicate_window_seconds`: a message id seen within it is not stored again."""

    stream: Stream
    subjects: tuple[str, ...]
    max_bytes: int
    max_age_seconds: int
    max_messages_per_subject: int
    max_message_bytes: int
    duplicate_window_seconds: int
    replicas: int


def stream_specs(*, replicas: int = 1) -> tuple[StreamSpec, ...]:
    """Return all streams, 832 MiB together. `replicas`: 1 for the embedded broker, 3 for a cluster.

    Logs and events have streams of their own, so that a host that floods its log cannot push out anybody's events; the
    bound per subject keeps one host from pushing out the others.
    """
    return (
        StreamSpec(
            stream=Stream.LOGS,
            subjects=(ALL_LOGS,),
            max_bytes=512 * _MIB,
            max_age_seconds=_DAY_SECONDS,
            max_messages_per_subject=4_096,
            max_message_bytes=256 * 1024,
            duplicate_window_seconds=600,
            replicas=replicas,
        ),
        StreamSpec(
            stream=Stream.EVENTS,
            subjects=(ALL_EVENTS,),
            max_bytes=256 * _MIB,
            max_age_seconds=7 * _DAY_SECONDS,
            max_messages_per_subject=1_000,
            max_message_bytes=256 * 1024,
            duplicate_window_seconds=3_600,
            replicas=replicas,
        ),
        StreamSpec(
            stream=Stream.RUNS,
            subjects=(ALL_RUNS,),
            max_bytes=64 * _MIB,
            max_age_seconds=7 * _DAY_SECONDS,
            max_messages_per_subject=1_000,
            max_message_bytes=64 * 1024,
            duplicate_window_seconds=3_600,
            replicas=replicas,
        ),
    )
