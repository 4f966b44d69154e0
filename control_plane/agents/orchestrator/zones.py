"""Time zones by their IANA names."""

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from control_plane.errors import InvalidArgument


def zone_of(name: str) -> tzinfo:
    """Return the zone; UTC for an empty name. Raises InvalidArgument (TIMEZONE_UNKNOWN)."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument(
            f"timezone {name!r} is not known; use an IANA name such as Europe/Madrid", reason="TIMEZONE_UNKNOWN"
        ) from None
