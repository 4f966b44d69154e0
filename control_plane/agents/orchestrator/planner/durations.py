"""Lengths of time and sizes of memory: a number and its unit."""

import re
from decimal import Decimal

from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words

_NUMBER = mark(Kind.NUMBER)
_MINUTE, _HOUR, _DAY, _WEEK, _MONTH = 60, 3600, 86_400, 604_800, 2_592_000

_UNITS: tuple[tuple[int, str, str], ...] = (
    (1, r"seconds?|secs?|segundos?|sekunden?|secondes?|secondi|secondo|sek", "秒钟?|초"),
    (_MINUTE, r"minutes?|mins?|minutos?|minuten?|minuti|minuto", "分钟|分鐘|分間?|분"),
    (_HOUR, r"hours?|hrs?|horas?|hs|stunden?|stdn?|heures?|ore|ora|uur", "个?小时|個?小時|時間|시간"),
    (_DAY, r"days?|dias?|tage?n?|jours?|journees?|giorni|giorno|dagen", "天|日間?|일"),
    (2 * _WEEK, r"fortnights?", "隔周"),
    (_WEEK, r"weeks?|wks?|semanas?|wochen?|semaines?|settimane|settimana", "个?星期|週間?|周|주"),
    (_MONTH, r"months?|meses|mes|monate?n?|mois|mesi|mese", "个月|個月|か月|ヶ月"),
)
_MAX_SHORT_WEEKS = 12
_SHORT = {"s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY, "w": _WEEK}
_UNIT = "|".join(f"(?P<u{seconds}>(?:{latin})(?![a-z0-9])|{other}(?!以?前的|前的))" for seconds, latin, other in _UNITS)
_COUNTED_THINGS = words(
    "images?|files?|docs?|documents|rows|records|samples|tokens?|params?|parameters|requests?|"
    "examples|videos|clips|reviews|sentences|pairs|queries|photos|frames|steps|users|lines|items|"
    "prompts|molecules|sequences|pages|pdfs|emails|tweets|events|points|messages|reads|scenes|of"
)
_COMPOUND = re.compile(
    r"(?<![a-z0-9.,:])(?:(?P<w>\d{1,3})w)?(?:(?P<d>\d{1,4})d)?(?:(?P<h>\d{1,5})h)?(?:(?P<m>\d{1,5})m("
    r"?:in)?)?(?:(?P<s>\d{1,5})s)?(?![a-z0-9])"
)
_HOURS_MINUTES = re.compile(r"(?<![a-z0-9.,:])(?P<h>\d{1,4})h(?P<m>\d\d)(?![a-z0-9])")
_COLON = re.compile(
    r"(?<![a-z0-9.,:])(?P<h>\d{1,3}):(?P<m>\d\d)(?::(?P<s>\d\d))? ?(?:h|hrs?|hours?|stunden|std)(?![a-z0-9])"
)
_KEYED = re.compile(
    r"(?<![a-z])(?:max|limit|time|run|duration|wall|timeout)?[ _-]?(?:runtime|time|"
    r"limit)?[ _(-]{0,2}(?P<unit>hours|hrs|minutes|mins|"
    r"days)\)? ?[:=] ?(?P<n>\d{1,5}(?:\.\d{1,3})?)(?![\d.:a-z])"
)
_KEY_SECONDS = {"h": _HOUR, "m": _MINUTE, "d": _DAY}
_WALLTIME = re.compile(
    r"(?P<lead>(?:wall-?time|wall[- ]?clock(?: time)?(?: limit)?|time ?limit|run ?time limit|hour limit|--time|timeout|"
    r"max ?time|zeitlimit|duration|"
    r"runtime)[ :=]{1,3})(?:(?P<d>\d{1,3})-)?(?P<h>\d{1,3}):(?P<m>\d\d)(?::(?P<s>\d\d))?(?![:\d])"
)
_HALF = (
    words(
        "half(?: an| a)?|a half|halben?|halber|halbe|einen halben|eine halbe|medi[ao]|demi-?|"
        "une? demi-?|mezz[ao]|meia|meio|半"
    )
    + "[ -]?"
)
_QUARTER = r"(?:a |une? |un )?(?:quarter|quart|viertel|cuarto)(?: of an| of a| d'|-| de)? ?"
_HALF_UNIT = re.compile(rf"(?:half|{_HALF})(?:an |a )?(?:{_UNIT})")
_JP_HALF = re.compile(
    r"半(?:(?P<u86400>天|日)|(?P<u3600>个?小时|時間)|(?P<u604800>週間?)|(?P<u2592000>个月|か月|ヶ月))"
)
_QUARTER_UNIT = re.compile(rf"(?P<many>(?:three|3|{_NUMBER}) quarters of an? |{_QUARTER})(?:{_UNIT})")
_AND_A_HALF = r"(?:(?: and a half| y medi[ao]| et demie?| e mezzo| e meia| und eine? halbe?)(?![a-z])|半)"
_NUMBER_UNIT = re.compile(
    rf"(?:(?P<low>{_NUMBER})(?:-| ?~ ?| to | bis | a | bis zu | or | à ))?(?P<n>{_NUMBER})(?P<inner>{_AND_A_HALF})?"
    rf"[ -]?(?:full |whole |solid |wall-?clock |gpu-free |working |business |calendar |straight |"
    rf"consecutive )?(?:{_UNIT})(?P<half>{_AND_A_HALF})?"
)
_NUMBER_SHORT = re.compile(
    rf"(?:(?P<low>{_NUMBER})(?:-| ?~ ?| to ))?(?P<n>{_NUMBER})(?P<space> ?)(?P<unit>[smhdw])(?![a-z0-9]|'[a-z])"
)
_THREE_D = re.compile(
    r" ?(?:render|model|scan|conv|u-?net|print|asset|seg|ct|mri|point|scene|recon|gauss|object|"
    r"generation|pose|shape|detection|medical|vision|diffusion)"
)
_ARTICLE_UNIT = re.compile(
    rf"(?<![a-z0-9])(?P<article>an?|(?<=within )the|1|una?|une|eine?[nrm]?|uma?) (?:full |whole |single |solid |"
    rf"complete )?(?:{_UNIT})(?P<half>{_AND_A_HALF})?"
)
_ARTICLE_HALF = re.compile(r"(?<![a-z0-9])(?P<unit>day|hour|week) and a half(?![a-z])")
_JOINED = re.compile(rf"({mark(Kind.DURATION)})(?: ?,? ?(?:and|y|et|und|e|plus) | ?,? ?|)({mark(Kind.DURATION)})")
_GPU_HOURS = re.compile(
    rf"{_NUMBER}[ -]?(?:gpu|card|卡|h100|a100|node|core|cpu|vcpu|machine)[ -]?(?:hours?|hrs?|h|"
    rf"stunden|小时|时)(?![a-z])"
)

_MEMORY = re.compile(rf"(?P<n>{_NUMBER})[ -]?(?P<unit>tib|tb|gib|gb|go|gig|gigs|gigabytes?|mib|mb|g)(?![a-z0-9])")
_MEMORY_BYTES = {"t": 10**12, "g": 10**9, "m": 10**6}
_BINARY_BYTES = {"t": 2**40, "g": 2**30, "m": 2**20}


def recognise_compound_durations(shadow: Shadow) -> None:
    """Replace `1h30m`, `2d12h`, `4:00:00` behind a limit word; values are `Decimal` seconds."""
    shadow.replace_all(
        _COMPOUND, Kind.DURATION, lambda m: _clock_parts(m) if sum(g is not None for g in m.groups()) > 1 else None
    )
    shadow.replace_all(_COLON, Kind.DURATION, _clock_parts)
    found = [
        (m.start("n"), m.end("n"), Decimal(m.group("n")) * _KEY_SECONDS[m.group("unit")[0]])
        for m in _KEYED.finditer(shadow.text)
    ]
    shadow.replace(found, Kind.DURATION)
    walltimes = [(m.end("lead"), m.end(), _clock_parts(m)) for m in _WALLTIME.finditer(shadow.text)]
    shadow.replace(walltimes, Kind.DURATION)


def recognise_hours_minutes(shadow: Shadow) -> None:
    """Replace `2h30`, once times of day in that form have been taken."""
    shadow.replace_all(_HOURS_MINUTES, Kind.DURATION, _clock_parts)


def recognise_durations(shadow: Shadow) -> None:
    """Replace numbers with a unit of time by marks; values are `Decimal` seconds, the upper one of a range."""
    shadow.replace_all(_GPU_HOURS, Kind.NAME, lambda m: shadow.words(m.start(), m.end()))
    shadow.replace_all(
        _QUARTER_UNIT,
        Kind.DURATION,
        lambda m: _unit(m) * (Decimal("0.25") if m.group("many").strip()[0] in "aquvc" else Decimal("0.75")),
    )
    shadow.replace_all(_NUMBER_UNIT, Kind.DURATION, lambda m: _numbered(shadow, m))
    for pattern in (_HALF_UNIT, _JP_HALF):
        shadow.replace_all(pattern, Kind.DURATION, lambda m: _unit(m) / 2)
    shadow.replace_all(_NUMBER_SHORT, Kind.DURATION, lambda m: _short(shadow, m))
    shadow.replace_all(
        _ARTICLE_HALF,
        Kind.DURATION,
        lambda m: Decimal({"day": _DAY, "hour": _HOUR, "week": _WEEK}[m.group("unit")]) * 3 / 2,
    )
    shadow.replace_all(_ARTICLE_UNIT, Kind.DURATION, lambda m: _unit(m) * (Decimal("1.5") if m.group("half") else 1))
    shadow.replace_all(_JOINED, Kind.DURATION, lambda m: _joined(shadow, m))


def recognise_memory(shadow: Shadow) -> None:
    """Replace sizes such as `80 GB` by marks; values are whole bytes, GB being 10**9."""
    shadow.replace_all(_MEMORY, Kind.MEMORY, lambda m: _bytes(shadow, m))


def _bytes(shadow: Shadow, match: re.Match[str]) -> int | None:
    unit = match.group("unit")
    table = _BINARY_BYTES if unit in ("gib", "tib", "mib") else _MEMORY_BYTES
    return int(shadow.values[match.group("n")] * table[unit[0]])


def _clock_parts(match: re.Match[str]) -> Decimal:
    sizes = {"w": _WEEK, "d": _DAY, "h": _HOUR, "m": _MINUTE, "s": 1}
    groups = match.groupdict()
    return sum((Decimal(groups[unit]) * size for unit, size in sizes.items() if groups.get(unit)), Decimal(0))


def _unit(match: re.Match[str]) -> Decimal:
    return next(
        Decimal(name[1:])
        for name, value in match.groupdict().items()
        if value and name[0] == "u" and name[1:].isdigit()
    )


def _numbered(shadow: Shadow, match: re.Match[str]) -> Decimal:
    value: Decimal = shadow.values[match.group("n")]
    if match.group("half") or match.group("inner"):
        value += Decimal("0.5")
    return value * _unit(match)


def _short(shadow: Shadow, match: re.Match[str]) -> Decimal | None:
    unit, after = match.group("unit"), shadow.text[match.end() : match.end() + 24]
    if unit in "ms" and (match.group("space") or re.match(" ?" + _COUNTED_THINGS, after)):
        return None
    written = shadow.words(match.start("unit"), match.end())
    if unit == "m" and written == "M":
        return None  # more likely millions
    if unit == "w" and (match.group("space") or shadow.values[match.group("n")] > _MAX_SHORT_WEEKS):
        return None  # more likely watts
    if unit == "d" and _THREE_D.match(after):
        return None
    return Decimal(shadow.values[match.group("n")]) * _SHORT[unit]


def _joined(shadow: Shadow, match: re.Match[str]) -> Decimal | None:
    """Add "2 hours" and "30 minutes", but not two lengths of which the second is not the smaller part."""
    first, second = shadow.values[match.group(1)], shadow.values[match.group(2)]
    minutes_follow = first >= _HOUR and first % _HOUR == 0 and second < _HOUR
    fits = minutes_follow or (first >= _DAY and second < _DAY)
    comma = "," in match.group()
    return Decimal(first + second) if fits and not comma else None
