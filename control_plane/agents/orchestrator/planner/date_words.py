"""Words and forms for days and times of day, and the values they stand for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from control_plane.agents.orchestrator.planner.shadow import words
from control_plane.agents.orchestrator.planner.zones import Zone


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


MONTHS: Mapping[str, int] = {
    word: number
    for number, names in enumerate(
        (
            "january jan januar enero janvier gennaio janeiro",
            "february feb februar febrero fevrier febbraio fevereiro",
            "march mar marz maerz marzo mars marco",
            "april apr abril avril aprile",
            "may mai mayo maggio maio",
            "june jun juni junio juin giugno junho",
            "july jul juli julio juillet luglio julho",
            "august aug agosto aout",
            "september sept sep septiembre septembre settembre setembro",
            "october oct oktober okt octubre octobre ottobre outubro",
            "november nov noviembre novembre novembro",
            "december dec dezember dez diciembre decembre dicembre dezembro",
        ),
        start=1,
    )
    for word in names.split()
}
MONTH = "(?P<month>" + "|".join(sorted(MONTHS, key=len, reverse=True)) + r")\.?(?![a-z0-9])"
WEEKDAYS = (
    words("mondays?|montag|lunes|lundi|lunedi|segunda-feira|segunda(?= as| a)", "周一|星期一|礼拜一|月曜日?"),
    words("tuesdays?|dienstag|martes|mardi|martedi|terca-feira|terca", "周二|星期二|礼拜二|火曜日?"),
    words("wednesdays?|mittwoch|miercoles|mercredi|mercoledi|quarta-feira|quarta", "周三|星期三|礼拜三|水曜日?"),
    words("thursdays?|donnerstag|jueves|jeudi|giovedi|quinta-feira|quinta", "周四|星期四|礼拜四|木曜日?"),
    words("fridays?|freitag|viernes|vendredi|venerdi|sexta-feira|sexta", "周五|星期五|礼拜五|金曜日?"),
    words("saturdays?|samstag|sonnabend|sabado|samedi|sabato", "周六|星期六|礼拜六|土曜日?"),
    words("sundays?|sonntag|domingo|dimanche|domenica", "周日|周天|星期日|星期天|礼拜天|日曜日?"),
)
ABBREVIATIONS = ("mon", "tues?", "weds?", "thu(?:rs?)?", "fri", "sat", "sun")
ABBREVIATION_LEAD = (
    r"(?:(?<=by )|(?<=before )|(?<=until )|(?<=till )|(?<=on )|(?<=this )|(?<=next )|(?<=due )|(?<=: )|"
    r"(?<=, )|(?<=eod )|(?<=cob )|(?<=or )|(?<=from )|(?<=- ))"
)
WEEKDAY_NAMES = "|".join(f"(?P<d{number}>{pattern})" for number, pattern in enumerate(WEEKDAYS))
ABBREVIATED = "|".join(f"(?P<a{number}>{pattern})" for number, pattern in enumerate(ABBREVIATIONS))
WEEKDAY = re.compile(
    r"(?:(?P<pre>(?<![a-z])(?:next|nachsten?|naechsten|kommenden?|diesen?|this|coming|this coming|"
    r"last|past|letzten|proximo|el proximo|este|prossimo|scorso|ce|on|proxima|na|am|el|le|il)|下个?|"
    r"本|这个?|上个?|次の|今度の|来週の?|先週の?|今週の?) ?)?"
    rf"(?:{WEEKDAY_NAMES})(?P<post> (?:prochain|dernier|que viene|prossimo|scorso|que vem|next week|"
    rf"of next week|proximo|pasado|passado)(?![a-z]))?"
)
WEEKDAY_SHORT = re.compile(
    rf"(?P<pre>(?<![a-z])(?:next|this|last|coming) )?(?:{ABBREVIATION_LEAD}(?:{ABBREVIATED})(?![a-z"
    rf"0-9-])|(?<![a-z0-9-])(?:(?P<b0>mon)|(?P<b1>tues?)|(?P<b2>wed)|(?P<b3>thu)|(?P<b4>fri)|"
    rf"(?P<b5>sat)|(?P<b6>sun))\.?(?=,? (?:at )?(?:\d{{1,2}}(?::\d\d| ?[ap]m)|noon|midnight|morning|"
    rf"evening|night|afternoon|eod|cob|end of)))"
)
NEXT = frozenset(
    [
        "next",
        "nachsten",
        "nachste",
        "naechsten",
        "下",
        "下个",
        "次の",
        "来週",
        "来週の",
        "prochain",
        "prochaine",
        "proximo",
        "proxima",
        "prossimo",
        "que viene",
        "que vem",
        "next week",
        "of next week",
    ]
)
LAST = frozenset(("last", "past", "letzten", "上", "上个", "先週", "先週の", "dernier", "scorso", "pasado", "passado"))
RELATIVE: tuple[tuple[int, str], ...] = (
    (
        2,
        words(
            "day after tomorrow|ubermorgen|uebermorgen|pasado manana|apres-demain|dopodomani|depois de amanha",
            "后天|後天|明後日|あさって",
        ),
    ),
    (
        1,
        words(
            "tomorrow|tmrw|tmr|tomorow|tommorow|tommorrow|morgen(?! fruh| vormittag)|morgen|"
            "(?<!la )(?<!por la )(?<!de la )manana|demain|domani|amanha",
            "明天|明日|明晚|あした|내일",
        ),
    ),
    (-1, words("yesterday|gestern|ayer|hier|ieri|ontem", "昨天|昨日")),
    (0, words("today|heute|hoy|aujourd'hui|oggi|hoje", "今天|今日|本日|오늘")),
)
TONIGHT = words(
    "tonight|heute nacht|heute abend|esta noche|ce soir|cette nuit|stasera|stanotte|esta noite|hoje a noite",
    "今晚|今夜",
)
ISO = re.compile(r"(?<![0-9a-z])(?P<year>20\d\d)[-/.](?P<month_number>\d{1,2})[-/.](?P<day>\d{1,2})(?:t(?=\d)|(?!\d))")
DOTTED = re.compile(r"(?<![0-9a-z.])(?P<day>\d{1,2})\.(?P<month_number>\d{1,2})\.(?P<year>20\d\d|\d\d(?!\d))?(?!\d)")
SLASHED = re.compile(r"(?<![0-9a-z./])(?P<first>\d{1,2})/(?P<second>\d{1,2})(?:/(?P<year>20\d\d|\d\d))?(?![\d/a-z])")
MONTH_FIRST = re.compile(
    rf"(?<![a-z0-9]){MONTH} ?(?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?![0-9a-z:%]|"
    rf"[.,]\d)(?:,? (?P<year>20\d\d)(?!\d))?"
)
DAY_FIRST = re.compile(
    rf"(?<![a-z0-9.,])(?P<day>\d{{1,2}})(?:st|nd|rd|th|er|\.|o|º)? ?(?:of |de |di |"
    rf"d')?{MONTH}(?:,? ?(?:de |del )?(?P<year>20\d\d)(?!\d))?"
)
CJK_DATE = re.compile(r"(?:(?P<year>20\d\d)年)?(?P<month_number>\d{1,2})月(?P<day>\d{1,2})[日号號]?")
CJK_DAY = re.compile(r"(?<![0-9月])(?P<day>\d{1,2})[日号](?=(?:[上下午晚中零]|\d|前|までに|まで|の|之前))")
ORDINAL = re.compile(
    r"(?:(?<=the )|(?<=el dia )|(?<= le )|(?<= am )|(?<= il ))(?P<day>\d{1,2})(?:st|nd|rd|th|\.)"
    r"(?! (?:gpu|node|card|job|run|step|time|attempt|of [a-z]))(?![0-9a-z])"
)
SPECIAL: tuple[tuple[Day, str], ...] = (
    (
        Day(DayKind.END_OF_MONTH),
        words(
            "end of (?:the |this )?month|month[ -]?end|eom|monatsende|ende des monats|fin de mes|"
            "fin(?:al)? del mes|fin du mois|fine mese|fine del mese|fim do mes",
            "月底|月末",
        ),
    ),
    (
        Day(DayKind.END_OF_YEAR),
        words(
            "end of (?:the |this )?year|year[ -]?end|eoy|jahresende|fin de ano|fin de l'annee|fine anno|fim do ano",
            "年底|年末",
        ),
    ),
    (Day(DayKind.END_OF_WEEK, shift=1), words("end of next week", "下周末")),
    (
        Day(DayKind.END_OF_WEEK),
        words(
            "end of (?:the |this )?week|eow|week[ -]?end(?=ing)|ende der woche|wochenende(?= der)|"
            "fin de semana laboral|fin de la semaine|fine settimana(?= lavorativa)|"
            "final de la semana|fim da semana"
        ),
    ),
    (
        Day(DayKind.WEEKEND),
        words(
            "(?:this |the |next |am |el |le |il |o )?(?:week-?end|wochenende|fin de semana|"
            "fine settimana|fim de semana)",
            "周末|週末",
        ),
    ),
    (
        Day(DayKind.NEXT_WEEK),
        words(
            "next week|nachste woche|la proxima semana|la semana que viene|semaine prochaine|"
            "la settimana prossima|proxima semana",
            "下周|来週",
        ),
    ),
)
END_OF_DAY = words(
    "end of (?:the |business )?day|eod|tagesende|ende des tages|fin del dia|final del dia|"
    "fin de journee|fin de la journee|fine giornata|fim do dia|end of play",
    "今日中|当日中",
)
CLOSE = words("close of business|cob|eob|end of business|feierabend|geschaftsschluss|business close", "下班前?|終業")
PARTS: tuple[tuple[TimeOfDay, str], ...] = (
    (TimeOfDay(17, vague=True), CLOSE),
    (TimeOfDay(0, next_day=True, vague=True), END_OF_DAY),
    (
        TimeOfDay(12),
        words(
            "noon|midday|high noon|12 noon|mittag|mittags|mediodia|medio ?dia|midi|mezzogiorno|"
            "meio-?dia|lunch|lunchtime",
            "中午|正午|お昼",
        ),
    ),
    (
        TimeOfDay(0, next_day=True),
        words("midnight|mitternacht|medianoche|media noche|minuit|mezzanotte|meia-?noite", "午夜|半夜|零点|深夜0時"),
    ),
    (
        TimeOfDay(9, vague=True),
        words(
            "(?:in the |early )?mornings?|first thing|fruh|vormittag|por la manana|a la manana|matin|"
            "de manha|mattina|mattino",
            "早上|上午(?!\\d)|早晨|(?<!毎)朝|午前中",
        ),
    ),
    (
        TimeOfDay(17, vague=True),
        words(
            "(?:in the )?afternoon|nachmittag|por la tarde|apres-midi|a tarde|pomeriggio",
            "下午(?!\\d)|傍晚|午後(?!\\d)|夕方",
        ),
    ),
    (TimeOfDay(18, vague=True), words("(?:in the )?evening|abend|abends|soir|sera", "晚上(?!\\d)|夜(?!\\d)")),
    (
        TimeOfDay(0, next_day=True, vague=True),
        words("(?:at )?night(?! ?ly)|nacht|por la noche|noche|nuit|notte|a noite|noite"),
    ),
)
