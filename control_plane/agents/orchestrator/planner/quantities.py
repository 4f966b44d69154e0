"""Numbers: digits as people write them, and number words of seven languages."""

import re
from collections.abc import Iterator
from decimal import Decimal

from control_plane.agents.orchestrator.planner.shadow import Kind, Replacement, Shadow, mark, words

_MAX_DIGITS = 18

_UNITS = """
zero:0 cero:0
one:1 un:1 una:1 uno:1 une:1 ein:1 eine:1 einen:1 einem:1 einer:1 eins:1 uma:1 single:1
duo:2 trio:3 quad:4 quartet:4 octet:8
two:2 dos:2 deux:2 zwei:2 dois:2 duas:2 couple:2 pair:2
three:3 tres:3 trois:3 drei:3 tre:3 four:4 cuatro:4 quatre:4 vier:4 quattro:4 quatro:4
five:5 cinco:5 cinq:5 funf:5 fuenf:5 cinque:5 six:6 seis:6 sechs:6 sei:6
seven:7 siete:7 sept:7 sieben:7 sette:7 sete:7 eight:8 ocho:8 huit:8 acht:8 otto:8 oito:8
nine:9 nueve:9 neuf:9 neun:9 nove:9
ten:10 diez:10 dix:10 zehn:10 dieci:10 dez:10 eleven:11 onze:11 elf:11 undici:11
twelve:12 doce:12 douze:12 zwolf:12 zwoelf:12 dodici:12 doze:12 dozen:12
thirteen:13 trece:13 treize:13 dreizehn:13 tredici:13 treze:13 fourteen:14 catorce:14 quatorze:14 vierzehn:14
quattordici:14 fifteen:15 quince:15 quinze:15 funfzehn:15 quindici:15 sixteen:16 dieciseis:16 seize:16 sechzehn:16
sedici:16 dezesseis:16 seventeen:17 siebzehn:17 eighteen:18 achtzehn:18 diciotto:18 nineteen:19 neunzehn:19
veinticuatro:24 ventiquattro:24 anderthalb:1.5 eineinhalb:1.5 zweieinhalb:2.5
"""
_TENS = """
twenty:20 veinte:20 vingt:20 zwanzig:20 venti:20 vinte:20 thirty:30 treinta:30 trente:30 dreissig:30 trenta:30
trinta:30 forty:40 fourty:40 cuarenta:40 quarante:40 vierzig:40 quaranta:40 quarenta:40 fifty:50 cincuenta:50
cinquante:50 funfzig:50 cinquanta:50 cinquenta:50 sixty:60 sesenta:60 soixante:60 sechzig:60 sessanta:60 sessenta:60
seventy:70 setenta:70 siebzig:70 settanta:70 eighty:80 ochenta:80 achtzig:80 ottanta:80 oitenta:80 ninety:90
noventa:90 neunzig:90 novanta:90
"""
_SCALES = """
hundred:100 hundert:100 cien:100 ciento:100 cent:100 cento:100 cem:100 thousand:1000 tausend:1000 mil:1000 mille:1000
mila:1000 k:1000 grand:1000 million:1000000 millions:1000000 millionen:1000000 millon:1000000 millones:1000000
milione:1000000 milioni:1000000 milhao:1000000 milhoes:1000000 mio:1000000 dozen:12 billion:1000000000
"""


def _table(text: str) -> dict[str, Decimal]:
    return {word: Decimal(value) for word, value in (entry.split(":") for entry in text.split())}


UNIT_WORDS = _table(_UNITS)
TEN_WORDS = _table(_TENS)
SCALE_WORDS = _table(_SCALES)
for _ten, _ten_value in _table("zwanzig:20 dreissig:30 vierzig:40 funfzig:50 sechzig:60 siebzig:70").items():
    for _unit, _unit_value in _table("ein:1 zwei:2 drei:3 vier:4 funf:5 sechs:6 sieben:7 acht:8 neun:9").items():
        UNIT_WORDS[f"{_unit}und{_ten}"] = _ten_value + _unit_value
