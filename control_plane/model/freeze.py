"""Change freezes: windows of time, once or each week, in UTC. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEK: Final = timedelta(days=7)
_MINUTES_A_WEEK: Final = 7 * 24 * 60
_WEEKLY: Final = re.compile(
    r"(?P<from_day>[a-z]{3,9}) (?P<from_hour>\d{1,2}):(?P<from_minute>\d{2})/"
    r"(?P<until_day>[a-z]{3,9}) (?P<until_hour>\d{1,2}):(?P<until_minute>\d{2})"
)
_HOURS, _MINUTES = 24, 60
_LETTERS: Final = 3

FORM: Final = "2026-12-24T18:00Z/2027-01-02T08:00Z, or fri 18:00/mon 06:00 for every week, in UTC"


@dataclass(frozen=True, slots=True)
class Freeze:
    """A window in which only what people let in is changed.

    Either `start` and `end`, or minutes since Monday 00:00 UTC for one that comes back each week.
    """

    id: str
    window: str
    reason: str
    start: datetime | None = None
    end: datetime | None = None
    weekly_from_minute: int = 0
    weekly_until_minute: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Frozen:
    """That changes are frozen now: since when, until when, by which window and why."""

    id: str
    since: datetime
    until: datetime
    reason: str


def parse(freeze_id: str, window: str, reason: str, *, source: str = "") -> Freeze:
    """Return a window of the form `FORM`. Raises ValueError."""
    weekly = _WEEKLY.fullmatch(window.strip().lower())
    if weekly is not None:
        start = _minute(weekly["from_day"], int(weekly["from_hour"]), int(weekly["from_minute"]))
        end = _minute(weekly["until_day"], int(weekly["until_hour"]), int(weekly["until_minute"]))
        if start == end:
            raise ValueError("a weekly window ends at another time than it starts")
        return Freeze(freeze_id, window, reason, weekly_from_minute=start, weekly_until_minute=end, source=source)
    first, slash, second = window.strip().partition("/")
    if not slash:
        raise ValueError(f"should look like {FORM}")
    begin, finish = _moment(first), _moment(second)
    if finish <= begin:
        raise ValueError("a window ends after it starts")
    return Freeze(freeze_id, window, reason, begin, finish, source=source)


def frozen(freezes: Iterable[Freeze], now: datetime) -> Frozen | None:
    """Return the freeze in force, the one that lasts longest if there are several, or None."""
    found = [one for freeze in freezes if (one := _now(freeze, now)) is not None]
    return max(found, key=lambda one: one.until) if found else None


def _now(freeze: Freeze, now: datetime) -> Frozen | None:
    utc = now.astimezone(UTC)
    if freeze.start is not None and freeze.end is not None:
        if freeze.start <= utc < freeze.end:
            return Frozen(freeze.id, freeze.start, freeze.end, freeze.reason)
        return None
    monday = (utc - timedelta(days=utc.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    length = (freeze.weekly_until_minute - freeze.weekly_from_minute) % _MINUTES_A_WEEK
    for week in (monday - _WEEK, monday):
        start = week + timedelta(minutes=freeze.weekly_from_minute)
        end = start + timedelta(minutes=length)
        if start <= utc < end:
            return Frozen(freeze.id, start, end, freeze.reason)
    return None


def _minute(day: str, hour: int, minute: int) -> int:
    matches = [index for index, name in enumerate(WEEKDAYS) if name.startswith(day) and len(day) >= _LETTERS]
    if len(matches) != 1 or hour >= _HOURS or minute >= _MINUTES:
        raise ValueError(f"should look like {FORM}")
    return (matches[0] * _HOURS + hour) * _MINUTES + minute


def _moment(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"should look like {FORM}") from None
    if when.tzinfo is None:
        raise ValueError(f"{text.strip()} has no zone; add Z for UTC")
    return when.astimezone(UTC)
