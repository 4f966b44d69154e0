"""Spot capacity: whether what can be taken away may be used."""

import re
from dataclasses import dataclass

from control_plane.agents.orchestrator.planner.facts import Fact
from control_plane.agents.orchestrator.planner.preferences import NEGATION
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words
from control_plane.model.plan import SpotPreference

_SPOT = words(
    "spott?(?:[ -](?:instances?|vms?|capacity|nodes?|gpus?|machines?|boxes|hosts?|servers?|ok))?|"
    "pre-?emptibles?(?: (?:instances?|vms?|capacity|nodes?|gpus?))?|interruptibles?(?: (?:instances?|"
    "capacity|gpus?))?|spots|spot-?instanzen|instancias spot|instances spot|istanze spot|"
    "low[- ]priority (?:vms?|instances?|nodes?|capacity|machines?)|interrumpibles|unterbrechbare[nr]?|"
    "preemptive[li]s?|preemptiveis|interruptions?(?= (?:are|is) )",
    "竞价实例|竞价|抢占式实例|抢占式?|抢占实例|スポットインスタンス|スポット|プリエンプティブル?|スポットvm",
)
_NOT_SPOT = re.compile(
    r"[ -](?:check|checks|the|any|price|prices|pricing|market|bugs?|errors?|on|rates?|savings|"
    r"interruption|reclaim|history)(?![a-z])|ted|ting"
)
_SPOT_NO_BEFORE = re.compile(
    NEGATION
    + (
        r"(?:,? ?(?:under (?:any|no) circumstances?|at any (?:cost|price|time)|in any case|whatsoever|ever|"
        r"of any kind),?)?"
        r"(?:,? (?:on|use|using|any|the|be|allow|allowed|want|run on|run it on|an?|utiliser|usar|accept|en|"
        r"auf|de|put (?:this|it) on|willing to use|rely on|instances?|instanzen|instancias?|istanze|machines?|"
        r"maschinen|maquinas|macchine|nodes?|knoten|capacity|capacidad|capacite|kapazitat|gpus?|vms?|di|em|su|tipo|"
        r"go|going|via|with|of|need for|needs?|require|required|have to be|has to be|must be|kind of|sort of|risk|"
        r"please|pls|or|fan of)){0,4}(?: d')?(?:instances |instanzen )?[ -]?$|"
    )
    + words(
        "nothing(?: that is| that's| which is)?|can't|cannot|can not|won't|must not|mustn't|disallow|forbid|"
        "refuse|disable|don't allow|"
        "do not allow|don't want|disabled"
    )
    + (
        r"(?: (?:use|be|run|on|any|the|be on|run on|rely on|put on)){0,3} ?$|(?<![a-z])non-? ?$|"
        r"[不非无]$|(?:不使用|不接受|不允许)$"
    )
)
_SPOT_NO_AFTER = re.compile(
    (
        r" ?(?:instances?|vms?|capacity)? ?(?:[:=?] ?|is |are |allowed[:=]? ?|ok[:=?] ?|or preemptible |"
        r"だめ|は|を|も|y/n: ?)?(?:"
    )
    + words(
        "n|no|nope|not|false|off|never|forbidden|verboten|nicht|prohibid[oa]s?|interdit|vietat[oi]|0|"
        "nein|non|disallowed|isn't|aren't|excluded|unacceptable|out of the question|none|a no-?go|no-?go|off the table|"
        "ruled out|not an option",
        "不可|不行|不要|禁止|使わない|使用しない|使えない|なし|ng|避け|ダメ",
    )
    + r")(?! (?:problem|issue|matter))"
)
_PREFER = words(
    "prefer|preferred|preferably|preferable|ideally|if possible|where possible|wherever possible|"
    "when possible|if available|when available|wherever you can|whenever possible|first choice|"
    "spot first|favou?r|try|bevorzugt|bevorzuge|am liebsten|wenn moglich|moglichst|preferiblemente|"
    "prefer(?:ir|encia|imos|iblement)|preferencia|a ser posible|si es posible|de preference|"
    "si possible|preferibilmente|se possibile|de preferencia|se possivel|preferencialmente",
    "优先|最好|尽量|优先使用|優先|できれば|可能なら|なるべく",
)
_PREFER_NEAR = re.compile(_PREFER)
_FIXED = words(
    "on-?demand(?: only| instances?| capacity)?|od[ -]only|(?<=, )od(?=[,.;)]|$)|"
    f"dedicated (?:(?:gpu )?(?:nodes?|hosts?|gpus?|hardware|machines?|boxes|cards)|{mark(Kind.NUMBER, Kind.GPU)})|"
    "dedicated only|(?:guaranteed|always-on|stable|firm|regular) (?:instances|capacity|gpus?|nodes?|machines?)|"
    "on demand(?: only| instances?)?|reserved (?:capacity|"
    "instances?|only)|uninterruptible|non-?interruptible|guaranteed capacity|dedicated (?:capacity|"
    "instances?)|a la demande|a demanda|bajo demanda|sob demanda|on-demand-instanzen",
    "按需实例|按需|オンデマンド(?:インスタンス)?(?:のみ)?",
)
_TOLERANT = re.compile(
    words(
        "(?:can|may|could) (?:safely )?be (?:interrupted|preempted|evicted)|(?:ok|okay|fine) (?:to|"
        "if) (?:it gets |be |gets |it is |it's |get )?(?:interrupted|preempted|evicted)|"
        "(?:interruptions?|preemptions?|evictions?|(?:being |getting )(?:preempted|interrupted|evicted)) (?:is|"
        "are) (?:fine|"
        "ok|okay|acceptable|no problem|not a problem|tolerable|no issue)|(?:interruptions?|preemptions?|"
        "evictions?|reclaims?) (?:don't|do not|won't|wouldn't|doesn't|does not) "
        "(?:bother|matter|hurt|harm|worry|concern|trouble|break|kill|affect|scare)(?: \\S{1,12})?|"
        "doesn't matter if (?:it|we|they) "
        "(?:gets?|is|are) (?:preempted|interrupted|evicted|killed)|(?:don't|do not) (?:mind|care about|"
        "care if it gets) "
        "(?:being |getting )?(?:interruptions?|preemptions?|evictions?|preempted|interrupted|evicted)|(?:tolerates?|"
        "can handle|"
        "handles|survives?|can survive|copes? with|can cope with|can take|withstands?|recovers? from|robust to|"
        "resilient to) "
        "(?:an? |the |any |some )?(?:interruptions?|preemptions?|evictions?|being (?:interrupted|preempted|evicted|"
        "killed))|interruption[- ]tolerant|preemption[- ](?:tolerant|safe)|"
        "fault[- ]tolerant|"
        "darf unterbrochen werden|unterbrechungen sind (?:ok|okay|in ordnung)|puede interrumpirse|"
        "peut etre interrompu|puo essere interrotto|pode ser interrompido",
        "可以被?中断|允许中断|中断可|中断しても(?:よい|いい|構わない)",
    )
)
_INTOLERANT = re.compile(
    words(
        "(?:must|should|may|can|do|shall) ?not (?:get |be )?(?:interrupted|preempted|evicted)|"
        "(?:can't|cant|cannot|mustn't|shouldn't|won't|don't) (?:afford |to |risk |survive |handle |tolerate |"
        "cope with |"
        "take |stand )*(?:get |getting |be |being |an? |any )*(?:interrupted|preempted|evicted|interruptions?|"
        "preemptions?|evictions?|preempt|killed halfway|taken away)|no (?:interruptions?|preemptions?|evictions?)|"
        "without (?:interruptions?|"
        "preemption)|never be (?:interrupted|preempted)|can't afford (?:interruptions?|"
        "to be (?:interrupted|preempted))|not (?:be )?interrupted|"
        "darf nicht unterbrochen werden|no (?:puede|debe) interrumpirse|ne (?:doit|"
        "peut) pas etre interrompue?|non deve essere interrotto|nao pode ser interrompido",
        "不能中断|不可中断|中断(?:は)?不可|中断できない|中断しない",
    )
)
_DENIED = re.compile(
    words("nothing|not|no|never|none|without|avoid|nichts|nada|rien|niente|cannot|can't|won't|doesn't|does not|isn't")
    + r"(?: (?:\S{1,16} ){0,3}(?:that|which|where|they|it|that's)| (?:anything|something|on|be|able to|really))* $"
)
_FALLBACK = re.compile(
    words(
        "fall ?-?back|otherwise|else|or|if (?:spot|it|there|no)|unless|as backup|runs? out|if not|"
        "first|then|sonst|oder|si no|sinon|altrimenti|senao",
        "否则|或者?|なければ|または",
    )
)


