"""Budgets: which of the amounts of money in a goal cap what it may cost."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from control_plane.agents.orchestrator.planner.facts import Fact
from control_plane.agents.orchestrator.planner.money import Money, period_after, period_before
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words
from control_plane.model.plan import Budget, BudgetPeriod

_BEFORE_CHARS, _AFTER_CHARS = 48, 28
_SAME_SHARE = Decimal("0.1")
_NUMBER = mark(Kind.NUMBER)

_CAPS = re.compile(
    words(
        "(?:don't|do not|dont|never) let (?:the |my |our )?(?:bill|costs?|spend|price|total|it|"
        "this)(?: \\w+)? (?:pass|exceed|reach|"
        "top|hit|go (?:over|above|past)|get (?:over|above|past))|"
        "(?:max(?:imum)?|total|target|overall|allowed|most) (?:costs?|spend(?:ing)?|price)|"
        "costs? ?[:=]|cost (?:cap|limit|ceiling|target)|(?:don't|do not|dont|never|not|without|can't|"
        "cannot|won't) (?:(?:let|have|make|allow) (?:it|this|that|them|the \\w+) (?:to )?)?(?:go|going|spend|"
        "spending|cost|costing|exceed|use)? ?(?:over|above|more than|"
        "past|beyond)|not above|never over|not (?:a|one) (?:cent|penny|dollar|euro|buck) (?:over|above|more than)|"
        "budget|budgets|budgeted|cap|caps|capped|limit|limits|"
        "limited|max|maximum|at most|no more than|not more than|nothing over|not over|under|below|"
        "less than|up to|within|<=?|exceed|exceeding|ceiling|spend|afford|allowance|for|keep it|"
        "credits?|tops|have|got|stay|with",
        "presupuesto|tope|como maximo|maximo|hasta|menos de|sin pasar|no mas de|gastar|limite|por|"
        "hochstens|maximal|bis zu|unter|kostenlimit|kostendeckel|kostenrahmen|obergrenze|"
        "nicht mehr als|fur|au plus|au maximum|moins de|plafond|pas plus de|budget de|pour|massimo|"
        "al massimo|non piu di|meno di|spesa|tetto|orcamento|no maximo|ate|menos de|teto|gastar",
        "预算|不超过|最多|上限|控制在|低于|予算|最大|费用|费",
    )
)
_CAPS_AFTER = re.compile(
    r" ?(?:"
    + words(
        "max|maximum|limit|cap|budget|tops|at most|or less|total|in total|all in|all-in|overall|"
        "ceiling|maximo|como maximo|hochstens|maximal|au maximum|maximum|al massimo|no maximo|"
        "de presupuesto|de budget|di budget|de orcamento|is (?:the|my|our) (?:max|limit|budget|cap)",
        "以内|以下|まで|上限|封顶|の予算|预算|左右",
    )
    + ")"
)
_STRONG = re.compile(
    words(
        "(?:don't|do not|dont|never) let (?:the |my |our )?(?:bill|costs?|spend|price|total|it|"
        "this)(?: \\w+)? (?:pass|exceed|reach|"
        "top|hit|go (?:over|above|past)|get (?:over|above|past))|"
        "(?:max(?:imum)?|total|target|overall|allowed|most) (?:costs?|spend(?:ing)?|price)|"
        "costs? ?[:=]|cost (?:cap|limit|ceiling|target)|(?:don't|do not|dont|never|not|without|can't|"
        "cannot|won't) (?:(?:let|have|make|allow) (?:it|this|that|them|the \\w+) (?:to )?)?(?:go|going|spend|"
        "spending|cost|costing|exceed|use)? ?(?:over|above|more than|"
        "past|beyond)|not above|never over|budget|cap|capped|limit|max|maximum|at most|no more than|"
        "not more than|under|below|less than|up to|within|<=?|exceed|exceeding|ceiling|presupuesto|"
        "como maximo|maximo|hasta|hochstens|maximal|unter|plafond|au plus|al massimo|orcamento|"
        "no maximo",
        "预算|不超过|最多|上限|予算",
    )
)
_NOT_CAPS = re.compile(
    words(
        "save|saves|saving|savings|saved|spent|cost us|costs?|costing|cost|paid|pays|paying|"
        "price[ds]?|priced at|bill|billed|charged|worth|refund|wasted?|wasting|burn(?:ed|ing|s)?|"
        "at least|more than|over|above|invoice|exceeded|earns?|was|were|currently|last (?:week|month|"
        "year)|value[ds]?",
        "ahorra[a-z]*|gastamos|gastado|cuesta|al menos|spare[n]?|einsparung(?:en)?|gekostet|kostet|"
        "mindestens|economise[rz]?|economies|coute|depense|au moins|risparmi[a-z]*|costa|speso|"
        "almeno|economiz[a-z]*|gastou|pelo menos",
        "节省|省|花了|至少|超过|節約|削減|少なくとも|かかった",
    )
)
_BARE = re.compile(
    "(?:"
    + words(
        "budget|total budget|spend(?:ing)? (?:cap|limit)|cost (?:cap|limit)|max ?(?:cost|spend|"
        "budget)|budget[- ]?usd|presupuesto|kostenlimit|orcamento|plafond",
        "预算|予算",
    )
    + (
        rf")(?: (?:of|is|cap|limit|max|ist|es|est|de|von|di|:|=|<=|at most|under|"
        rf"about))*[ :=<]{{0,3}}(?P<n>{_NUMBER})(?! ?(?:%|gpu|hours?|h(?![a-z])|{mark(Kind.GPU)}))"
    )
)
_CAP_LEAD = re.compile(
    "(?:"
    + words(
        "cap(?:ped)?(?: (?:it|this|cost|costs|spend|the cost))?(?: (?:at|of|is|to))?|budget(?:ed)?(?: (?:of|is|for|at|"
        "up "
        "to|max))*|(?:not?|never|nothing|don't go|do not go|without going|not going|not to go) (?:more than|over|above|"
        "beyond|past|exceed(?:ing)?)|not (?:to )?exceed|max(?:imum)?|at most|up to|under|below|less than|limit(?:ed)?"
        "(?: to)?|(?:we|i) (?:only )?(?:have|got|can spend|can afford)|within|for|ceiling(?: of)?|"
        "keep (?:it|this|that) (?:under|below|within)|spend|afford|"
        "hochstens|maximal|bis zu|unter|nicht mehr als|como maximo|no mas de|hasta|maximo|au plus|pas plus de|moins de|"
        "al massimo|non piu di|meno di|no maximo|ate|nao mais (?:de|que)"
    )
    + r")[ :=<~]{0,3}$"
)
_SPEND_LEAD = re.compile(
    words(
        "(?:don't|do not|dont|never|not|without|must not|can't|cannot|won't) (?:let (?:it|this) )?(?:spend|"
        "spending|pay|paying|cost|"
        "costing)(?: (?:me|us))? (?:over|more than|above|past|beyond|anything over)|"
        "(?:spend(?:ing)?|costs?|cost(?:ing)?|pay(?:ing)?|price|bill|budget)(?: (?:is|must be|must stay|should be|"
        "should stay|has to be|stays|of|for this|on this|on it|will be))? (?:at most|no more than|not more than|up to|"
        "max(?:imum)?|less than|under|below|not over|no higher than)"
    )
    + r"[ :=<~]{0,3}$"
)
_CAP_TAIL = re.compile(
    r",? ?\(?(?:"
    + words(
        "all[- ]in|max|maximum|tops|total|in total|cap|budget|limit|at most|or less|ceiling|overall|all told|"
        "for (?:everything|the (?:lot|whole thing))|hochstens|maximal|insgesamt|maximo|en total|au total|massimo|"
        "in totale|no total|to spend|of budget|in credits"
    )
    + r")(?! (?:of )?(?:steps|tokens|samples|epochs|iterations|rows|examples|images|files|docs))"
)
_THOUSANDS = re.compile(r"\d[\d.,]* ?k|.*(?:thousand|grand|tausend|mille?|mila)", re.IGNORECASE)
_NO_AMOUNT = re.compile(
    r"[ -]?(?:[a-z]|%|" + mark(Kind.GPU, Kind.DURATION, Kind.MEMORY, Kind.NUMBER, Kind.MOMENT) + r")"
)
_STILL_AN_AMOUNT = re.compile(
    r" (?:all|max|maximum|tops|total|in|cap|budget|limit|at|or|ceiling|overall|for|and|but|on|with|by|over|if|please|"
    r"pls|thx|thanks|no|not|spot|to|und|y|et|e|image|cmd|run|prio|until|before|deadline|as|is|per|a)(?![a-z])"
)
_ZERO = re.compile(
    words(
        "for free|free of charge|at no cost|no cloud spend(?:ing)?|zero (?:budget|spend|cost)|"
        "no (?:extra |additional )?spend(?:ing)?|without spending(?: anything| money)?|no budget|"
        "kostenlos|ohne kosten|sin (?:coste|costo|gastar)|gratuitement|sans frais|gratis|senza spese|"
        "sem custo",
        "不花钱|免费|無料で?|費用なし",
    )
)
_COMPARED = re.compile(rf" (?:above|over|more than|beyond|past) {mark(Kind.MONEY)}")
"""What is no cap but part of one: "not one cent above $35"."""
_NOT_A_CENT = re.compile(
    rf"(?:not|never|nor)(?: even| a single)? {mark(Kind.MONEY)} (?:above|over|more than|beyond|past) $"
)
_NO_LIMIT = re.compile(
    words("no|unlimited|without|whatever|kein|sin|pas de|any") + r" (?:a )?(?:budget|cost|spend)(?: limits?| caps?)"
)
_WHOLE = re.compile(
    words(
        "total|overall|altogether|in all|everything|whole|entire|all together|combined|insgesamt|"
        "gesamt|en total|totale?|complessivo|no total",
        "总共|总预算|总|合計|全体|合计",
    )
)
_EACH = re.compile(r" ?(?:each|apiece|per (?:step|job|stage|run)|cada uno|je(?![a-z])|chacun|ciascuno|每个|ずつ)")


@dataclass(frozen=True, slots=True)
class Budgets:
    """The cap on the whole goal, a cap on a rate, and what is wrong with them."""

    total: Fact[Budget] | None = None
    rate: Fact[Budget] | None = None
    conflicts: tuple[str, ...] = ()
    unknown_currency: str | None = None


@dataclass(frozen=True, slots=True)
class _Cap:
    fact: Fact[Budget]
    at: int
    whole: bool
    each: bool


def read_budgets(
    shadow: Shadow, fx_usd: Mapping[str, Decimal], *, strong_only: bool, job_starts: tuple[int, ...]
) -> Budgets:
    """Read the caps. `strong_only`: take only amounts that a word calls a cap, for goals that launch nothing.

    `job_starts` are where the parts of a chain begin: caps in different parts are added up.
    """
    totals: list[_Cap] = []
    rates: list[Fact[Budget]] = []
    unknown: str | None = None
    for at, money in shadow.marks(Kind.MONEY):
        compared = _COMPARED.match(shadow.text, at + 1)
        if money.amount < 0 or compared or not _is_cap(shadow, at, strong_only=strong_only):
            continue
        per = _period(shadow, at, money)
        rate = Decimal(1) if money.currency == "USD" else fx_usd.get(money.currency)
        if rate is None:
            unknown = unknown or money.currency
            continue
        budget = Budget(money.amount, money.currency, per, money.amount * rate)
        fact = Fact(budget, (shadow.span(at, at + 1),))
        if per is BudgetPeriod.TOTAL:
            totals.append(_cap(shadow, at, fact))
        else:
            rates.append(fact)
    if not totals and not unknown:
        plain = list(_bare_caps(shadow))
        totals = [_cap(shadow, at, fact) for at, fact in plain if fact.value.per is BudgetPeriod.TOTAL]
        rates += [fact for _, fact in plain if fact.value.per is not BudgetPeriod.TOTAL]
        totals = totals or ([] if plain else _plain_caps(shadow))
    total, conflicts = _combine(totals, job_starts)
    return Budgets(total, rates[0] if rates else None, conflicts, unknown if total is None else None)


def bare_amount(shadow: Shadow) -> Fact[Budget] | None:
    """Read a number without a currency as US dollars, for an answer to "what is the budget?"."""
    for at, number in shadow.marks(Kind.NUMBER):
        if number >= 0:
            return Fact(Budget(number, "USD", BudgetPeriod.TOTAL, number), (shadow.span(at, at + 1),))
    return None


def _context(shadow: Shadow, at: int) -> tuple[str, str]:
    before = shadow.text[max(0, at - _BEFORE_CHARS) : at]
    cut = max(before.rfind(stop) for stop in ("\n", ";", ". "))
    return before[cut + 1 :], shadow.text[at + 1 : at + 1 + _AFTER_CHARS]


def _last_end(pattern: re.Pattern[str], text: str) -> int:
    return max((match.end() for match in pattern.finditer(text)), default=-1)


def _is_cap(shadow: Shadow, at: int, *, strong_only: bool) -> bool:
    before, after = _context(shadow, at)
    if _CAPS_AFTER.match(after) or _NOT_A_CENT.search(before):
        return True
    caps = _last_end(_STRONG if strong_only else _CAPS, before)
    against = _last_end(_NOT_CAPS, before)
    if against > caps:
        return False
    return caps >= 0 or not strong_only


def _period(shadow: Shadow, at: int, money: Money) -> BudgetPeriod:
    if money.per is not BudgetPeriod.TOTAL:
        return money.per
    before, _ = _context(shadow, at)
    return period_before(before[-28:]) or BudgetPeriod.TOTAL


def _cap(shadow: Shadow, at: int, fact: Fact[Budget]) -> _Cap:
    before, after = _context(shadow, at)
    whole = bool(_WHOLE.search(before[-24:]) or _WHOLE.match(after.lstrip(" ("))) or bool(_WHOLE.search(after[:16]))
    return _Cap(fact, at, whole, bool(_EACH.match(after)))


def _plain_caps(shadow: Shadow) -> list[_Cap]:
    """Read "budget 500" as US dollars, the fleet's own currency, and "no cloud spend" as nothing at all."""
    bare = _BARE.search(shadow.text)
    if bare:
        amount: Decimal = shadow.values[bare.group("n")]
        if amount >= 0:
            fact = Fact(Budget(amount, "USD", BudgetPeriod.TOTAL, amount), (shadow.span(*bare.span()),))
            per = period_before(bare.group())
            return [] if per else [_Cap(fact, bare.start(), whole=True, each=False)]
    zero = _ZERO.search(shadow.text)
    if zero and not _NO_LIMIT.search(shadow.text):
        nothing = Budget(Decimal(0), "USD", BudgetPeriod.TOTAL, Decimal(0))
        return [_Cap(Fact(nothing, (shadow.span(*zero.span()),)), zero.start(), whole=True, each=False)]
    return []


