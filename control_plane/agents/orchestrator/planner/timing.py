"""Time limits, deadlines and start times: which role each length and moment plays."""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from enum import Enum, auto

from control_plane.agents.orchestrator.planner import timing_words as lexicon
from control_plane.agents.orchestrator.planner.date_words import DayKind, Moment
from control_plane.agents.orchestrator.planner.facts import Fact
from control_plane.agents.orchestrator.planner.moments import resolve
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, words

_BEFORE_CHARS, _AFTER_CHARS = 56, 40
_NOON = 12
_MAX_SECONDS = 10 * 365 * 86_400


class _Role(Enum):
    LIMIT = auto()
    STRONG_LIMIT = auto()
    DEADLINE = auto()
    START = auto()
    NONE = auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """The time limit of a job; `conflicts` says when two different limits are given."""

    max_seconds: Fact[int] | None = None
    for_each: bool = False
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """When a goal may start and must be finished."""

    deadline_at: Fact[datetime] | None = None
    start_at: Fact[datetime] | None = None
    schedule: Fact[str] | None = None


def _contexts(shadow: Shadow, at: int) -> tuple[str, str]:
    """Return the words around a mark, up to the ends of its sentence."""
    before = shadow.text[max(0, at - _BEFORE_CHARS) : at]
    cut = max((before.rfind(stop) for stop in ("\n", ";", ". ", "! ", "? ")), default=-1)
    after = shadow.text[at + 1 : at + 1 + _AFTER_CHARS]
    return before[cut + 1 :] if cut >= 0 else before, after


def _duration_role(before: str, after: str) -> _Role:
    if lexicon.START_BEFORE.search(before):
        return _Role.START
    if lexicon.STOP_AFTER.search(before):
        return _Role.STRONG_LIMIT
    if lexicon.FOR_NEXT.search(before):
        return _Role.LIMIT
    if lexicon.NOT_BEFORE.search(before) or lexicon.EACH_TAKES.search(before) or lexicon.NOT_AFTER.match(after):
        return _Role.NONE
    if lexicon.DEADLINE_AFTER.match(after):
        return _Role.DEADLINE
    strong = lexicon.STRONG_BEFORE.search(before)
    deadline = lexicon.DEADLINE_BEFORE.search(before)
    if deadline and (not strong or deadline.start() <= strong.start() or "in under" in before):
        return _Role.DEADLINE
    if strong or lexicon.STRONG_AFTER.match(after):
        return _Role.STRONG_LIMIT
    return _Role.LIMIT


def read_limits(shadow: Shadow) -> Limits:
    """Read the time limit of the job that one part of a goal describes."""
    found: list[tuple[_Role, int, Fact[int]]] = []
    for_each = False
    for at, seconds in shadow.marks(Kind.DURATION):
        before, after = _contexts(shadow, at)
        role = _duration_role(before, after)
        if role in (_Role.LIMIT, _Role.STRONG_LIMIT) and 0 < seconds <= _MAX_SECONDS:
            found.append((role, at, Fact(_whole(seconds), (shadow.span(at, at + 1),))))
            for_each = for_each or bool(lexicon.EACH_STEP.search(before + " | " + after))
    strong = [fact for role, _, fact in found if role is _Role.STRONG_LIMIT]
    facts = (
        strong
        or [fact for role, at, fact in found if lexicon.FOR_BEFORE.search(_contexts(shadow, at)[0])]
        or [f for _, _, f in found]
    )
    if not facts:
        return Limits()
    distinct = {fact.value for fact in (strong or facts[:1])}
    conflicts = ("Two different time limits are given.",) if len(distinct) > 1 else ()
    return Limits(min(strong or facts[:1], key=lambda fact: fact.value), for_each, conflicts)


def _whole(seconds: Decimal) -> int:
    return max(1, int(seconds))


_PAST = re.compile(words("last|yesterday|since|on|ago") + r"[ :]$")


def read_window(shadow: Shadow, now: datetime, default: tzinfo) -> Window:
    """Read start and deadline from moments ("by Friday 9am") and lengths ("within 36 hours")."""
    schedule_match = next(
        (
            match
            for match in lexicon.SCHEDULE.finditer(shadow.text)
            if not lexicon.NOT_SCHEDULED.search(shadow.text[max(0, match.start() - 40) : match.start()])
        ),
        None,
    )
    schedule = (
        Fact(shadow.words(*schedule_match.span()), (shadow.span(*schedule_match.span()),)) if schedule_match else None
    )
    scheduled = range(*schedule_match.span()) if schedule_match else range(0)
    deadlines: list[Fact[datetime]] = []
    firm: list[Fact[datetime]] = []
    starts: list[Fact[datetime]] = []
    between = lexicon.BETWEEN.search(shadow.text)
    then = lexicon.THEN.search(shadow.text)
    window = _window(shadow, between) if between else {}
    for at, moment in shadow.marks(Kind.MOMENT):
        role, exclusive = _moment_role(shadow, at, between)
        if role is _Role.NONE and then is not None and at == then.start("moment"):
            role = _Role.DEADLINE
        if at in scheduled or role is _Role.NONE or _said_in_haste(shadow, at, moment):
            continue
        fact = _resolved(shadow, at, window.get(at, moment), now, default, exclusive=exclusive)
        if fact is not None:
            (starts if role is _Role.START else deadlines).append(fact)
            if role is _Role.DEADLINE and lexicon.LATEST.search(" | ".join(_contexts(shadow, at))[-60:]):
                firm.append(fact)
    for at, seconds in shadow.marks(Kind.DURATION):
        role = _duration_role(*_contexts(shadow, at))
        if role in (_Role.DEADLINE, _Role.START) and 0 < seconds <= _MAX_SECONDS:
            fact = Fact(now + timedelta(seconds=float(seconds)), (shadow.span(at, at + 1),))
            (starts if role is _Role.START else deadlines).append(fact)
    return Window(min(firm or deadlines, key=_time_of, default=None), min(starts, key=_time_of, default=None), schedule)