@dataclass(frozen=True, slots=True)
class SpotReading:
    """What is said about spot capacity, and whether it is said both ways."""

    preference: Fact[SpotPreference] | None
    contradicts: bool = False


def read_spot(shadow: Shadow) -> SpotReading:
    """Read whether spot capacity may be used."""
    text = shadow.text
    votes: list[tuple[SpotPreference, tuple[int, int]]] = []
    mentions = [
        match
        for match in re.finditer(_SPOT, text)
        if not _NOT_SPOT.match(text, match.end()) and not _is_verb(text, match)
    ]
    votes += [(_spot_vote(text, match), shadow.span(*match.span())) for match in mentions]
    for match in _TOLERANT.finditer(text):
        denied = _DENIED.search(text[max(0, match.start() - 40) : match.start()])
        votes.append((SpotPreference.FORBID if denied else SpotPreference.ALLOW, shadow.span(*match.span())))
    votes += [(SpotPreference.FORBID, shadow.span(*m.span())) for m in _INTOLERANT.finditer(text)]
    fixed = list(re.finditer(_FIXED, text))
    has_spot = any(vote is not SpotPreference.FORBID for vote, _ in votes)
    for match in fixed:
        negative = _SPOT_NO_BEFORE.search(text[max(0, match.start() - 30) : match.start()])
        if negative:
            votes.append((SpotPreference.ALLOW, shadow.span(*match.span())))
        elif not (has_spot and _FALLBACK.search(text[max(0, match.start() - 50) : match.end() + 40])):
            votes.append((SpotPreference.FORBID, shadow.span(*match.span())))
    if not votes:
        return SpotReading(None)
    kinds = {vote for vote, _ in votes}
    chosen = (
        SpotPreference.FORBID
        if SpotPreference.FORBID in kinds
        else SpotPreference.PREFER
        if SpotPreference.PREFER in kinds
        else SpotPreference.ALLOW
    )
    spans = tuple(dict.fromkeys(span for vote, span in votes if vote is chosen))
    return SpotReading(Fact(chosen, spans), contradicts=len(kinds) > 1 and SpotPreference.FORBID in kinds)


