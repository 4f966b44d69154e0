"""Wishes about how to run: what is excluded, spot or not, priority, and "plan only"."""

import re
from dataclasses import dataclass

from control_plane.agents.orchestrator.facts import Fact
from control_plane.agents.orchestrator.shadow import Kind, Shadow, mark, words
from control_plane.model.plan import Priority, SpotPreference

_PLACE = mark(Kind.GPU, Kind.PROVIDER, Kind.REGION)
_NEGATION = words(
    "no|not|non|without|w/o|except|except for|excluding|exclude|anything but|everything but|anywhere but|everywhere but|all but|avoid|avoiding|never|other than|but not|don't use|do not use|dont use|"
    "stay off|stay away from|keep off|keep out of|keep it off|keep away from|rather not|instead of|rather than|outside|outside of|skip|ban|apart from|aside from|isn't|nothing on|nothing in|unless it's",
    "nicht|kein|keine[nrms]?|ohne|ausser|auf keinen fall|niemals|vermeide|nicht auf|statt|"
    "no uses|sin|excepto|menos|salvo|evita|evitar|nada de|nunca|que no sea|fuera de|en vez de|"
    "pas|pas de|pas sur|sans|sauf|hors|jamais|evite[rz]?|excepte|hormis|"
    "senza|tranne|eccetto|evita|mai|escluso|nao|sem|exceto|menos|evite|nunca|fora",
    "不要用?在?|不用|不能用?在?|除了|除|别用?在?|避免|禁止|不在|非",
)
_LINK = r"(?: (?:on|in|to|from|use|using|any|the|an?|of|run|run on|running on|auf|in der|im|der|den|die|das|en|el|la|los|las|sur|le|les|des|l'|d'|de|da|do|di|su|em|nos?|na|old|our|be|for|at|it|utiliser|usar|uses|usare)){0,4} ?"
_LIST = rf"({_PLACE}(?:'?s)?(?:(?: ?(?:,|/|,? ?(?:or|and|nor|y|o|ni|und|oder|noch|ou|et|e|和|或|、|と|や)) ?)(?:(?:any|the|on|in|no|not|auf|en|de|sur|su|em) ){{0,2}}{_PLACE}(?!s? (?:is|are|only|ok|okay|fine|preferred|instead|works|would|if))){{0,12}})"
_EXCLUDED_BEFORE = re.compile(rf"{_NEGATION}{_LINK}(?:(?:{mark(Kind.NUMBER)}) ?x? ?)?{_LIST}")
_EXCLUDED_AFTER = re.compile(
    rf"({_PLACE})(?:'?s)?(?: gpus?| nodes?| region)?(?: (?:is|are|ist|sind|es|est)|は|を|も)? ?"
    + words(
        "excluded|forbidden|banned|off[- ]limits|not allowed|not permitted|not ok|not okay|not acceptable|not an option|out of the question|is out|verboten|ausgeschlossen|nicht erlaubt|prohibido|no permitido|interdit|exclus?|vietato|proibido|excluid[oa]s?",
        "以外|を?除く|除外|使わない|使用しない|避け|禁止|不可|なし|ではなく|除外|不行|不要|不能用",
    )
)
_NO_CLOUD = re.compile(words("no (?:public )?cloud(?: spend| costs?| usage| bursting| gpus?)?|not in the cloud|without (?:the )?cloud|no external cloud|nothing in the cloud|keine cloud|ohne cloud|sin nube|nada en la nube|pas de cloud|sans cloud|niente cloud|sem nuvem", "不用云|不要上?云|クラウドは使わない|クラウドなし"))

