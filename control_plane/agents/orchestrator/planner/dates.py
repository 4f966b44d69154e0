"""Dates and times of day: recognition. What they come to is decided in `moments`."""

import re
from collections.abc import Callable, Mapping

from control_plane.agents.orchestrator.planner import date_words as lexicon
from control_plane.agents.orchestrator.planner.date_words import Day, DayKind, Moment, TimeOfDay
from control_plane.agents.orchestrator.planner.quantities import cjk_number
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark
from control_plane.agents.orchestrator.planner.zones import Zone

_AM_PM = re.compile(
    r"(?<![0-9a-z.:/$-])(?P<hour>\d{1,2})(?:[:.](?P<minute>\d\d))? ?(?P<half>am|pm|a\.m\.?|"
    r"p\.m\.?)(?![a-z0-9])"
)
_COLON = re.compile(
    r"(?<![0-9a-z.:/])(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?::[0-5]\d)?(?P<zulu>z)?(?: ?(?:uh"
    r"r|hs|hrs|h|o'clock)(?![a-z]))?(?!:?\d)(?!x)"
)
_HOUR_WORD = re.compile(
    r"(?<![0-9a-z.:/])(?P<hour>\d{1,2})(?:[.:](?P<minute>\d\d))? ?(?:uhr|o'?clock|"
    r"oclock)(?P<extra> \d\d(?!\d))?(?![a-z])"
)
_HOUR_OF_PART = re.compile(
    r"(?<![0-9a-z.:/$-])(?P<hour>\d{1,2})(?: o'?clock)? (?P<part>in the (?:morning|afternoon|evening)|"
    r"at night)(?![a-z])"
)
_CJK_CLOCK = re.compile(
    r"(?P<half>上午|早上|凌晨|下午|晚上|傍晚|中午|午前|午後|夜の?|朝の?|晚)?(?P<hour>\d{1,2}|"
    r"[一二三四五六七八九十]{1,3})[点點時时](?!間|间)(?:(?P<minute>\d{1,2})分|(?P<thirty>半))?"
)
_LED_HOUR = re.compile(
    r"(?P<lead>(?<![a-z])(?:a las?|a partir de las|las|hasta las|antes de las|antes das|ate as|as|a|"
    r"alle|alle ore|entro le|ore|um|gegen|bis|vor|avant|vers|a partir de|jusqu'a|pour|le) |"
    r"(?:vendredi|lundi|mardi|mercredi|jeudi|samedi|dimanche|demain|aujourd'hui|venerdi|lunedi|"
    r"martedi|mercoledi|giovedi|sabato|domenica|domani|sexta|segunda|amanha|viernes|lunes|martes|"
    r"miercoles|jueves|sabado|domingo|manana)(?: a)? )"
    r"(?P<hour>\d{1,2})(?:(?P<unit> ?(?:h|hs|heures))(?P<minute>\d\d)?|"
    r"[:.](?P<minute2>\d\d))?(?![a-z0-9%]|[.,:]\d|[ -](?:gpu|tarjeta|placa|carte|sched|nodo|noeud|"
    r"hora|h\b|heure|ore|dia|jour|giorn|stund|tag|min|euro|dolar|dollar|usd|eur|x)| ?[€$£x%]|"
    rf" ?{mark(Kind.GPU, Kind.NUMBER)}"
    r")(?P<half> (?:de la manana|de la tarde|de la noche|du matin|du soir|de l'apres-midi|di mattina|"
    r"del mattino|di sera|del pomeriggio|da manha|da tarde|da noite)(?![a-z]))?"
)
_LED_WITH_UNIT = frozenset({"bis", "vor", "pour", "le", "a", "as", "gegen"})
_ENGLISH_LED = re.compile(
    r"(?P<lead>(?<![a-z])(?:by|before|until|till|at) )(?P<hour>\d{1,2})(?=[.,;!?)\n]|$| (?:today|"
    r"tomorrow|tonight|sharp|on |this|utc|pt|et|cet|gmt|est|pst|jst))"
)
_ENGLISH_H = re.compile(
    r"(?P<lead>(?<![a-z])(?:by|before|until|till|at) )(?P<hour>[01]?\d|2[0-3])h(?P<minute>[0-5]\d)?(?![a-z0-9])"
)
_MILITARY = re.compile(
    r"(?P<lead>(?<![a-z])(?:by|before|until|till|at|from|to) )(?P<hour>[01]\d|2[0-3])(?P<minute>[0-5]\d)"
    rf"(?= ?(?:{mark(Kind.ZONE)}|hrs?(?![a-z])|hours local|local|tomorrow|today|on (?:mon|tue|wed|thu|fri|sat|"
    rf"sun)))(?: ?hrs?(?![a-z]))?"
)
_LIMIT_LEAD = re.compile(r"(?:limit[a-z]{0,5}|max[a-z]{0,6}|plafonn[a-z]{1,3}|dur[a-z]{1,6}|tope|cap) ?$")
_AFTERNOON = frozenset({"pm", "p.m.", "p.m", "下午", "晚上", "傍晚", "午後", "夜", "夜の", "晚"})
_AFTERNOON_WORDS = ("tarde", "noche", "soir", "apres-midi", "sera", "pomeriggio", "noite")


