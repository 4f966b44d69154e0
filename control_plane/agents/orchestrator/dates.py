"""Dates and times of day: recognition. What they come to is decided in `moments`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from control_plane.agents.orchestrator.shadow import Kind, Shadow, mark, words
from control_plane.agents.orchestrator.zones import Zone


class DayKind(Enum):
    """How a day is named."""

    CALENDAR = auto()
    DAY_OF_MONTH = auto()
    WEEKDAY = auto()
    RELATIVE = auto()
    END_OF_WEEK = auto()
    END_OF_MONTH = auto()
    END_OF_YEAR = auto()
    WEEKEND = auto()
    NEXT_WEEK = auto()
    TONIGHT = auto()


@dataclass(frozen=True, slots=True)
class Day:
    """A day as named. `shift` counts days for RELATIVE and weeks otherwise (next: 1, last: -1)."""

    kind: DayKind
    year: int | None = None
    month: int | None = None
    day: int | None = None
    weekday: int | None = None
    shift: int = 0


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A time of day; `next_day` for midnight and night, which end the day; `vague` for parts of a day."""

    hour: int
    minute: int = 0
    next_day: bool = False
    vague: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time as named: at least one of day and time."""

    day: Day | None
    time: TimeOfDay | None
    zone: Zone | None = None


_MONTHS: Mapping[str, int] = {
    word: number
    for number, names in enumerate(
        (
            "january jan januar enero janvier gennaio janeiro", "february feb februar febrero fevrier febbraio fevereiro",
            "march mar marz maerz marzo mars marco", "april apr abril avril aprile", "may mai mayo maggio maio",
            "june jun juni junio juin giugno junho", "july jul juli julio juillet luglio julho",
            "august aug agosto aout", "september sept sep septiembre septembre settembre setembro",
            "october oct oktober okt octubre octobre ottobre outubro", "november nov noviembre novembre novembro",
            "december dec dezember dez diciembre decembre dicembre dezembro",
        ),
        start=1,
    )
    for word in names.split()
}  # fmt: skip
_MONTH = "(?P<month>" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\.?(?![a-z0-9])"
_WEEKDAYS = (
    words("mondays?|montag|lunes|lundi|lunedi|segunda-feira|segunda(?= as| a)", "周一|星期一|礼拜一|月曜日?"),
    words("tuesdays?|dienstag|martes|mardi|martedi|terca-feira|terca", "周二|星期二|礼拜二|火曜日?"),
    words("wednesdays?|mittwoch|miercoles|mercredi|mercoledi|quarta-feira|quarta", "周三|星期三|礼拜三|水曜日?"),
    words("thursdays?|donnerstag|jueves|jeudi|giovedi|quinta-feira|quinta", "周四|星期四|礼拜四|木曜日?"),
    words("fridays?|freitag|viernes|vendredi|venerdi|sexta-feira|sexta", "周五|星期五|礼拜五|金曜日?"),
    words("saturdays?|samstag|sonnabend|sabado|samedi|sabato", "周六|星期六|礼拜六|土曜日?"),
    words("sundays?|sonntag|domingo|dimanche|domenica", "周日|周天|星期日|星期天|礼拜天|日曜日?"),
)
_ABBREVIATIONS = ("mon", "tues?", "weds?", "thu(?:rs?)?", "fri", "sat", "sun")
_ABBREVIATION_LEAD = r"(?:(?<=by )|(?<=before )|(?<=until )|(?<=till )|(?<=on )|(?<=this )|(?<=next )|(?<=due )|(?<=: )|(?<=, )|(?<=eod )|(?<=cob )|(?<=or )|(?<=from )|(?<=- ))"
_WEEKDAY_NAMES = "|".join(f"(?P<d{number}>{pattern})" for number, pattern in enumerate(_WEEKDAYS))
_ABBREVIATED = "|".join(f"(?P<a{number}>{pattern})" for number, pattern in enumerate(_ABBREVIATIONS))
_WEEKDAY = re.compile(
    r"(?:(?P<pre>(?<![a-z])(?:next|nachsten?|naechsten|kommenden?|diesen?|this|coming|this coming|last|past|letzten|proximo|el proximo|este|prossimo|scorso|ce|on|proxima|na|am|el|le|il)|下个?|本|这个?|上个?|次の|今度の|来週の?|先週の?|今週の?) ?)?"
    rf"(?:{_WEEKDAY_NAMES})(?P<post> (?:prochain|dernier|que viene|prossimo|scorso|que vem|next week|of next week|proximo|pasado|passado)(?![a-z]))?"
)
_WEEKDAY_SHORT = re.compile(
    rf"(?P<pre>(?<![a-z])(?:next|this|last|coming) )?(?:{_ABBREVIATION_LEAD}(?:{_ABBREVIATED})(?![a-z0-9-])|(?<![a-z0-9-])(?:(?P<b0>mon)|(?P<b1>tues?)|(?P<b2>wed)|(?P<b3>thu)|(?P<b4>fri)|(?P<b5>sat)|(?P<b6>sun))\.?(?=,? (?:at )?(?:\d{{1,2}}(?::\d\d| ?[ap]m)|noon|midnight|morning|evening|night|afternoon|eod|cob|end of)))"
)
_NEXT = frozenset("next nachsten nachste naechsten 下 下个 次の 来週 来週の prochain que viene prossimo que vem next week of next week proximo".split()) | {"next week", "of next week", "que viene", "que vem"}
_LAST = frozenset("last past letzten 上 上个 先週 先週の dernier scorso pasado passado".split())
_RELATIVE: tuple[tuple[int, str], ...] = (
    (2, words("day after tomorrow|ubermorgen|uebermorgen|pasado manana|apres-demain|dopodomani|depois de amanha", "后天|後天|明後日|あさって")),
    (1, words("tomorrow|tmrw|tmr|tomorow|tommorow|tommorrow|morgen(?! fruh| vormittag)|morgen|(?<!la )(?<!por la )(?<!de la )manana|demain|domani|amanha", "明天|明日|明晚|あした|내일")),
    (-1, words("yesterday|gestern|ayer|hier|ieri|ontem", "昨天|昨日")),
    (0, words("today|heute|hoy|aujourd'hui|oggi|hoje", "今天|今日|本日|오늘")),
)
_TONIGHT = words("tonight|heute nacht|heute abend|esta noche|ce soir|cette nuit|stasera|stanotte|esta noite|hoje a noite", "今晚|今夜")
_ISO = re.compile(r"(?<![0-9a-z])(?P<year>20\d\d)[-/.](?P<month_number>\d{1,2})[-/.](?P<day>\d{1,2})(?:t(?=\d))?(?!\d)")
_DOTTED = re.compile(r"(?<![0-9a-z.])(?P<day>\d{1,2})\.(?P<month_number>\d{1,2})\.(?P<year>20\d\d|\d\d(?!\d))?(?!\d)")
_SLASHED = re.compile(r"(?<![0-9a-z./])(?P<first>\d{1,2})/(?P<second>\d{1,2})(?:/(?P<year>20\d\d|\d\d))?(?![\d/a-z])")
_MONTH_FIRST = re.compile(rf"(?<![a-z0-9]){_MONTH} ?(?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?![0-9a-z:%]|[.,]\d)(?:,? (?P<year>20\d\d)(?!\d))?")
_DAY_FIRST = re.compile(rf"(?<![a-z0-9.,])(?P<day>\d{{1,2}})(?:st|nd|rd|th|er|\.|o|º)? ?(?:of |de |di |d')?{_MONTH}(?:,? ?(?:de |del )?(?P<year>20\d\d)(?!\d))?")
_CJK_DATE = re.compile(r"(?:(?P<year>20\d\d)年)?(?P<month_number>\d{1,2})月(?P<day>\d{1,2})[日号號]?")
_CJK_DAY = re.compile(r"(?<![0-9月])(?P<day>\d{1,2})[日号](?=(?:[上下午晚中零]|\d|前|までに|まで|の|之前))")
_ORDINAL = re.compile(r"(?<![a-z])(?:the|on the|by the|el dia|le|am|il) (?P<day>\d{1,2})(?:st|nd|rd|th|\.)(?! (?:gpu|node|card|job|run|step|time|attempt|of [a-z]))(?![0-9a-z])")
_SPECIAL: tuple[tuple[Day, str], ...] = (
    (Day(DayKind.END_OF_MONTH), words("end of (?:the |this )?month|month[ -]?end|eom|monatsende|ende des monats|fin de mes|fin(?:al)? del mes|fin du mois|fine mese|fine del mese|fim do mes", "月底|月末")),
    (Day(DayKind.END_OF_YEAR), words("end of (?:the |this )?year|year[ -]?end|eoy|jahresende|fin de ano|fin de l'annee|fine anno|fim do ano", "年底|年末")),
    (Day(DayKind.END_OF_WEEK, shift=1), words("end of next week", "下周末")),
    (Day(DayKind.END_OF_WEEK), words("end of (?:the |this )?week|eow|week[ -]?end(?=ing)|ende der woche|wochenende(?= der)|fin de semana laboral|fin de la semaine|fine settimana(?= lavorativa)|final de la semana|fim da semana")),
    (Day(DayKind.WEEKEND), words("(?:this |the |next |am |el |le |il |o )?(?:week-?end|wochenende|fin de semana|fine settimana|fim de semana)", "周末|週末")),
    (Day(DayKind.NEXT_WEEK), words("next week|nachste woche|la proxima semana|la semana que viene|semaine prochaine|la settimana prossima|proxima semana", "下周|来週")),
)  # fmt: skip
_END_OF_DAY = words("end of (?:the |business )?day|eod|tagesende|ende des tages|fin del dia|final del dia|fin de journee|fin de la journee|fine giornata|fim do dia|end of play", "今日中|当日中")
_CLOSE = words("close of business|cob|eob|end of business|feierabend|geschaftsschluss|business close", "下班前?|終業")
_PARTS: tuple[tuple[TimeOfDay, str], ...] = (
    (TimeOfDay(17, vague=True), _CLOSE),
    (TimeOfDay(0, next_day=True, vague=True), _END_OF_DAY),
    (TimeOfDay(12), words("noon|midday|high noon|12 noon|mittag|mittags|mediodia|medio ?dia|midi|mezzogiorno|meio-?dia|lunch|lunchtime", "中午|正午|お昼")),
    (TimeOfDay(0, next_day=True), words("midnight|mitternacht|medianoche|media noche|minuit|mezzanotte|meia-?noite", "午夜|半夜|零点|深夜0時")),
    (TimeOfDay(9, vague=True), words("(?:in the |early )?mornings?|first thing|fruh|vormittag|por la manana|a la manana|matin|de manha|mattina|mattino", "早上|上午(?!\\d)|早晨|(?<!毎)朝|午前中")),
    (TimeOfDay(17, vague=True), words("(?:in the )?afternoon|nachmittag|por la tarde|apres-midi|a tarde|pomeriggio", "下午(?!\\d)|傍晚|午後(?!\\d)|夕方")),
    (TimeOfDay(18, vague=True), words("(?:in the )?evening|abend|abends|soir|sera", "晚上(?!\\d)|夜(?!\\d)")),
    (TimeOfDay(0, next_day=True, vague=True), words("(?:at )?night(?! ?ly)|nacht|por la noche|noche|nuit|notte|a noite|noite")),
)  # fmt: skip
_AM_PM = re.compile(r"(?<![0-9a-z.:/$-])(?P<hour>\d{1,2})(?:[:.](?P<minute>\d\d))? ?(?P<half>am|pm|a\.m\.?|p\.m\.?)(?![a-z0-9])")
_COLON = re.compile(r"(?<![0-9a-z.:/])(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?::[0-5]\d)?(?P<zulu>z)?(?: ?(?:uhr|hs|hrs|h|o'clock)(?![a-z]))?(?![:\d])(?!x)")
_HOUR_WORD = re.compile(r"(?<![0-9a-z.:/])(?P<hour>\d{1,2})(?:[.:](?P<minute>\d\d))? ?(?:uhr|o'?clock|oclock)(?P<extra> \d\d(?!\d))?(?![a-z])")
_CJK_CLOCK = re.compile(r"(?P<half>上午|早上|凌晨|下午|晚上|傍晚|中午|午前|午後|夜の?|朝の?|晚)?(?P<hour>\d{1,2}|[一二三四五六七八九十]{1,3})[点點時时](?!間|间)(?:(?P<minute>\d{1,2})分|(?P<thirty>半))?")
_LED_HOUR = re.compile(
    r"(?P<lead>(?<![a-z])(?:a las?|a partir de las|las|hasta las|antes de las|antes das|ate as|as|a|alle|alle ore|entro le|ore|um|gegen|bis|vor|avant|vers|a partir de|jusqu'a|pour|le) |(?:vendredi|lundi|mardi|mercredi|jeudi|samedi|dimanche|demain|aujourd'hui|venerdi|lunedi|martedi|mercoledi|giovedi|sabato|domenica|domani|sexta|segunda|amanha|viernes|lunes|martes|miercoles|jueves|sabado|domingo|manana)(?: a)? )"
    r"(?P<hour>\d{1,2})(?:(?P<unit> ?(?:h|hs|heures))(?P<minute>\d\d)?|[:.](?P<minute2>\d\d))?(?![a-z0-9%]|[.,:]\d|[ -](?:gpu|tarjeta|placa|carte|sched|nodo|noeud|hora|h\b|heure|ore|dia|jour|giorn|stund|tag|min|euro|dolar|dollar|usd|eur|x)| ?[€$£x%]|" + rf" ?{mark(Kind.GPU, Kind.NUMBER)}" + r")(?P<half> (?:de la manana|de la tarde|de la noche|du matin|du soir|de l'apres-midi|di mattina|del mattino|di sera|del pomeriggio|da manha|da tarde|da noite)(?![a-z]))?"
)
_LED_WITH_UNIT = frozenset({"bis", "vor", "pour", "le", "a", "as", "gegen"})
_ENGLISH_LED = re.compile(r"(?P<lead>(?<![a-z])(?:by|before|until|till|at) )(?P<hour>\d{1,2})(?=[.,;!?)\n]|$| (?:today|tomorrow|tonight|sharp|on |this|utc|pt|et|cet|gmt|est|pst|jst))")
_LIMIT_LEAD = re.compile(r"(?:limit[a-z]{0,5}|max[a-z]{0,6}|plafonn[a-z]{1,3}|dur[a-z]{1,6}|tope|cap) ?$")
_AFTERNOON = frozenset({"pm", "p.m.", "p.m", "下午", "晚上", "傍晚", "午後", "夜", "夜の", "晚"})
_AFTERNOON_WORDS = ("tarde", "noche", "soir", "apres-midi", "sera", "pomeriggio", "noite")


def recognise_dates(shadow: Shadow) -> None:
    """Replace days and times of day by DATE and CLOCK marks."""
    shadow.replace_all(_ISO, Kind.DATE, _calendar)
    shadow.replace_all(_COLON, Kind.CLOCK, lambda m: _time(m.group("hour"), m.group("minute")))
    shadow.replace_all(_AM_PM, Kind.CLOCK, lambda m: _time(m.group("hour"), m.group("minute"), afternoon=m.group("half")[0] == "p"))
    shadow.replace_all(_HOUR_WORD, Kind.CLOCK, lambda m: _time(m.group("hour"), m.group("minute") or (m.group("extra") or "").strip()))
    for pattern in (_DOTTED, _MONTH_FIRST, _DAY_FIRST, _CJK_DATE, _ORDINAL, _CJK_DAY):
        shadow.replace_all(pattern, Kind.DATE, _calendar)
    shadow.replace_all(_SLASHED, Kind.DATE, lambda m: _slashed(shadow.text, m))
    _replace_led_hours(shadow)
    shadow.replace_all(_CJK_CLOCK, Kind.CLOCK, _cjk_clock)
    shadow.replace_all(re.compile(_TONIGHT), Kind.DATE, lambda _: Day(DayKind.TONIGHT))
    for day, pattern in _SPECIAL:
        shadow.replace_all(re.compile(pattern), Kind.DATE, lambda _, day=day: day)
    for pattern in (_WEEKDAY, _WEEKDAY_SHORT):
        shadow.replace_all(pattern, Kind.DATE, _weekday)
    for shift, pattern in _RELATIVE:
        shadow.replace_all(re.compile(pattern), Kind.DATE, lambda _, shift=shift: Day(DayKind.RELATIVE, shift=shift))
    for time, pattern in _PARTS:
        shadow.replace_all(re.compile(pattern), Kind.CLOCK, lambda _, time=time: time)
    _compose(shadow)


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
        time = _time(match.group("hour"), match.group("minute") or match.group("minute2"), afternoon=any(w in half for w in _AFTERNOON_WORDS))
        if time is not None:
            found.append((match.end("lead"), match.end(), time))
    shadow.replace(found, Kind.CLOCK)
    found = [(m.end("lead"), m.end(), time) for m in _ENGLISH_LED.finditer(shadow.text) if (time := _time(m.group("hour"), None)) is not None]
    shadow.replace(found, Kind.CLOCK)


_DATE, _CLOCK, _ZONE = mark(Kind.DATE), mark(Kind.CLOCK), mark(Kind.ZONE)
_JOIN = r"(?:,? ?(?:at|by|@|a las?|a|um|gegen|alle|alle ore|as|the|in der|por la|en la|de la|le|-|no later than|before|until|close|in the|的|の|,|de|da|di|del|this)? ?)"
_DATE_CLOCK = re.compile(rf"({_DATE}){_JOIN}({_CLOCK})(?: ?({_CLOCK}))?(?: ?,?\(?({_ZONE})\)?)?")
_CLOCK_DATE = re.compile(rf"({_CLOCK})(?: ?\(?({_ZONE})\)?)?(?:,? ?(?:on|of|el|del|am|le|du|il|de|this|next|,|do|di|da)? ?)({_DATE})(?: ?\(?({_ZONE})\)?)?")
_CLOCK_ONLY = re.compile(rf"({_CLOCK})(?: ?({_CLOCK}))?(?: ?\(?({_ZONE})\)?)?")
_DATE_ONLY = re.compile(rf"({_DATE})(?: ?\(?({_ZONE})\)?)?")
_DATE_DATE = re.compile(rf"({_DATE}),? ?(?:the |den |el |le )?\(?({_DATE})\)?")
_ZONE_FIRST = re.compile(rf"({_ZONE}) ?(?=(?:{_DATE}|{_CLOCK}))")


def _compose(shadow: Shadow) -> None:
    """Join neighbouring days, times and zones into MOMENT marks."""
    values = shadow.values
    shadow.replace_all(_DATE_DATE, Kind.DATE, lambda m: _same_day(values[m.group(1)], values[m.group(2)]))
    shadow.replace_all(_DATE_CLOCK, Kind.MOMENT, lambda m: Moment(values[m.group(1)], _exact(values, m.group(2), m.group(3)), _value(values, m.group(4))))
    shadow.replace_all(_CLOCK_DATE, Kind.MOMENT, lambda m: Moment(values[m.group(3)], values[m.group(1)], _value(values, m.group(2) or m.group(4))))
    shadow.replace_all(_CLOCK_ONLY, Kind.MOMENT, lambda m: Moment(None, _exact(values, m.group(1), m.group(2)), _value(values, m.group(3))))
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
    later = vague and (vague[0].hour >= 12 or vague[0].next_day)  # noqa: PLR2004 - noon
    if later and not time.vague and 0 < time.hour < 12:  # noqa: PLR2004 - noon
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
    month = int(groups["month_number"]) if groups.get("month_number") else _MONTHS.get(groups.get("month") or "")
    return _checked(groups.get("year"), month, day)


def _checked(year_text: str | None, month: int | None, day: int) -> Day | None:
    if not 1 <= day <= 31 or (month is not None and not 1 <= month <= 12):  # noqa: PLR2004 - a calendar
        return None
    year = int(year_text) if year_text else None
    if year is not None and year < 100:  # noqa: PLR2004 - two digits
        year += 2000
    return Day(DayKind.CALENDAR if month else DayKind.DAY_OF_MONTH, year, month, day)


def _slashed(text: str, match: re.Match[str]) -> Day | None:
    """Read 11/27 as month/day unless only day/month is possible; fractions such as 1/2 are no dates."""
    lead = text[max(0, match.start() - 12) : match.start()]
    if not match.group("year") and not re.search(r"(?:by|before|until|on|due|deadline:?|bis|am|el|le|até|antes del?|avant) (?:the )?$", lead):
        return None
    first, second = int(match.group("first")), int(match.group("second"))
    month, day = (second, first) if first > 12 else (first, second)  # noqa: PLR2004 - months
    return _checked(match.group("year"), month, day)


def _weekday(match: re.Match[str]) -> Day:
    groups = match.groupdict()
    number = next(int(name[1]) for name, value in groups.items() if value and re.fullmatch(r"[dab]\d", name))
    modifier = (groups.get("pre") or "").strip() or (groups.get("post") or "").strip()
    shift = 1 if modifier in _NEXT or (groups.get("post") or "").strip() in _NEXT else -1 if modifier in _LAST else 0
    return Day(DayKind.WEEKDAY, weekday=number, shift=shift)


def _time(hour_text: str, minute_text: str | None, *, afternoon: bool | None = None) -> TimeOfDay | None:
    hour, minute = int(hour_text), int(minute_text or 0)
    if afternoon is not None and hour <= 12:  # noqa: PLR2004 - a clock
        hour = hour % 12 + (12 if afternoon else 0)
    if hour > 24 or minute > 59:  # noqa: PLR2004 - a clock
        return None
    return TimeOfDay(0, minute, next_day=True) if hour == 24 else TimeOfDay(hour, minute)  # noqa: PLR2004 - a clock


def _cjk_clock(match: re.Match[str]) -> TimeOfDay | None:
    text = match.group("hour")
    if not text.isdigit():
        digits = {char: value for value, char in enumerate("零一二三四五六七八九十")}
        values = [digits[char] for char in text]
        text = str(values[0] if len(values) == 1 else 10 + values[1] if values[0] == 10 else values[0] * 10 + (values[-1] if values[-1] < 10 else 0))  # noqa: PLR2004 - tens
    half = match.group("half")
    afternoon = None if half is None or half == "中午" else half in _AFTERNOON
    return _time(text, "30" if match.group("thirty") else match.group("minute"), afternoon=afternoon)