def _bare_caps(shadow: Shadow) -> Iterator[tuple[int, Fact[Budget]]]:
    """Read "cap 12k" and "1.2k all in": thousands of nothing in particular are money where a word caps them."""
    for at, number in shadow.marks(Kind.NUMBER):
        before, after = _context(shadow, at)
        thousands = _THOUSANDS.fullmatch(shadow.words(at, at + 1)) is not None
        rated = _CAP_LEAD.search(before) and period_after(shadow.text, at + 1) is BudgetPeriod.GPU_HOUR
        capped = (
            rated or _SPEND_LEAD.search(before) or (thousands and (_CAP_LEAD.search(before) or _CAP_TAIL.match(after)))
        )
        if number < 0 or not capped or (_NO_AMOUNT.match(after) and not _STILL_AN_AMOUNT.match(after)):
            continue
        per = period_before(before[-28:]) or period_after(shadow.text, at + 1)
        if per is not None:
            yield at, Fact(Budget(number, "USD", per, number), (shadow.span(at, at + 1),))


def _combine(caps: list[_Cap], job_starts: tuple[int, ...]) -> tuple[Fact[Budget] | None, tuple[str, ...]]:
    if not caps:
        return None, ()
    whole = [cap for cap in caps if cap.whole]
    chosen = whole or caps
    if not whole and len(job_starts) > 1:
        return _sum(caps, job_starts), ()
    smallest = min(chosen, key=lambda cap: cap.fact.value.amount_usd)
    largest = max(cap.fact.value.amount_usd for cap in chosen)
    apart = largest - smallest.fact.value.amount_usd > largest * _SAME_SHARE
    return smallest.fact, ("Two different budgets are given.",) if apart else ()


def _sum(caps: list[_Cap], job_starts: tuple[int, ...]) -> Fact[Budget]:
    """Add up the caps of the parts of a chain; one cap "each" counts for every part."""
    first = caps[0].fact.value
    if len(caps) == 1:
        if not caps[0].each:
            return caps[0].fact
        times = Decimal(len(job_starts))
        return replace(
            caps[0].fact, value=replace(first, amount=first.amount * times, amount_usd=first.amount_usd * times)
        )
    total = sum((cap.fact.value.amount_usd for cap in caps), Decimal(0))
    spans = tuple(span for cap in caps for span in cap.fact.spans)
    return Fact(Budget(total, "USD", BudgetPeriod.TOTAL, total), spans)