_SPOT = words(
    "spot(?:[ -](?:instances?|vms?|capacity|nodes?|gpus?|machines?|boxes|hosts?|servers?|ok))?|pre-?emptibles?(?: (?:instances?|vms?|capacity|nodes?|gpus?))?|interruptibles?(?: (?:instances?|capacity|gpus?))?|spots|spot-?instanzen|instancias spot|instances spot|istanze spot|interrumpibles|unterbrechbare[nr]?|preemptive[li]s?|preemptiveis|interruptions?(?= (?:are|is) )",
    "竞价实例|竞价|抢占式实例|抢占式?|抢占实例|スポットインスタンス|スポット|プリエンプティブル?|スポットvm",
)
_NOT_SPOT = re.compile(r"[ -](?:check|checks|the|any|price|prices|pricing|market|bugs?|errors?|on|rates?|savings|interruption|reclaim|history)(?![a-z])|ted|ting")
_SPOT_NO_BEFORE = re.compile(
    _NEGATION + r"(?: (?:on|use|using|any|the|be|allow|allowed|want|run on|run it on|an?|utiliser|usar|accept|en|auf|de|d'|put (?:this|it) on|willing to use|rely on)){0,3}[ -]?$|"
    + words("can't|cannot|can not|won't|must not|mustn't|disallow|forbid|refuse|disable|don't allow|do not allow|don't want|disabled") + r"(?: (?:use|be|run|on|any|the|be on|run on|rely on|put on)){0,3} ?$|(?<![a-z])non-? ?$|[不非无]$|(?:不使用|不接受|不允许)$"
)
_SPOT_NO_AFTER = re.compile(
    r" ?(?:instances?|vms?|capacity)? ?(?:[:=?] ?|is |are |allowed[:=]? ?|ok[:=?] ?|or preemptible |だめ|は|を|も|y/n: ?)?(?:" + words("n|no|nope|not|false|off|never|forbidden|verboten|nicht|prohibid[oa]s?|interdit|vietat[oi]|0|nein|non|disallowed|isn't|aren't|excluded|unacceptable|out of the question|none", "不可|不行|不要|禁止|使わない|使用しない|使えない|なし|ng|避け|ダメ") + r")(?! (?:problem|issue|matter))"
)
_PREFER = words(
    "prefer|preferred|preferably|preferable|ideally|if possible|where possible|wherever possible|when possible|if available|when available|wherever you can|whenever possible|first choice|spot first|favou?r|try|bevorzugt|bevorzuge|am liebsten|wenn moglich|moglichst|preferiblemente|prefer(?:ir|encia|imos|iblement)|preferencia|a ser posible|si es posible|de preference|si possible|preferibilmente|se possibile|de preferencia|se possivel|preferencialmente",
    "优先|最好|尽量|优先使用|優先|できれば|可能なら|なるべく",
)
_PREFER_NEAR = re.compile(_PREFER)
_FIXED = words(
    "on-?demand(?: only| instances?| capacity)?|on demand(?: only| instances?)?|reserved (?:capacity|instances?|only)|uninterruptible|non-?interruptible|guaranteed capacity|dedicated (?:capacity|instances?)|a la demande|a demanda|bajo demanda|sob demanda|on-demand-instanzen",
    "按需实例|按需|オンデマンド(?:インスタンス)?(?:のみ)?",
)
_TOLERANT = re.compile(words(
    "(?:can|may|could) (?:safely )?be (?:interrupted|preempted|evicted)|(?:ok|okay|fine) (?:to|if) (?:it gets |be |gets |it is |it's |get )?(?:interrupted|preempted|evicted)|interruptions? (?:is|are) (?:fine|ok|okay|acceptable|no problem)|(?:tolerates?|can handle|handles|survives?) (?:interruptions?|preemptions?|evictions?)|interruption[- ]tolerant|fault[- ]tolerant|"
    "darf unterbrochen werden|unterbrechungen sind (?:ok|okay|in ordnung)|puede interrumpirse|peut etre interrompu|puo essere interrotto|pode ser interrompido",
    "可以被?中断|允许中断|中断可|中断しても(?:よい|いい|構わない)",
))  # fmt: skip
_INTOLERANT = re.compile(words(
    "(?:must|should|may|can|do|shall) ?not (?:get |be )?(?:interrupted|preempted|evicted)|(?:can't|cannot|mustn't|shouldn't|don't) (?:get |be )?(?:interrupted|preempted|evicted|preempt)|no (?:interruptions?|preemptions?|evictions?)|without (?:interruptions?|preemption)|never be (?:interrupted|preempted)|can't afford (?:interruptions?|to be (?:interrupted|preempted))|not (?:be )?interrupted|"
    "darf nicht unterbrochen werden|no (?:puede|debe) interrumpirse|ne (?:doit|peut) pas etre interrompue?|non deve essere interrotto|nao pode ser interrompido",
    "不能中断|不可中断|中断(?:は)?不可|中断できない|中断しない",
))  # fmt: skip
_FALLBACK = re.compile(words("fall ?-?back|otherwise|else|or|if (?:spot|it|there|no)|unless|as backup|runs? out|if not|first|then|sonst|oder|si no|sinon|altrimenti|senao", "否则|或者?|なければ|または"))