for _unit, _unit_value in _table("dos:2 tres:3 cuatro:4 cinco:5 seis:6 siete:7 ocho:8 nueve:9").items():
    UNIT_WORDS[f"veinti{_unit}"] = 20 + _unit_value
for _unit, _unit_value in _table("zwei:2 drei:3 vier:4 funf:5 sechs:6 acht:8").items():
    UNIT_WORDS[f"{_unit}hundert"] = 100 * _unit_value
    UNIT_WORDS[f"{_unit}tausend"] = 1000 * _unit_value
for _unit, _unit_value in _table("due:2 tre:3 quattro:4 cinque:5 sei:6 sette:7 otto:8 nove:9 dieci:10").items():
    UNIT_WORDS[f"{_unit}mila"] = 1000 * _unit_value
    UNIT_WORDS[f"{_unit}cento"] = 100 * _unit_value
UNIT_WORDS |= _table("doscientos:200 trescientos:300 quatrocentos:400 quinientos:500 quinhentos:500 duzentos:200")

_CJK_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0, "半": 0}  # noqa: RUF001 - it is the ideograph
_CJK_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "億": 100_000_000, "亿": 100_000_000}
_CJK_UNITS = "张個个块枚台基卡时時天日周週分元円万千百人本件种種篇机機枚路"
_CJK_NUMBER = re.compile(rf"[零〇一二两三四五六七八九十百千]{{1,8}}(?=\s?[{_CJK_UNITS}]|\s?gpu|小时|小時|ノード|节点)")

_DIGITS = re.compile(
    r"(?:(?<![a-z0-9.,_])|(?<=[^a-z0-9]x)|(?<=^x)|(?<=[0-9]x))"
    r"(?P<sign>(?:(?<![a-z0-9)\n] )|(?<= on )|(?<= with )|(?<=use )|(?<=using )|(?<=need )|"
    r"(?<=needs ))(?<=[ :=(])-)?"
    r"(?P<body>\d{1,3}(?:'\d{3})+(?!\d)|\d{1,20}(?:[.,]\d{1,20}){0,6})?(?P<part>[½¼¾])?(?!\d)"
    r"(?P<scale> ?(?:k(?![a-z0-9])|[万億亿千](?!日)))?"
)
_SPACED_THOUSANDS = re.compile(
    r"(?<![a-z0-9.,'])\d{1,3}(?: \d{3}){1,3}(?=(?:,\d\d)? ?(?:€|\$|£|¥|eur|usd|gbp|dollar|dolar|"
    r"dolares)(?![a-z]{3}))"
)
_ALWAYS = re.compile(r"(?<![a-z0-9])24 ?/ ?7(?![a-z0-9])")
_PARTS = {"½": Decimal("0.5"), "¼": Decimal("0.25"), "¾": Decimal("0.75")}
_WORD = re.compile(r"[a-z]{1,24}")
_EUROPEAN = re.compile(
    words(
        "und|fur|mit|auf|der|die|das|bis|von|ein|eine|stunden|euro",
        "pour|avec|sur|les|une|heures|pendant|de|la|le|du",
        "con|para|por|el|los|las|horas|en|del",
        "per|il|di|ore|su|com|em|ate|gpu da",
    )
)
_EUROPEAN_WORDS = 2
_NOT_A_NUMBER = {
    # A word that is a number in one language and something else in another counts only before a unit.
    "once": Decimal(11),
    "um": Decimal(1),
    "due": Decimal(2),
}
_BEFORE_UNIT = re.compile(
    rf"[ -](?:ore|giorni|settimane|minuti|nodi|schede|macchine|server|euro|horas?|hora|dias?|gpus?|"
    rf"tarjetas?|placas?|nos?|nodos?|{mark(Kind.GPU)})(?![a-z])"
)
_NOT_FOLLOWED = re.compile(r" (?:of the|by one|more time|another|thing|that|which|who|off)(?![a-z])")