_IN_HASTE = re.compile(
    words("need|needs|needed|want|wants|wanted|due|required") + r"(?: (?:it|this|that|them|done|by))* $"
)


def _said_in_haste(shadow: Shadow, at: int, moment: Moment) -> bool:
    """Whether "needed yesterday" only says that it is urgent."""
    past = moment.day is not None and moment.day.kind is DayKind.RELATIVE and moment.day.shift < 0
    return past and _IN_HASTE.search(shadow.text[max(0, at - 32) : at]) is not None


_LED_BY_DAY = re.compile(rf"({lexicon.MOMENT}),? ?$")


def _window(shadow: Shadow, between: re.Match[str]) -> dict[int, Moment]:
    """Of "from tomorrow 8:00 to 20:00 CET" let the start have the zone, and the end the day."""
    first, last = between.start(1), between.start(2)
    start, end = shadow.values[shadow.text[first]], shadow.values[shadow.text[last]]
    led = _LED_BY_DAY.search(shadow.text[: between.start()])
    lead = shadow.values[led.group(1)] if led else None
    if lead is not None and lead.time is None and start.day is None and end.day is None:
        start = replace(start, day=lead.day)
    zone = start.zone or end.zone
    overnight = end.day is not None and end.day.kind is DayKind.TONIGHT and start.time and end.time
    if overnight and start.time.hour >= _NOON > end.time.hour:
        start = replace(start, day=start.day or end.day)
        end = replace(end, time=replace(end.time, next_day=True))
    return {
        first: replace(start, zone=zone, day=start.day),
        last: replace(end, zone=end.zone or zone, day=end.day or (start.day if _follows(start, end) else None)),
    }


def _follows(start: Moment, end: Moment) -> bool:
    return start.time is not None and end.time is not None and (end.time.next_day or end.time.hour > start.time.hour)


def any_moment(shadow: Shadow, now: datetime, default: tzinfo) -> Fact[datetime] | None:
    """Read the first moment or length whatever stands around it, for an answer to "by when?"."""
    for at, moment in shadow.marks(Kind.MOMENT):
        return _resolved(shadow, at, moment, now, default, exclusive=False)
    for at, seconds in shadow.marks(Kind.DURATION):
        if 0 < seconds <= _MAX_SECONDS:
            return Fact(now + timedelta(seconds=float(seconds)), (shadow.span(at, at + 1),))
    return None


def _time_of(fact: Fact[datetime]) -> datetime:
    return fact.value


def _moment_role(shadow: Shadow, at: int, between: re.Match[str] | None) -> tuple[_Role, bool]:
    if between is not None and at in (between.start(1), between.start(2)):
        return (_Role.START if at == between.start(1) else _Role.DEADLINE), False
    before, after = _contexts(shadow, at)
    start, deadline = lexicon.MOMENT_START.search(before), lexicon.MOMENT_DEADLINE.search(before)
    if lexicon.MOMENT_START_AFTER.match(after) or start:
        return _Role.START, not lexicon.PAST_START.search(before)
    deadline = deadline or lexicon.EVENT_DEADLINE.search(before)
    if deadline or lexicon.MOMENT_DEADLINE_AFTER.match(after):
        moment = shadow.values[shadow.text[at]]
        weekend = moment.day is not None and moment.day.kind is DayKind.WEEKEND
        return _Role.DEADLINE, bool(lexicon.EXCLUSIVE.search(before)) or (
            weekend and bool(lexicon.UP_TO.search(before))
        )
    if lexicon.DAY_END.search(shadow.words(at, at + 1).lower()) and not _PAST.search(before):
        return _Role.DEADLINE, False
    return _Role.NONE, False


def _resolved(
    shadow: Shadow, at: int, moment: Moment, now: datetime, default: tzinfo, *, exclusive: bool
) -> Fact[datetime] | None:
    value = resolve(moment, now, default, exclusive=exclusive)
    return Fact(value, (shadow.span(at, at + 1),)) if value is not None else None