@dataclass(frozen=True, slots=True)
class SpotReading:
    """What is said about spot capacity, and whether it is said both ways."""

    preference: Fact[SpotPreference] | None
    contradicts: bool = False


def excluded_marks(shadow: Shadow) -> frozenset[int]:
    """Return the positions of GPU, provider and region marks that the text rules out."""
    found: set[int] = set()
    for pattern in (_EXCLUDED_BEFORE, _EXCLUDED_AFTER):
        for match in pattern.finditer(shadow.text):
            start, end = match.span(1)
            found |= {index for index in range(start, end) if re.match(_PLACE, shadow.text[index])}
    return frozenset(found)


def no_cloud(shadow: Shadow) -> Fact[str] | None:
    """Return the words that keep everything off the clouds."""
    match = _NO_CLOUD.search(shadow.text)
    return Fact(match.group(), (shadow.span(*match.span()),)) if match else None


def read_spot(shadow: Shadow) -> SpotReading:
    """Read whether spot capacity may be used."""
    text = shadow.text
    votes: list[tuple[SpotPreference, tuple[int, int]]] = []
    for match in re.finditer(_SPOT, text):
        if not _NOT_SPOT.match(text, match.end()):
            votes.append((_spot_vote(text, match), shadow.span(*match.span())))
    votes += [(SpotPreference.ALLOW, shadow.span(*m.span())) for m in _TOLERANT.finditer(text)]
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
    chosen = SpotPreference.FORBID if SpotPreference.FORBID in kinds else SpotPreference.PREFER if SpotPreference.PREFER in kinds else SpotPreference.ALLOW
    spans = tuple(dict.fromkeys(span for vote, span in votes if vote is chosen))
    return SpotReading(Fact(chosen, spans), contradicts=len(kinds) > 1 and SpotPreference.FORBID in kinds)


def _spot_vote(text: str, match: re.Match[str]) -> SpotPreference:
    before, after = text[max(0, match.start() - 40) : match.start()], text[match.end() : match.end() + 32]
    if _SPOT_NO_BEFORE.search(before) or _SPOT_NO_AFTER.match(after):
        return SpotPreference.FORBID
    near = before[-28:] + " | " + after[:28]
    return SpotPreference.PREFER if _PREFER_NEAR.search(near) else SpotPreference.ALLOW


_LOW = "low|lowest|lower|background|baja|bajo|minima|niedrige?r?|niedrigste|geringe?r?|basse|faible|bassa|baixa|minimal|best[- ]effort"
_NORMAL = "normal|medium|standard|default|media|regular|normale|mittlere?|mittel|moyenne|routine"
_HIGH = "high|higher|urgent|alta|alto|hohe?r?|hoch|haute|elevee|urgente|dringend|important|elevada"
_URGENT = "highest|critical|top|max|maximum|emergency|maxima|hochste|kritisch|critique|maximale|critica|massima|absolute"
_PRIORITY_WORD = words("priority|prio|pri|prioridad|prioritat|prioritaet|priorite|priorita|prioridade|urgency|importance", "优先级|優先度|優先順位")
_LEVELS = ((Priority.LOW, _LOW), (Priority.NORMAL, _NORMAL), (Priority.URGENT, _URGENT), (Priority.HIGH, _HIGH))
_CJK_LEVELS = ((Priority.URGENT, "最高"), (Priority.LOW, "低|最低"), (Priority.HIGH, "高"), (Priority.NORMAL, "中|普通|正常"))
_NUMBERED_PRIORITY = re.compile(r"(?<![a-z0-9-])p([0-4])(?![a-z0-9]| ?gpu|-)")
_NUMBERED_LEVELS = (Priority.URGENT, Priority.HIGH, Priority.NORMAL, Priority.LOW, Priority.LOW)
_PRIORITY: tuple[tuple[Priority, re.Pattern[str]], ...] = (
    *((level, re.compile(rf"(?:{words(names)})[ -]{{0,2}}(?:{_PRIORITY_WORD})|(?:{_PRIORITY_WORD}) ?(?:is |of |level |as |to |ist |es |est |set to |[:=(] ?|\?)? ?(?:{words(names)})")) for level, names in _LEVELS),
    *((level, re.compile(rf"(?:{names})(?:い)?(?:优先级|優先度)|(?:优先级|優先度|優先順位)(?:设为|设置?为|为|是|[:=]|は|を)? ?(?:最(?=[高低]))?(?:{names})")) for level, names in _CJK_LEVELS),
)  # fmt: skip
_CALM = re.compile(words("not (?:very |at all |that )?urgent|no (?:rush|hurry)|whenever (?:there is|there's|you (?:can|have)|capacity|possible|gpus?)|at your leisure|best[- ]effort|nicht dringend|keine eile|hat zeit|sin prisa|no es urgente|no corre prisa|pas (?:urgent|presse)|senza fretta|non urgente|sem pressa|nao e urgente", "不急|不着急|急ぎません|急がない|急ぎではない"))
_PRESSING = re.compile(words("urgent|urgently|urgente|urgentemente|dringend|eilig|urgence|en urgence|high-prio|hi-prio|emergency|top prio", "紧急|加急|至急|緊急|急ぎ(?!ま|で)|大至急|特急"))


