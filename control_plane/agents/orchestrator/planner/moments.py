"""What a named day and time come to, seen from a given now and time zone."""

from datetime import date, datetime, time, timedelta, tzinfo

from control_plane.agents.orchestrator.planner.date_words import Day, DayKind, Moment, TimeOfDay
from control_plane.agents.orchestrator.planner.zones import localise, to_local

_RECENT_DAYS = 90
_DECEMBER = 12
_FRIDAY, _SATURDAY = 4, 5
_EARLY_HOUR, _NOON = 6, 12
_DAYS_A_WEEK = 7


def resolve(moment: Moment, now: datetime, default: tzinfo, *, exclusive: bool) -> datetime | None:
    """Return the moment as aware UTC, or None when there is no such day.

    A day without a time means its end, or its start if `exclusive` ("before Friday").
    """
    try:
        local_now = to_local(now, moment.zone, default)
        local = _local(moment, local_now, exclusive=exclusive)
        return localise(local, moment.zone, default)
    except (ValueError, OverflowError):
        return None


def _local(moment: Moment, now: datetime, *, exclusive: bool) -> datetime:
    if moment.day is None:
        return _next_time(moment.time or TimeOfDay(0, next_day=True), now)
    day = _day(moment.day, now.date())
    if moment.time is None:
        starts = exclusive or moment.day.kind is DayKind.NEXT_WEEK
        days = 2 if moment.day.kind is DayKind.WEEKEND else 1
        return datetime.combine(day if starts else day + timedelta(days=days), time())
    at = moment.time
    if moment.day.kind is DayKind.TONIGHT and not at.next_day and 0 < at.hour < _NOON:
        at = (
            TimeOfDay(at.hour, at.minute, next_day=True)
            if at.hour < _EARLY_HOUR
            else TimeOfDay(at.hour + 12, at.minute)
        )
    if at.next_day:
        day += timedelta(days=1)
    return datetime.combine(day, time(at.hour, at.minute))


def _next_time(at: TimeOfDay, now: datetime) -> datetime:
    today = datetime.combine(now.date() + timedelta(days=at.next_day), time(at.hour, at.minute))
    return today if today > now else today + timedelta(days=1)


def _day(day: Day, today: date) -> date:
    kind = day.kind
    if kind is DayKind.RELATIVE:
        return today + timedelta(days=day.shift)
    if kind is DayKind.TONIGHT:
        return today
    if kind is DayKind.WEEKDAY:
        return _weekday(day, today)
    if kind is DayKind.CALENDAR:
        return _calendar(day, today)
    if kind is DayKind.DAY_OF_MONTH:
        candidate = today.replace(day=day.day or 1)
        return candidate if candidate >= today else _next_month(today).replace(day=day.day or 1)
    if kind is DayKind.END_OF_MONTH:
        return _next_month(today) - timedelta(days=1)
    if kind is DayKind.END_OF_YEAR:
        return date(today.year, _DECEMBER, 31)
    monday = today - timedelta(days=today.weekday())
    if kind is DayKind.NEXT_WEEK:
        return monday + timedelta(days=_DAYS_A_WEEK)
    weekday = _FRIDAY if kind is DayKind.END_OF_WEEK else _SATURDAY
    ahead = monday + timedelta(days=weekday + _DAYS_A_WEEK * day.shift)
    return ahead if ahead >= today else ahead + timedelta(days=_DAYS_A_WEEK)


def _weekday(day: Day, today: date) -> date:
    weekday = day.weekday or 0
    if day.shift < 0:
        return today - timedelta(days=(today.weekday() - weekday) % _DAYS_A_WEEK or _DAYS_A_WEEK)
    if day.shift > 0:
        return today - timedelta(days=today.weekday()) + timedelta(days=_DAYS_A_WEEK + weekday)
    return today + timedelta(days=(weekday - today.weekday()) % _DAYS_A_WEEK or _DAYS_A_WEEK)


def _calendar(day: Day, today: date) -> date:
    """Without a year take the coming one, unless the day passed only lately and so is meant as past."""
    candidate = date(day.year or today.year, day.month or 1, day.day or 1)
    if day.year is None and candidate < today - timedelta(days=_RECENT_DAYS):
        return candidate.replace(year=today.year + 1)
    return candidate


def _next_month(today: date) -> date:
    first = today.replace(day=1)
    return (first + timedelta(days=32)).replace(day=1)
