"""Money: amounts with their currency and what they are measured over."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words
from control_plane.model.plan import BudgetPeriod

_NUMBER = mark(Kind.NUMBER)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount as said. `per` is TOTAL unless a rate was named."""

    amount: Decimal
    currency: str
    per: BudgetPeriod


_CURRENCY_WORDS: Mapping[str, str] = {
    "USD": words(
        "us ?dollars?|us\\$|usd|dollars?|bucks?|dolar(?:es)?(?: americanos?)?|dollari|dollaro|dollar",
        "美元|美金|ドル|米ドル|달러",
    ),
    "EUR": words("eur|euros?", "欧元|ユーロ|유로"),
    "GBP": words("gbp|pounds?(?: sterling)?|quid|sterling|libras?|livres? sterling|pfund|sterline", "英镑|ポンド"),
    "CNY": words("cny|rmb|yuan|renminbi", "人民币|块钱|元"),
    "JPY": words("jpy|yen|yenes", "日元|日圆|円"),
    "CHF": words("chf|swiss francs?|franken|francs? suisses?", "瑞士法郎"),
    "CAD": words("cad|canadian dollars?"),
    "AUD": words("aud|australian dollars?"),
    "INR": words("inr|rupees?", "₹"),
    "KRW": words("krw|won", "원"),
}
_SYMBOLS: Mapping[str, str] = {
    "us$": "USD",
    "$": "USD",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
    "cn¥": "CNY",
    "jp¥": "JPY",
    "₹": "INR",
    "₩": "KRW",
    "ca$": "CAD",
    "a$": "AUD",
}
_SYMBOL = r"(?:us\$|ca\$|a\$|cn¥|jp¥|[$€£¥₹₩])"
_PERIODS: tuple[tuple[BudgetPeriod, str], ...] = (
    (
        BudgetPeriod.GPU_HOUR,
        (
            r"(?:/|per|an?|pro|por|par|all'|al) ?(?:(?:gpu|card)[ -]?(?:hour|h|hr|stunde|hora|ora)|"
            r"h(?:ou)?r?[ -]?(?:/|per) ?gpu|gpu)(?![a-z])|每卡时|每gpu小时"
        ),
    ),
    (
        BudgetPeriod.HOUR,
        (
            r"(?:(?:/|per|an|a|each|every|pro|por|par|per|la|a la|all'|l'|je|l)[ ']?(?:hour|hr|h|stunde|"
            r"std|hora|heure|ora)|hourly|stundlich|de l'heure|por hora|de hora|all'ora)(?![a-z])|每小时|"
            r"/小时|一小时|/時間?|毎時|1時間あたり|時間あたり"
        ),
    ),
    (
        BudgetPeriod.DAY,
        (
            r"(?:(?:/|per|a|each|every|pro|por|par|al|je|am|au) ?(?:day|d|tag|dia|jour|giorno)|daily|"
            r"taglich)(?![a-z])|每天|每日|/天|一天|1日あたり|/日|毎日"
        ),
    ),
    (
        BudgetPeriod.WEEK,
        (
            r"(?:(?:/|per|a|each|every|pro|por|par|a la|alla|je) ?(?:week|wk|woche|semana|semaine|"
            r"settimana)|weekly|wochentlich)(?![a-z])|每周|每星期|/周|毎週|/週"
        ),
    ),
    (
        BudgetPeriod.MONTH,
        (
            r"(?:(?:/|per|a|each|every|pro|por|par|al|au|je|im) ?(?:month|mo|monat|mes|mois|mese)|"
            r"monthly|monatlich|mensuales|mensuel)(?![a-z])|每月|每个月|/月|毎月|月額"
        ),
    ),
)
_PERIOD = re.compile(r" ?\(?(?:" + "|".join(f"(?P<{period.name}>{pattern})" for period, pattern in _PERIODS) + r")\)?")
_EACH_GPU = re.compile(
    r",? ?(?:cap|limit|max|maximum|ceiling|tops|at most)? ?(?:(?:per|/|an?|for each|for every|each|every|pro|je|por|"
    rf"par) ?(?:gpu|card|karte|tarjeta|carte|{mark(Kind.GPU)})|each|apiece)(?![a-z])"
)
_PER_UNIT = re.compile(
    r" ?(?:/|per|for each|a|an|por|pro|par|je|每) ?(?:million|1k|1m|1000|thousand|k|m|token|tokens|"
    r"request|requests|image|query|job|run|node|trial|seat|user|gb|tb|kwh|epoch|experiment|replica|"
    r"instance|vm|"
    rf"{_NUMBER})(?![a-z])"
)
_BEFORE_SYMBOL = re.compile(
    rf"(?P<sign>-)?(?P<currency>{_SYMBOL}) ?(?:{_NUMBER} ?(?:-|to|bis|"
    rf"a) ?{_SYMBOL}?)?(?P<amount>{_NUMBER})(?P<scale> ?(?:mio|million|mil|m|k|"
    rf"grand)(?![a-z0-9]))?(?: ?(?P<again>us ?dollars|usd|us|dollars|cad|aud)(?![a-z]))?"
)
_AFTER_SYMBOL = re.compile(rf"(?P<amount>{_NUMBER})(?P<scale> ?(?:mio|m|k|grand))? ?(?P<currency>{_SYMBOL})")
_CURRENCY = "|".join(f"(?P<{code}>{pattern})" for code, pattern in _CURRENCY_WORDS.items())
_BEFORE_WORD = re.compile(
    rf"(?:{_CURRENCY}) ?[:=]? ?(?P<amount>{_NUMBER})(?P<scale> ?(?:mio|m|k|"
    rf"grand)(?![a-z0-9]))?(?!{_SYMBOL})(?!x| ?gpu| ?{mark(Kind.GPU)})"
)
_AFTER_WORD = re.compile(rf"(?P<amount>{_NUMBER})(?P<scale> ?(?:mio\.?|m|k|grand))?[ -]?(?:de |di |d')?(?:{_CURRENCY})")
_CENTS = re.compile(rf"({_NUMBER}) ?(?:us )?(?:cents?|¢|centavos|centimes)(?![a-z])")
_GRAND = re.compile(rf"({_NUMBER}) grand(?![a-z])")
_ZERO = re.compile(words("zero|no|nil") + " (?:dollars|money|budget)(?![a-z])")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_SCALES = {
    "k": 1000,
    "grand": 1000,
    "m": 1_000_000,
    "mio": 1_000_000,
    "mio.": 1_000_000,
    "mil": 1_000_000,
    "million": 1_000_000,
}
_DOTTED_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+")
_NO_SCALE = Decimal(1)