def recognise_dates(shadow: Shadow) -> None:
    """Replace days and times of day by DATE and CLOCK marks."""
    shadow.replace_all(lexicon.ISO, Kind.DATE, _calendar)
    shadow.replace_all(_COLON, Kind.CLOCK, lambda m: _time(m.group("hour"), m.group("minute")))
    shadow.replace_all(
        _AM_PM, Kind.CLOCK, lambda m: _time(m.group("hour"), m.group("minute"), afternoon=m.group("half")[0] == "p")
    )
    shadow.replace_all(
        _HOUR_OF_PART,
        Kind.CLOCK,
        lambda m: _time(m.group("hour"), None, afternoon=not m.group("part").endswith("morning")),
    )
    shadow.replace_all(
        _HOUR_WORD, Kind.CLOCK, lambda m: _time(m.group("hour"), m.group("minute") or (m.group("extra") or "").strip())
    )
    for form in (
        lexicon.DOTTED,
        lexicon.MONTH_FIRST,
        lexicon.DAY_FIRST,
        lexicon.CJK_DATE,
        lexicon.ORDINAL,
        lexicon.CJK_DAY,
    ):
        shadow.replace_all(form, Kind.DATE, _calendar)
    shadow.replace_all(lexicon.SLASHED, Kind.DATE, lambda m: _slashed(shadow.text, m))
    _replace_led_hours(shadow)
    shadow.replace_all(_CJK_CLOCK, Kind.CLOCK, _cjk_clock)
    shadow.replace_all(re.compile(lexicon.TONIGHT), Kind.DATE, lambda _: Day(DayKind.TONIGHT))
    for day, names in lexicon.SPECIAL:
        shadow.replace_all(re.compile(names), Kind.DATE, _always(day))
    for form in (lexicon.WEEKDAY, lexicon.WEEKDAY_SHORT):
        shadow.replace_all(form, Kind.DATE, _weekday)
    for shift, names in lexicon.RELATIVE:
        shadow.replace_all(re.compile(names), Kind.DATE, _always(Day(DayKind.RELATIVE, shift=shift)))
    for time, names in lexicon.PARTS:
        shadow.replace_all(re.compile(names), Kind.CLOCK, _always(time))
    _compose(shadow)


def _always(value: object) -> Callable[[re.Match[str]], object]:
    return lambda _: value