def read_priority(shadow: Shadow) -> Fact[Priority] | None:
    """Read the priority, by name or as P0 to P4."""
    calm = _CALM.search(shadow.text)
    if calm:
        return Fact(Priority.LOW, (shadow.span(*calm.span()),))
    for level, pattern in _PRIORITY:
        match = pattern.search(shadow.text)
        if match:
            return Fact(level, (shadow.span(*match.span()),))
    match = _NUMBERED_PRIORITY.search(shadow.text)
    if match:
        return Fact(_NUMBERED_LEVELS[int(match.group(1))], (shadow.span(*match.span()),))
    match = _PRESSING.search(shadow.text)
    return Fact(Priority.HIGH, (shadow.span(*match.span()),)) if match else None


_ACT = "execute|run|launch|start|apply|submit|act|deploy|do|change|touch|provision|trigger|proceed|commit|implement"
_PLAN_ONLY = re.compile(words(
    rf"(?:do not|don't|dont|without|not|never) (?:actually |really )?(?:{_ACT}|executing|running|launching|starting|applying|submitting|changing|provisioning)(?: (?:it|anything|them|any of it|this|yet|any changes|any jobs?|the plan))*(?= *(?:$|[.,;!?)\n:-]|yet|just|only|until i|before i|and|but|please|for now|without))|"
    "dry[- ]?run|plan[- ]only|only (?:a |the |show |give me a |make a |draft a )?plan|just (?:a |the |give me a |make a |draft a |show me the |propose |show the )?(?:plan|proposal|estimate|quote)|no (?:changes|execution|launch(?:es|ing)?|action)(?: yet| for now| please)?|proposal only|propose only|recommendations? only|read[- ]only|hypothetically|simulate only|what[- ]if|nothing (?:should|must|is to) (?:be )?(?:launched|started|executed|run)|"
    "nicht (?:ausfuhren|starten)|nur (?:planen|ein plan|einen plan|den plan|schatzen|den vorschlag|vorschlagen)|noch nichts? (?:starten|ausfuhren)|ohne (?:ausfuhrung|es auszufuhren|zu starten)|"
    "solo (?:el |un |quiero el |dame el )?(?:plan|presupuesto estimado|una? estimacion)|no (?:lo |la |los |las )?(?:ejecutes?|lances?|inicies?|apliques?)(?: nada| aun| todavia)?|sin (?:ejecutar(?:lo)?|lanzar(?:lo)?)|"
    "seulement (?:un |le )?plan|juste (?:un |le )?(?:plan|devis)|n[e'] ?(?:rien |l')?(?:execute[rz]?|lance[rz]?)(?: pas| rien)?|sans (?:executer|lancer|rien lancer)|solo (?:il |un )?piano|non (?:eseguire|lanciare|avviare)|senza (?:eseguire|avviare)|apenas (?:o |um )?plano|nao (?:execute|inicie|lance)|sem executar",
    "不要(?:执行|启动|运行|实际执行|真的执行)|先不(?:要)?(?:执行|启动|运行)|只(?:要|需要?|给我?|做|出)(?:一个)?(?:计划|方案|估算)|仅(?:计划|方案)|别执行|実行(?:は)?し(?:ないで|なくて|ない)|計画(?:だけ|のみ)|見積もり?(?:だけ|のみ)|プランだけ|実行せず",
))  # fmt: skip


def read_plan_only(shadow: Shadow) -> Fact[bool] | None:
    """Return the words that ask for a plan without acting on it."""
    match = _PLAN_ONLY.search(shadow.text)
    return Fact(True, (shadow.span(*match.span()),)) if match else None