def european(text: str) -> bool:
    """Whether a folded text is likely to use the comma for decimals and the dot for thousands."""
    return sum(1 for _ in _EUROPEAN.finditer(text)) >= _EUROPEAN_WORDS


def recognise_numbers(shadow: Shadow) -> None:
    """Replace numbers by marks with `Decimal` values."""
    comma_decimals = european(shadow.text)
    shadow.replace_all(_ALWAYS, Kind.NAME, lambda _: "24/7")
    shadow.replace_all(_SPACED_THOUSANDS, Kind.NUMBER, lambda m: Decimal(m.group().replace(" ", "")))
    shadow.replace_all(_DIGITS, Kind.NUMBER, lambda m: _digits_value(m, comma_decimals=comma_decimals))
    shadow.replace_all(_CJK_NUMBER, Kind.NUMBER, lambda m: Decimal(cjk_number(m.group())))
    shadow.replace(list(_word_numbers(shadow.text)), Kind.NUMBER)
    shadow.replace_all(_TWICE, Kind.NUMBER, lambda m: _same(shadow, m))
    shadow.replace_all(_NEGATIVE, Kind.NUMBER, lambda m: -Decimal(shadow.values[m.group(1)]))
    shadow.replace_all(_FRENCH_HUNDREDS, Kind.NUMBER, lambda m: Decimal(shadow.values[m.group(1)]) * 100)
    shadow.replace_all(_SCALED, Kind.NUMBER, lambda m: _scaled(shadow, m))


_SCALED = re.compile(
    rf"({mark(Kind.NUMBER)}) ?(hundred|thousand|tausend|mil|mille|mila|millions?|millionen|"
    rf"millon(?:es)? de|millones|"
    r"milioni(?: di)?|milhoes(?: de)?|mio|billion|百万|千|万)(?![a-z0-9])"
)


_NEGATIVE = re.compile(rf"(?<![a-z0-9])(?:minus|negative|menos|moins|meno) ({mark(Kind.NUMBER)})")
_FRENCH_HUNDREDS = re.compile(
    rf"({mark(Kind.NUMBER)}) cents?(?= ?(?:{mark(Kind.NUMBER)} ?)?(?:€|euros?|dollars?|gpu|heures|pas|au ))"
)
_TWICE = re.compile(rf"({mark(Kind.NUMBER)}) ?\(({mark(Kind.NUMBER)})\)")


def _same(shadow: Shadow, match: re.Match[str]) -> Decimal | None:
    """Read "4 (four)" as one number."""
    first, second = shadow.values[match.group(1)], shadow.values[match.group(2)]
    return Decimal(first) if first == second else None


def _scaled(shadow: Shadow, match: re.Match[str]) -> Decimal | None:
    value = shadow.values[match.group(1)]
    word = match.group(2).split()[0]
    if word == "百万":
        return Decimal(value * 1_000_000)
    scale = SCALE_WORDS.get(word) or Decimal(_CJK_SCALES.get(word, 0))
    return Decimal(value * scale) if scale else None


def _digits_value(match: re.Match[str], *, comma_decimals: bool) -> Decimal | None:
    body, part = match.group("body"), match.group("part")
    if body is None and part is None:
        return None
    value = _parse_digits(body.replace("'", ""), comma_decimals=comma_decimals) if body else Decimal(0)
    if value is None:
        return None
    value += _PARTS.get(part or "", Decimal(0))
    scale = (match.group("scale") or "").strip()
    if scale:
        value *= 1000 if scale == "k" else _CJK_SCALES[scale]
    return -value if match.group("sign") else value


