"""The time in the past that a question is about: "today", "last week", "in October", "since Monday". Pure."""

import re
from calendar import month_name
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal

from control_plane.agents.orchestrator.planner.date_words import MONTHS, Day, DayKind, Moment
from control_plane.agents.orchestrator.planner.period_words import NAMES, Named
from control_plane.agents.orchestrator.planner.reading import read
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, kind_of, mark

_WEEK = 7
_QUARTER_MONTHS = 3
_LONGEST = timedelta(days=3_660)
_SHOWN_AS_HOURS = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` to before `until`, both aware UTC; `words` name it as a person would, to follow "you spent $5"."""

    since: datetime
    until: datetime
    words: str


@dataclass(frozen=True, slots=True)
class _Now:
    """The present where the person is."""

    at: datetime
    zone: tzinfo

    @property
    def today(self) -> date:
        return self.at.astimezone(self.zone).date()

    def starts(self, day: date) -> datetime:
        return datetime.combine(day, time(), tzinfo=self.zone).astimezone(UTC)

    def days(self, first: date, last: date, said: str) -> Period:
        """Return the period of whole days from the first to the last one, cut at the present."""
        end = self.starts(last + timedelta(days=1))
        return Period(self.starts(first), max(self.starts(first), min(end, self.at)), said)

    def spoken(self, day: date) -> str:
        year = f" {day.year}" if day.year != self.today.year else ""
        return f"{day:%A} {day.day} {month_name[day.month]}{year}"


_Reader = Callable[[_Now], Period]


def read_period(text: str, now: datetime, zone: tzinfo = UTC) -> Period | None:
    """Return the period that a question names, or None if it names none. `now` is aware."""
    return next(iter(read_periods(text, now, zone)), None)


def read_periods(text: str, now: datetime, zone: tzinfo = UTC) -> tuple[Period, ...]:
    """Return every period that a question names, such as the two that it compares; the surest first."""
    shadow, here = read(text), _Now(now, zone)
    found = (*_ranges(shadow, here), *_named(shadow, here), *_months(shadow, here), *_days(shadow, here))
    return tuple({period.words: period for period in found}.values())


def last_days(now: datetime, days: int) -> Period:
    """Return the period of so many days up to now."""
    return Period(now - timedelta(days=days), now, f"in the last {days} days")


def _today(here: _Now) -> Period:
    return here.days(here.today, here.today, f"today ({here.spoken(here.today)})")


def _before(days: int, name: str) -> _Reader:
    def period(here: _Now) -> Period:
        day = here.today - timedelta(days=days)
        return here.days(day, day, f"{name} ({here.spoken(day)})")

    return period


def _week(here: _Now) -> Period:
    monday = here.today - timedelta(days=here.today.weekday())
    return here.days(monday, here.today, f"this week (since {here.spoken(monday)})")


def _last_week(here: _Now) -> Period:
    monday = here.today - timedelta(days=here.today.weekday() + _WEEK)
    sunday = monday + timedelta(days=_WEEK - 1)
    return here.days(monday, sunday, f"last week ({here.spoken(monday)} to {here.spoken(sunday)})")


def _month(here: _Now) -> Period:
    first = here.today.replace(day=1)
    return here.days(first, here.today, f"this month (since 1 {month_name[first.month]})")


def _last_month(here: _Now) -> Period:
    last = here.today.replace(day=1) - timedelta(days=1)
    return here.days(last.replace(day=1), last, f"last month ({month_name[last.month]} {last.year})")


def _quarter(here: _Now) -> Period:
    month = (here.today.month - 1) // _QUARTER_MONTHS * _QUARTER_MONTHS + 1
    return here.days(here.today.replace(month=month, day=1), here.today, f"this quarter (since 1 {month_name[month]})")


def _last_quarter(here: _Now) -> Period:
    month = (here.today.month - 1) // _QUARTER_MONTHS * _QUARTER_MONTHS + 1
    last = here.today.replace(month=month, day=1) - timedelta(days=1)
    first = last.replace(month=last.month - _QUARTER_MONTHS + 1, day=1)
    said = f"last quarter ({month_name[first.month]} to {month_name[last.month]} {last.year})"
    return here.days(first, last, said)


def _year(here: _Now) -> Period:
    return here.days(date(here.today.year, 1, 1), here.today, f"this year (since 1 January {here.today.year})")


def _last_year(here: _Now) -> Period:
    year = here.today.year - 1
    return here.days(date(year, 1, 1), date(year, 12, 31), f"last year ({year})")


def _ever(here: _Now) -> Period:
    return Period(here.at - _LONGEST, here.at, "in all")


_READERS: Mapping[Named, _Reader] = {
    Named.THIS_WEEK: _week,
    Named.LAST_WEEK: _last_week,
    Named.THIS_MONTH: _month,
    Named.LAST_MONTH: _last_month,
    Named.THIS_QUARTER: _quarter,
    Named.LAST_QUARTER: _last_quarter,
    Named.THIS_YEAR: _year,
    Named.LAST_YEAR: _last_year,
    Named.DAY_BEFORE_YESTERDAY: _before(2, "the day before yesterday"),
    Named.EVER: _ever,
}
_NAMED = tuple((re.compile(NAMES[name]), reader) for name, reader in _READERS.items())
_MOMENT, _DURATION = mark(Kind.MOMENT), mark(Kind.DURATION)
_SINCE = re.compile(rf"(?<![a-z])(?:since|from|seit|desde|depuis|dal?|after) (?:the )?({_MOMENT})")
_BETWEEN = re.compile(
    rf"(?<![a-z])(?:between|from|zwischen|vom|von|entre|del?|du) (?:the )?({mark(Kind.MOMENT, Kind.NUMBER)}) ?"
    rf"(?:and|to|until|till|-|und|bis|y|al?|et|au) ?(?:the )?({_MOMENT})"
)
_LAST = re.compile(
    r"(?<![a-z])(?:last|past|previous|trailing|letzten?|ultim[oa]s|derni?er(?:e?s)?|ultim[ie]) "
    rf"({_DURATION})|(?:过去|最近|この)({_DURATION})"
)
_LAST_ONE = re.compile(r"(?<![a-z])(?:in |over |for |during )?the (?:last|past) (hour|day|week|month|year)(?![a-z])")
_ONE = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30),
        "year": timedelta(days=365)}  # fmt: skip
_IN_MONTH = re.compile(
    r"(?<![a-z])(?:in|during|for|of|last|since|im|en|au mois de|a|em|throughout|over) (?:the month of )?(?P<month>"
    + "|".join(sorted(MONTHS, key=len, reverse=True))
    + r")(?![a-z0-9])(?: (?:of |de |del )?(?P<year>20\d\d))?"
)
_CJK_MONTH = re.compile(r"(?<!\d)(?P<month>1[0-2]|[1-9])月(?:份|に|の|は|$|[^0-9])")
_IN_YEAR = re.compile(r"(?<![a-z])(?:in|during|for|since|of|en|im jahr) (?P<year>20\d\d)(?![\d-])")
_SINCE_WORD = re.compile(r"since ")


def _ranges(shadow: Shadow, here: _Now) -> Iterator[Period]:
    text, values = shadow.text, shadow.values
    between = _BETWEEN.search(text)
    if between is not None:
        last = _past_day(values[between.group(2)], here.today)
        first = _first_day(values[between.group(1)], last, here.today)
        if first is not None and last is not None and first <= last:
            yield here.days(first, last, f"from {here.spoken(first)} to {here.spoken(last)}")
    since = _SINCE.search(text)
    if since is not None:
        first = _past_day(values[since.group(1)], here.today)
        if first is not None:
            yield here.days(first, here.today, f"since {here.spoken(first)}")
    last_length = _LAST.search(text)
    if last_length is not None:
        seconds = values[last_length.group(1) or last_length.group(2)]
        yield _lately(timedelta(seconds=float(min(seconds, _LONGEST.total_seconds()))), here)
    one = _LAST_ONE.search(text)
    if one is not None:
        yield Period(here.at - _ONE[one.group(1)], here.at, f"in the last {one.group(1)}")


def _lately(length: timedelta, here: _Now) -> Period:
    hours = length.total_seconds() / 3600
    said = f"{hours:g} hours" if length < _SHOWN_AS_HOURS else f"{length.total_seconds() / 86_400:g} days"
    return Period(here.at - length, here.at, f"in the last {said}")


def _named(shadow: Shadow, here: _Now) -> Iterator[Period]:
    folded = _unmarked(shadow)
    for pattern, reader in _NAMED:
        if pattern.search(folded):
            yield reader(here)


def _months(shadow: Shadow, here: _Now) -> Iterator[Period]:
    folded = _unmarked(shadow)
    named = _IN_MONTH.search(folded) or _CJK_MONTH.search(folded)
    if named is not None:
        groups = named.groupdict()
        month = MONTHS[groups["month"]] if groups["month"] in MONTHS else int(groups["month"])
        past = month <= here.today.month
        year = int(groups.get("year") or here.today.year - (not past))
        first = date(year, month, 1)
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        if _SINCE_WORD.match(named.group()):
            yield here.days(first, here.today, f"since {here.spoken(first)}")
        elif first <= here.today:
            yield here.days(first, last, f"in {month_name[month]} {year}")
    in_year = _IN_YEAR.search(folded)
    if in_year is not None and int(in_year["year"]) <= here.today.year:
        year = int(in_year["year"])
        until = date(year, 12, 31) if not in_year.group().startswith("since") else here.today
        yield here.days(date(year, 1, 1), until, f"{'in' if until.year == year else 'since'} {year}")


def _days(shadow: Shadow, here: _Now) -> Iterator[Period]:
    for _, moment in shadow.marks(Kind.MOMENT):
        day = _past_day(moment, here.today)
        if day is None:
            continue
        if day == here.today:
            yield _today(here)
        elif day == here.today - timedelta(days=1):
            yield _before(1, "yesterday")(here)
        else:
            yield here.days(day, day, f"on {here.spoken(day)}")


def _unmarked(shadow: Shadow) -> str:
    """Return the folded text with the words behind marks, which other recognisers took for something else."""
    said = (char if kind_of(char) is None else shadow.words(at, at + 1).lower() for at, char in enumerate(shadow.text))
    return "".join(said)


def _first_day(said: object, last: date | None, today: date) -> date | None:
    """Return the first day of a range, of which only the number may be said: "between 1 and 10 November"."""
    if not isinstance(said, Decimal):
        return _past_day(said, today)
    fits = last is not None and said == int(said) and 1 <= said <= last.day
    return last.replace(day=int(said)) if last is not None and fits else None


def _past_day(moment: object, today: date) -> date | None:
    """Return the day that is meant in a question about the past: the newest one of that name that is not to come."""
    day = moment.day if isinstance(moment, Moment) else None
    if day is None:
        return None
    try:
        found = _past(day, today)
    except ValueError:
        return None
    return found if found is not None and found <= today else None


def _past(day: Day, today: date) -> date | None:
    match day.kind:
        case DayKind.RELATIVE:
            return today + timedelta(days=day.shift)
        case DayKind.WEEKDAY:
            back = (today.weekday() - (day.weekday or 0)) % _WEEK
            return today - timedelta(days=back or (_WEEK if day.shift < 0 else 0))
        case DayKind.CALENDAR:
            found = date(day.year or today.year, day.month or 1, day.day or 1)
            return found if day.year or found <= today else found.replace(year=today.year - 1)
        case DayKind.DAY_OF_MONTH:
            found = today.replace(day=day.day or 1)
            return found if found <= today else (today.replace(day=1) - timedelta(days=1)).replace(day=day.day or 1)
        case _:
            return None
