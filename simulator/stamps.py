"""Times on the wire. Inside the simulator a time is seconds since the epoch."""

from google.protobuf.timestamp_pb2 import Timestamp


def stamp(at: float) -> Timestamp:
    """Return a moment for the wire."""
    return Timestamp(seconds=int(at), nanos=int(at % 1 * 1e9))


def seconds_of(at: Timestamp) -> float:
    """Return a moment of the wire."""
    return at.seconds + at.nanos / 1e9