def _parse_digits(body: str, *, comma_decimals: bool) -> Decimal | None:
    if len(body) > _MAX_DIGITS:
        return None
    dots, commas = body.count("."), body.count(",")
    if dots and commas:
        decimal = max(body.rfind("."), body.rfind(","))
        return Decimal(re.sub("[.,]", "", body[:decimal]) + "." + re.sub("[.,]", "", body[decimal + 1 :]))
    groups = re.split("[.,]", body)
    in_threes = all(len(group) == 3 for group in groups[1:]) and groups[0] not in ("0", "00")  # noqa: PLR2004 - places of the decimal system
    if dots + commas > 1:
        return Decimal("".join(groups)) if in_threes else None
    if commas:
        return Decimal("".join(groups)) if in_threes else Decimal(".".join(groups))
    if dots and in_threes and comma_decimals:
        return Decimal("".join(groups))
    return Decimal(body)


def cjk_number(text: str) -> int:
    """Return the value of a Chinese or Japanese numeral below ten thousand myriads."""
    total = current = 0
    for char in text:
        if char in _CJK_SCALES:
            total += max(current, 1) * _CJK_SCALES[char]
            current = 0
        else:
            current = current * 10 + _CJK_DIGITS[char]
    return total + current


def _word_numbers(text: str) -> Iterator[Replacement]:
    matches = [m for m in _WORD.finditer(text) if _free_standing(text, m)]
    at = 0
    while at < len(matches):
        used, value = _read_words(text, matches, at)
        if used and value is not None:
            yield matches[at].start(), matches[at + used - 1].end(), value
        at += max(used, 1)


def _free_standing(text: str, match: re.Match[str]) -> bool:
    before = text[match.start() - 1] if match.start() else " "
    after = text[match.end()] if match.end() < len(text) else " "
    return not (before.isascii() and (before.isdigit() or before in "_'.@/")) and after not in "_'@"


def _read_words(text: str, matches: list[re.Match[str]], at: int) -> tuple[int, Decimal | None]:
    """Read the longest number that starts at one word: how many words it takes, and its value."""
    first = _simple_value(text, matches[at])
    if first is None:
        return 0, None
    total, current, used = Decimal(0), first, 1
    is_tens = matches[at].group() in TEN_WORDS
    while at + used < len(matches):
        gap = text[matches[at + used - 1].end() : matches[at + used].start()]
        word = matches[at + used].group()
        if gap not in (" ", "-"):
            break
        if word in ("and", "y", "et", "e") and gap == " " and current + total >= 30 and at + used + 1 < len(matches):  # noqa: PLR2004 - places of the decimal system
            following = _joined_unit(matches[at + used + 1].group())
            if following is None or not (is_tens or total + current >= 100):  # noqa: PLR2004 - places of the decimal system
                break
            current, used = current + following, used + 2
        elif word in SCALE_WORDS and word not in {"k", "cent"}:
            scale = SCALE_WORDS[word]
            if scale >= 1000:  # noqa: PLR2004 - places of the decimal system
                total, current = total + current * scale, Decimal(0)
            else:
                current *= scale
            used += 1
        elif is_tens and word in UNIT_WORDS and 0 < UNIT_WORDS[word] < 10 and current % 10 == 0:  # noqa: PLR2004 - places of the decimal system
            current, used = current + UNIT_WORDS[word], used + 1
        else:
            break
    return used, total + current


def _simple_value(text: str, match: re.Match[str]) -> Decimal | None:
    word = match.group()
    if word in _NOT_A_NUMBER:
        return _NOT_A_NUMBER[word] if _BEFORE_UNIT.match(text, match.end()) else None
    if word == "one" and _NOT_FOLLOWED.match(text, match.end()):
        return None
    if word in UNIT_WORDS:
        return UNIT_WORDS[word]
    if word in TEN_WORDS:
        return TEN_WORDS[word]
    if word in ("thousand", "million", "grand") and text[: match.start()].endswith(" a "):
        return SCALE_WORDS[word]
    return (
        SCALE_WORDS[word] if word in ("hundred", "cien", "cento", "cem", "hundert", "mil", "mille", "tausend") else None
    )


def _joined_unit(word: str) -> Decimal | None:
    value = UNIT_WORDS.get(word, TEN_WORDS.get(word))
    return value if value is not None and value < 100 else None  # noqa: PLR2004 - places of the decimal system