_TO_SPOT = re.compile(r"(?<![a-z])(?P<lead>[a-z]+ )?(?:to|can|could|should|that|which|will|help|helps) $")
_MOVED = re.compile(
    r"(?:switch|move|fall|back|back to|default|change|go|prefer|shift|set|defaults|restrict|limited|ok|okay) "
)
_NOT_A_THING = re.compile(
    r" (?:if|when|for|on|in|at|to|until|and|or|is|are|first|only|please|pls|instead|as|where|because|with|by|"
    r"unless|but|"
    r"then|gpus?|capacity|instances?|nodes?|vms?|machines?|prices?|now|there|whenever|while|a100|h100)(?![a-z])"
)


def _is_verb(text: str, match: re.Match[str]) -> bool:
    """Whether "spot" is what a model does: "to spot leaked credentials"."""
    if match.group() != "spot" or not re.match(r" [a-z]", text[match.end() :]) or _NOT_A_THING.match(text, match.end()):
        return False
    lead = _TO_SPOT.search(text[max(0, match.start() - 24) : match.start()])
    return lead is not None and not _MOVED.fullmatch(lead.group("lead") or "")


def _spot_vote(text: str, match: re.Match[str]) -> SpotPreference:
    before, after = text[max(0, match.start() - 56) : match.start()], text[match.end() : match.end() + 32]
    if _SPOT_NO_BEFORE.search(before) or _SPOT_NO_AFTER.match(after):
        return SpotPreference.FORBID
    near = before[-28:] + " | " + after[:28]
    return SpotPreference.PREFER if _PREFER_NEAR.search(near) else SpotPreference.ALLOW
