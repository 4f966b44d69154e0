"""Wishes about how to run: what is excluded, spot or not, priority, and "plan only"."""

import re

from control_plane.agents.orchestrator.planner.facts import Fact
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words
from control_plane.model.plan import Priority

_PLACE = mark(Kind.GPU, Kind.PROVIDER, Kind.REGION)
NEGATION = words(
    "no|not|non|without|w/o|except|except for|excluding|exclude|anything but|everything but|"
    "anywhere but|everywhere but|all but|avoid|avoiding|never|other than|but not|don't use|"
    "do not use|dont use|"
    "stay off|stay away from|keep off|keep out of|keep it off|keep away from|rather not|instead of|"
    "rather than|outside|outside of|skip|ban|apart from|aside from|isn't|nothing on|nothing in|"
    "unless it's|under no circumstances|in no case|on no account|by no means",
    "nicht|kein|keine[nrms]?|ohne|ausser|auf keinen fall|niemals|vermeide|nicht auf|statt|"
    "no uses|sin|excepto|menos|salvo|evita|evitar|nada de|nunca|que no sea|fuera de|en vez de|"
    "pas|pas de|pas sur|sans|sauf|hors|jamais|evite[rz]?|excepte|hormis|"
    "senza|niente|zero|tranne|eccetto|evita|mai|escluso|nao|sem|exceto|menos|evite|nunca|fora",
    "不要用?在?|不用|不能用?在?|除了|除|别用?在?|避免|禁止|不在|非",
)
_LINK = (
    r"(?: (?:on|in|to|from|use|using|any|the|an?|of|run|run on|running on|auf|in der|im|der|den|die|das|"
    r"en|el|la|los|las|sur|le|les|des|l'|d'|de|da|do|di|su|em|nos?|na|old|our|be|for|at|it|utiliser|usar|"
    r"uses|usare|bei|chez|con|with|via|through|anything|anywhere|any of|either|one of|mit)){0,4} ?"
)
_LIST = (
    rf"({_PLACE}(?:'?s)?(?:(?: ?(?:,|/|,? ?(?:or|and|nor|y|o|ni|und|oder|noch|ou|et|e|和|或|、|と|"
    rf"や)) ?)(?:(?:any|the|on|in|no|not|auf|en|de|sur|su|em) ){{0,2}}{_PLACE}(?!s? (?:is|are|only|ok|"
    rf"okay|fine|preferred|instead|works|would|if))){{0,12}})"
)
_EXCLUDED_BEFORE = re.compile(rf"{NEGATION}{_LINK}(?:(?:{mark(Kind.NUMBER)}) ?x? ?)?{_LIST}")
_EXCLUDED_AFTER = re.compile(
    rf"({_PLACE})(?:'?s)?(?: gpus?| nodes?| region)?(?: (?:is|are|ist|sind|es|est)|は|を|も)? ?"
    + words(
        "excluded|forbidden|banned|off[- ]limits|not allowed|not permitted|not ok|not okay|"
        "not acceptable|not an option|out of the question|is out|verboten|ausgeschlossen|"
        "nicht erlaubt|prohibido|no permitido|interdit|exclus?|vietato|proibido|excluid[oa]s?",
        "以外|を?除く|除外|使わない|使用しない|避け|禁止|不可|なし|ではなく|除外|不行|不要|不能用",
    )
)
_NO_CLOUD = re.compile(
    words(
        "no (?:public )?cloud(?: spend| costs?| usage| bursting| gpus?)?|not in the cloud|"
        "without (?:the )?cloud|no external cloud|nothing in the cloud|keine cloud|ohne cloud|"
        "sin nube|nada en la nube|pas de cloud|sans cloud|niente cloud|sem nuvem",
        "不用云|不要上?云|クラウドは使わない|クラウドなし",
    )
)


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