def recognise_money(shadow: Shadow) -> None:
    """Replace amounts of money, with the period that follows or leads them, by `Money` marks."""
    yen = "CNY" if _CHINESE.search(shadow.text) and not _KANA.search(shadow.text) else "JPY"
    for pattern in (_BEFORE_SYMBOL, _AFTER_SYMBOL, _AFTER_WORD, _BEFORE_WORD):
        found = []
        for match in pattern.finditer(shadow.text):
            written = shadow.words(*match.span("amount"))
            amount = shadow.values[match.group("amount")] * _scale(match)
            if _DOTTED_THOUSANDS.fullmatch(written):
                amount = Decimal(written.replace(".", "")) * _scale(match)  # nobody counts tenths of a cent
            if "sign" in match.groupdict() and match.group("sign"):
                amount = -amount
            end, per = _period(shadow.text, match.end())
            if per is not None:
                found.append((match.start(), end, Money(amount, _currency(match, yen), per)))
        shadow.replace(found, Kind.MONEY)
    shadow.replace_all(_CENTS, Kind.MONEY, lambda m: Money(shadow.values[m.group(1)] / 100, "USD", BudgetPeriod.TOTAL))
    shadow.replace_all(_GRAND, Kind.MONEY, lambda m: Money(shadow.values[m.group(1)] * 1000, "USD", BudgetPeriod.TOTAL))


def period_before(text: str) -> BudgetPeriod | None:
    """Return the period named in the words that lead to an amount, as in "a monthly budget of"."""
    for period, pattern in _LEADING_PERIODS:
        if pattern.search(text):
            return period
    return None


_LEADING_PERIODS = (
    (
        BudgetPeriod.HOUR,
        re.compile(
            words("hourly|per-hour|por hora|stundlich|horaire|orario|per hour") + "|每小时|毎時|時給|1時間あたり"
        ),
    ),
    (
        BudgetPeriod.DAY,
        re.compile(words("daily|per-day|per day|taglich|diario|journalier|giornaliero") + "|每天|每日|毎日"),
    ),
    (
        BudgetPeriod.WEEK,
        re.compile(words("weekly|per-week|per week|wochentlich|semanal|hebdomadaire|settimanale") + "|每周|毎週"),
    ),
    (
        BudgetPeriod.MONTH,
        re.compile(
            words("monthly|per-month|per month|monatlich|mensual|mensuel|mensile|mensal") + "|每月|每个月|毎月|月額"
        ),
    ),
)


def _scale(match: re.Match[str]) -> Decimal:
    scale = (match.group("scale") or "").strip()
    return Decimal(_SCALES[scale]) if scale else _NO_SCALE


def _currency(match: re.Match[str], yen: str) -> str:
    groups = match.groupdict()
    symbol = groups.get("currency")
    if symbol:
        again = groups.get("again") or ""
        return {"cad": "CAD", "aud": "AUD"}.get(again) or (yen if symbol == "¥" else _SYMBOLS[symbol])
    return next(code for code in _CURRENCY_WORDS if groups.get(code))


def period_after(text: str, end: int) -> BudgetPeriod | None:
    """Return what an amount that ends at `end` is measured over; None for a price per unit of work."""
    return _period(text, end)[1]


def _period(text: str, end: int) -> tuple[int, BudgetPeriod | None]:
    """Read what an amount is measured over: where it ends, and the period; None for a price per unit of work."""
    match = _PERIOD.match(text, end)
    if match:
        period = next(period for period, _ in _PERIODS if match.group(period.name))
        each = _EACH_GPU.match(text, match.end()) if period is BudgetPeriod.HOUR else None
        return (each.end(), BudgetPeriod.GPU_HOUR) if each else (match.end(), period)
    if _PER_UNIT.match(text, end):
        return end, None
    return end, BudgetPeriod.TOTAL