def _replace_led_hours(shadow: Shadow) -> None:
    """Replace bare hours behind a word for "at": `a las 9`, `avant 18h`, `by 5`."""
    found = []
    for match in _LED_HOUR.finditer(shadow.text):
        needs_unit = match.group("lead").strip() in _LED_WITH_UNIT
        if needs_unit and not (match.group("unit") or match.group("minute2")):
            continue
        if match.group("lead").strip() == "pour" and not match.group("minute"):
            continue  # "pour 5h" is a length
        if _LIMIT_LEAD.search(shadow.text[max(0, match.start() - 24) : match.start()]):
            continue  # "limité à 10h" is a length
        half = match.group("half") or ""
        time = _time(
            match.group("hour"),
            match.group("minute") or match.group("minute2"),
            afternoon=any(w in half for w in _AFTERNOON_WORDS) if half else None,
        )
        if time is not None:
            found.append((match.end("lead"), match.end(), time))
    shadow.replace(found, Kind.CLOCK)
    for form in (_ENGLISH_H, _MILITARY):
        found = [
            (m.end("lead"), m.end(), time)
            for m in form.finditer(shadow.text)
            if (time := _time(m.group("hour"), m.group("minute"))) is not None
        ]
        shadow.replace(found, Kind.CLOCK)
    found = [
        (m.end("lead"), m.end(), time)
        for m in _ENGLISH_LED.finditer(shadow.text)
        if (time := _time(m.group("hour"), None)) is not None
    ]
    shadow.replace(found, Kind.CLOCK)


_DATE, _CLOCK, _ZONE = mark(Kind.DATE), mark(Kind.CLOCK), mark(Kind.ZONE)
_JOIN = (
    r"(?:,? ?(?:at|by|@|a las?|a|um|gegen|alle|alle ore|as|the|in der|por la|en la|de la|le|-|"
    r"no later than|before|until|close|in the|的|の|,|de|da|di|del|this|ao|as|nas|zu|zum|verso le|vers)? ?)"
)
_DATE_CLOCK = re.compile(rf"({_DATE}){_JOIN}({_CLOCK})(?: ?({_CLOCK}))?(?: ?,?\(?({_ZONE})\)?)?")
_CLOCK_DATE = re.compile(
    rf"({_CLOCK})(?: ?\(?({_ZONE})\)?)?(?:,? ?(?:on|of|el|del|am|le|du|il|de|this|next|,|do|di|"
    rf"da)? ?)({_DATE})(?: ?\(?({_ZONE})\)?)?"
)
_CLOCK_ONLY = re.compile(rf"({_CLOCK})(?: ?({_CLOCK}))?(?: ?\(?({_ZONE})\)?)?")
_DATE_ONLY = re.compile(rf"({_DATE})(?: ?\(?({_ZONE})\)?)?")
_DATE_DATE = re.compile(rf"({_DATE}),? ?(?:the |den |el |le )?\(?({_DATE})\)?")
_ZONE_FIRST = re.compile(rf"({_ZONE}) ?(?=(?:{_DATE}|{_CLOCK}))")


def _compose(shadow: Shadow) -> None:
    """Join neighbouring days, times and zones into MOMENT marks."""
    values = shadow.values
    shadow.replace_all(_DATE_DATE, Kind.DATE, lambda m: _same_day(values[m.group(1)], values[m.group(2)]))
    shadow.replace_all(
        _DATE_CLOCK,
        Kind.MOMENT,
        lambda m: Moment(values[m.group(1)], _exact(values, m.group(2), m.group(3)), _value(values, m.group(4))),
    )
    shadow.replace_all(
        _CLOCK_DATE,
        Kind.MOMENT,
        lambda m: Moment(values[m.group(3)], values[m.group(1)], _value(values, m.group(2) or m.group(4))),
    )
    shadow.replace_all(
        _CLOCK_ONLY,
        Kind.MOMENT,
        lambda m: Moment(None, _exact(values, m.group(1), m.group(2)), _value(values, m.group(3))),
    )
    shadow.replace_all(_DATE_ONLY, Kind.MOMENT, lambda m: Moment(values[m.group(1)], None, _value(values, m.group(2))))


def _value(values: Mapping[str, object], char: str | None) -> Zone | None:
    value = values[char] if char else None
    return value if isinstance(value, Zone) else None