_LOW = (
    "low|lowest|lower|background|baja|bajo|minima|niedrige?r?|niedrigste|geringe?r?|basse|faible|bassa|"
    "baixa|minimal|best[- ]effort"
)
_NORMAL = "normal|medium|standard|default|media|regular|normale|mittlere?|mittel|moyenne|routine"
_HIGH = "high|higher|urgent|alta|alto|hohe?r?|hoch|haute|elevee|urgente|dringend|important|elevada"
_URGENT = (
    "highest|critical|top|max|maximum|emergency|maxima|hochste|kritisch|critique|maximale|critica|massima|absolute"
)
_PRIORITY_WORD = words(
    "priority|prio|pri|prioridad|prioritat|prioritaet|priorite|priorita|prioridade|urgency|importance",
    "优先级|優先度|優先順位",
)
_LEVELS = ((Priority.LOW, _LOW), (Priority.NORMAL, _NORMAL), (Priority.URGENT, _URGENT), (Priority.HIGH, _HIGH))
_CJK_LEVELS = (
    (Priority.URGENT, "最高"),
    (Priority.LOW, "低|最低"),
    (Priority.HIGH, "高"),
    (Priority.NORMAL, "中|普通|正常"),
)
_NUMBERED_PRIORITY = re.compile(r"(?<![a-z0-9-])p([0-4])(?![a-z0-9]| ?gpu|-)")
_NUMBERED_LEVELS = (Priority.URGENT, Priority.HIGH, Priority.NORMAL, Priority.LOW, Priority.LOW)
_PRIORITY: tuple[tuple[Priority, re.Pattern[str]], ...] = (
    *(
        (
            level,
            re.compile(
                rf"(?:{words(names)})[ -]{{0,2}}(?:{_PRIORITY_WORD})|(?:{_PRIORITY_WORD}) ?(?:is |"
                rf"of |level |as |to |ist |es |est |set to |[:=(] ?|\?)? ?(?:{words(names)})"
            ),
        )
        for level, names in _LEVELS
    ),
    *(
        (
            level,
            re.compile(
                rf"(?:{names})(?:い)?(?:优先级|優先度)|(?:优先级|優先度|優先順位)(?:设为|设置?为|为|"
                rf"是|[:=]|は|を)? ?(?:最(?=[高低]))?(?:{names})"
            ),
        )
        for level, names in _CJK_LEVELS
    ),
)
_CALM = re.compile(
    words(
        "(?:when|whenever|once|if) (?:nothing|nobody|no one|no-one)(?: else)? (?:needs|wants|uses|is using|"
        "requires|claims|"
        "occupies|runs)|(?:when|whenever|while) (?:the |our )?(?:cluster|fleet|gpus|nodes|machines|hardware|pool|"
        "things|"
        "everything) (?:is|are|goes|go) (?:idle|free|quiet|empty|unused|otherwise idle|not needed)|in the background|"
        "lowest of the low|no deadline pressure|low-?key|"
        "background (?:thing|job|task|work|run|process)|whenever(?= ?(?:$|[.,;!)\\n]))|"
        "not (?:very |at all |that )?urgent|no (?:rush|hurry)|whenever (?:there is|there's|"
        "you (?:can|have)|capacity|possible|gpus?)|at your leisure|best[- ]effort|nicht dringend|"
        "keine eile|hat zeit|sin prisa|no es urgente|no corre prisa|pas (?:urgent|presse)|"
        "senza fretta|non urgente|sem pressa|nao e urgente",
        "不急|不着急|急ぎません|急がない|急ぎではない",
    )
)
_PRESSING = re.compile(
    words(
        "urgent|urgently|urgente|urgentemente|dringend|eilig|urgence|en urgence|high-prio|hi-prio|emergency|top prio",
        "紧急|加急|至急|緊急|急ぎ(?!ま|で)|大至急|特急",
    )
)


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
_PLAN_ONLY = re.compile(
    words(
        rf"(?:do not|don't|dont|without|not|never) (?:actually |really )?(?:{_ACT}|executing|running|"
        rf"launching|starting|applying|submitting|changing|provisioning)(?: (?:it|anything|them|"
        rf"any of it|this|yet|any changes|any jobs?|the plan))*(?= *(?:$|[.,;!?)\n:-]|yet|just|only|"
        rf"until i|before i|and|but|please|for now|without))|"
        "(?:report|come|get) back (?:to me )?(?:first|before)|(?:tell|show|ask|ping) me first|check with me (?:first|"
        "before)|"
        "(?:before|until) (?:you )?(?:do|doing|touch|touching|chang\\w+) anything|let me (?:decide|approve|confirm|"
        "review) "
        "(?:first|before)|(?:don't|do not) touch anything|"
        "dry[- ]?run|plan[- ]only|only (?:a |the |show |give me a |make a |draft a )?plan|just (?:a |"
        "the |give me a |make a |draft a |show me the |propose |show the )?(?:plan|proposal|estimate|"
        "quote)|no (?:changes|execution|launch(?:es|ing)?|action)(?: yet| for now| please)?|"
        "proposal only|propose only|recommendations? only|read[- ]only|hypothetically|simulate only|"
        "what[- ]if|nothing (?:should|must|is to) (?:be )?(?:launched|started|executed|run)|"
        "nicht (?:ausfuhren|starten)|nur (?:planen|ein plan|einen plan|den plan|schatzen|"
        "den vorschlag|vorschlagen)|noch nichts? (?:starten|ausfuhren)|ohne (?:ausfuhrung|"
        "es auszufuhren|zu starten)|"
        "solo (?:el |un |quiero el |dame el )?(?:plan|presupuesto estimado|una? estimacion)|"
        "no (?:lo |la |los |las )?(?:ejecutes?|lances?|inicies?|apliques?)(?: nada| aun| todavia)?|"
        "sin (?:ejecutar(?:lo)?|lanzar(?:lo)?)|"
        "seulement (?:un |le )?plan|juste (?:un |le )?(?:plan|devis)|n[e'] ?(?:rien |"
        "l')?(?:execute[rz]?|lance[rz]?)(?: pas| rien)?|sans (?:executer|lancer|rien lancer)|"
        "solo (?:il |un )?piano|non (?:eseguire|lanciare|avviare)|senza (?:eseguire|avviare)|"
        "apenas (?:o |um )?plano|nao (?:execute|inicie|lance)|sem executar",
        "不要(?:执行|启动|运行|实际执行|真的执行)|先不(?:要)?(?:执行|启动|运行)|只(?:要|需要?|给我?|"
        "做|出)(?:一个)?(?:计划|方案|估算)|仅(?:计划|方案)|别执行|実行(?:は)?し(?:ないで|なくて|"
        "ない)|計画(?:だけ|のみ)|見積もり?(?:だけ|のみ)|プランだけ|実行せず",
    )
)


def read_plan_only(shadow: Shadow) -> Fact[bool] | None:
    """Return the words that ask for a plan without acting on it."""
    match = _PLAN_ONLY.search(shadow.text)
    return Fact(True, (shadow.span(*match.span()),)) if match else None