def _exact(values: Mapping[str, object], first: str, second: str | None) -> TimeOfDay | None:
    """Of "evening 8:00" and the like take the exact one, moved past noon where the part of day says so."""
    times = [time for time in (values[char] for char in (first, second) if char) if isinstance(time, TimeOfDay)]
    exact = [time for time in times if not time.vague] or times
    vague = [time for time in times if time.vague]
    time = exact[0]
    later = vague and (vague[0].hour >= 12 or vague[0].next_day)  # noqa: PLR2004 - hours, days and months of a clock and a calendar
    if later and not time.vague and 0 < time.hour < 12:  # noqa: PLR2004 - hours, days and months of a clock and a calendar
        return TimeOfDay(time.hour + 12, time.minute)
    return time


def _same_day(first: Day, second: Day) -> Day | None:
    """Of "Friday, 27 November" keep the calendar day."""
    kinds = {first.kind, second.kind}
    if DayKind.CALENDAR in kinds and DayKind.WEEKDAY in kinds:
        return first if first.kind is DayKind.CALENDAR else second
    if kinds == {DayKind.NEXT_WEEK, DayKind.WEEKDAY}:
        weekday = first if first.kind is DayKind.WEEKDAY else second
        return Day(DayKind.WEEKDAY, weekday=weekday.weekday, shift=1)
    return None


def _calendar(match: re.Match[str]) -> Day | None:
    groups = match.groupdict()
    day = int(groups["day"])
    month = int(groups["month_number"]) if groups.get("month_number") else lexicon.MONTHS.get(groups.get("month") or "")
    return _checked(groups.get("year"), month, day)


def _checked(year_text: str | None, month: int | None, day: int) -> Day | None:
    if not 1 <= day <= 31 or (month is not None and not 1 <= month <= 12):  # noqa: PLR2004 - hours, days and months of a clock and a calendar
        return None
    year = int(year_text) if year_text else None
    if year is not None and year < 100:  # noqa: PLR2004 - hours, days and months of a clock and a calendar
        year += 2000
    return Day(DayKind.CALENDAR if month else DayKind.DAY_OF_MONTH, year, month, day)


def _slashed(text: str, match: re.Match[str]) -> Day | None:
    """Read 11/27 as month/day unless only day/month is possible; fractions such as 1/2 are no dates."""
    lead = text[max(0, match.start() - 12) : match.start()]
    if not match.group("year") and not re.search(
        r"(?:by|before|until|on|due|deadline:?|bis|am|el|le|até|antes del?|avant) (?:the )?$", lead
    ):
        return None
    first, second = int(match.group("first")), int(match.group("second"))
    month, day = (second, first) if first > 12 else (first, second)  # noqa: PLR2004 - hours, days and months of a clock and a calendar
    return _checked(match.group("year"), month, day)


def _weekday(match: re.Match[str]) -> Day:
    groups = match.groupdict()
    number = next(int(name[1]) for name, value in groups.items() if value and re.fullmatch(r"[dab]\d", name))
    modifier = (groups.get("pre") or "").strip() or (groups.get("post") or "").strip()
    shift = (
        1
        if modifier in lexicon.NEXT or (groups.get("post") or "").strip() in lexicon.NEXT
        else -1
        if modifier in lexicon.LAST
        else 0
    )
    return Day(DayKind.WEEKDAY, weekday=number, shift=shift)


def _time(hour_text: str, minute_text: str | None, *, afternoon: bool | None = None) -> TimeOfDay | None:
    hour, minute = int(hour_text), int(minute_text or 0)
    if afternoon is not None and hour <= 12:  # noqa: PLR2004 - hours, days and months of a clock and a calendar
        hour = hour % 12 + (12 if afternoon else 0)
    if hour > 24 or minute > 59:  # noqa: PLR2004 - hours, days and months of a clock and a calendar
        return None
    return TimeOfDay(0, minute, next_day=True) if hour == 24 else TimeOfDay(hour, minute)  # noqa: PLR2004 - hours, days and months of a clock and a calendar


def _cjk_clock(match: re.Match[str]) -> TimeOfDay | None:
    text = match.group("hour")
    if not text.isdigit():
        text = str(cjk_number(text))
    half = match.group("half")
    afternoon = None if half is None or half == "中午" else half in _AFTERNOON
    return _time(text, "30" if match.group("thirty") else match.group("minute"), afternoon=afternoon)
