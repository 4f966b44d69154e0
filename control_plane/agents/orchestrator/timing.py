"""Time limits, deadlines and start times: which role each length and moment plays."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from enum import Enum, auto

from control_plane.agents.orchestrator.dates import Moment
from control_plane.agents.orchestrator.facts import Fact
from control_plane.agents.orchestrator.moments import resolve
from control_plane.agents.orchestrator.shadow import Kind, Shadow, mark, words

_BEFORE_CHARS, _AFTER_CHARS = 56, 40
_MAX_SECONDS = 10 * 365 * 86_400


class _Role(Enum):
    LIMIT = auto()
    STRONG_LIMIT = auto()
    DEADLINE = auto()
    START = auto()
    NONE = auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """The time limit of a job; `conflicts` says when two different limits are given."""

    max_seconds: Fact[int] | None = None
    for_each: bool = False
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """When a goal may start and must be finished."""

    deadline_at: Fact[datetime] | None = None
    start_at: Fact[datetime] | None = None
    schedule: Fact[str] | None = None


_SMALL = r"(?: (?:about|around|roughly|approximately|ca\.?|circa|the|next|the next|at most|max(?:imum)?|no more than|a|an|another|total of|un|una|los|las|proximas|proximos|von|den|nachsten|maximal|hochstens|les|prochaines|environ|le|prossime|as|nas|up to|~|<=?|only|just|exactly|genau|unos|solo))*[ :=(~]{0,3}$"
_NOT_BEFORE = re.compile(
    words(
        "every|each|last|past|previous|prior|recent|older than|idle(?: for)?(?: more than| over| >)?|unused for|over the (?:last|past)|in the (?:last|past)|during the (?:last|past)|for the (?:last|past)|since|after|checkpoint|checkpoints|checkpointing|retention|keep|newer than|down for|stuck for|running for|been running|queued for|waiting for|waited|for over|ago|uptime|used|spent|lasted|ran for|took|has run|already",
        "cada|letzten|vergangenen|alle|seit|vor|nach|ultim[oa]s|desde hace|hace|dernieres|derniers|toutes les|tous les|depuis|il y a|ogni|ultime|ultimi|da|a cada|nas ultimas|ha",
        "过去|最近|每隔?|毎|過去|直近|已经|已",
    )
    + r"(?: (?:the|of|a|an|about|more than|over))*[ :]?$"
)
_NOT_AFTER = re.compile(
    r" ?-?(?:" + words(
        "ago|old|earlier|later|of (?:\\w+ ){0,2}(?:audio|video|speech|footage|recordings?|podcasts?|calls|music|data|driving|history|logs|telemetry|sensor|lectures|meetings|interviews|retention|material|film|radio|broadcasts?|training data)|audio|worth of|(?:\\w+ )?(?:audio|video|speech|footage|podcasts?|recordings)|interval|intervals|cadence|trend|history|average|moving|sla|per epoch|per step|an epoch|per job in|of context|forecast",
        "audio|aufnahmen|sprachaufnahmen|videomaterial|de (?:audio|video|voz|musica|grabaciones|parole|musique)|d'(?:audio|enregistrements)|di (?:audio|video|parlato|registrazioni)",
        "的?(?:音频|视频|录音|语音)|分?の(?:音声|動画|録音|データ)|ごと|おき|一次|前(?!に|まで)",
    ) + ")"
)
_START_BEFORE = re.compile(words("start(?:ing|s)?|begin(?:ning|s)?|kick(?:ing)? (?:it )?off|launch(?:ing)?|go live|delay|delayed|postpone|wait|starte|beginne|empieza|comienza|commence|demarre|inizia|comece") + r"(?: (?:it|them|this|the job|the run|only|up))?(?: (?:in|for|by|en|dans|tra|em))" + _SMALL)
_STOP_AFTER = re.compile(words("stop|kill|abort|terminate|end|cut(?: it)? off|give up|time ?out|shut (?:it )?down|halt|cancel|finish|stops|ends|auto-?stop|self-destruct") + r"(?: \w+){0,3} after" + _SMALL)
_STRONG_BEFORE = re.compile(
    words(
        "max|max\\.?|maximum|limit|limit(?:ed)?(?: to| of)?|cap|capped(?: at)?|at most|no (?:more|longer) than|not (?:more|longer) than|up to|timeout|time-?out|wall-?time|wall-?clock(?: limit)?|time ?limit(?: of)?|runtime(?: limit)?|max ?(?:run)?time|max ?duration|hard stop(?: at)?|stop after|under|less than|<=?|ceiling|tops",
        "maximo|como maximo|limite(?: de)?|no mas de|hasta|menos de|tope|maximal|hochstens|bis zu|langstens|zeitlimit|nicht langer als|limit[e]? a|au (?:maximum|plus)|pas plus de|plafonne a|limite a|massimo|al massimo|non piu di|fino a|limite di|no maximo|ate|nao mais de|durata massima",
        "最多|最长|不超过|上限|限制|最大|最長|制限",
    )
    + _SMALL
)
_STRONG_AFTER = re.compile(r" ?(?:" + words("max|maximum|limit|cap|at most|tops|time ?limit|timeout|wall-?time|wall-?clock|ceiling|hard stop|or less|como maximo|maximo|max\\.|maximal|hochstens|au (?:maximum|plus)|al massimo|massimo|no maximo|limite", "以下|为限|上限|まで|以内(?!に)|封顶") + ")")
_DEADLINE_BEFORE = re.compile(
    words(
        "within|inside|in|in under|in less than|in no more than|under|finish(?:ed)? in|deadline|due|due in|eta|done in|ready in|complete[d]? in|turnaround|not later than|no later than",
        "en|en menos de|dentro de|en un plazo de|en las|en los|antes de|plazo|plazo de|innerhalb|innerhalb von|binnen|in weniger als|spatestens in|frist|in den|dans|dans les|en moins de|sous|d'ici|delai|entro|in meno di|nelle|tra|fra|em|em ate|em menos de|nas|daqui a|prazo|prazo de|nos",
        "截止|期限|在",
    )
    + _SMALL
)
_DEADLINE_AFTER = re.compile(r"(?:以|之)?内(?:に|完|结|跑|搞|训|做|处|，|,|。|\.|$)|以内に| ?(?:from now|after now|deadline|turnaround|a partir de ahora|ab jetzt|ab sofort|a partir de agora|da adesso)")
_FOR_NEXT = re.compile(words("for|run|over|durante|fur|pendant|per|por") + r" (?:the |las |los |die |les |le )?(?:next|following|coming|proximas|proximos|nachsten|prochaines|prossime)[ :]$")
_FOR_BEFORE = re.compile(words("for|during|lasting|for about|durante|por|fur|pendant|per|per una durata di|lang|over|run|runs|running|time|hours|duration|dauer|duree|durata", "运行|跑|训练|持续|時間") + _SMALL)
_EACH_STEP = re.compile(words("each (?:step|stage|job|task|phase)|every (?:step|stage|job|task)|per (?:step|stage|job|task)|a step|apiece|cada (?:paso|etapa|trabajo)|jeder schritt|pro schritt|chaque (?:etape|tache)|ogni passo|cada passo", "每一?步|各ステップ"))


def _contexts(shadow: Shadow, at: int) -> tuple[str, str]:
    """Return the words around a mark, up to the ends of its sentence."""
    before = shadow.text[max(0, at - _BEFORE_CHARS) : at]
    cut = max((before.rfind(stop) for stop in ("\n", ";", ". ", "! ", "? ")), default=-1)
    after = shadow.text[at + 1 : at + 1 + _AFTER_CHARS]
    return before[cut + 1 :] if cut >= 0 else before, after


def _duration_role(before: str, after: str) -> _Role:  # noqa: C901, PLR0911 - one ordered table of cues
    if _START_BEFORE.search(before):
        return _Role.START
    if _STOP_AFTER.search(before):
        return _Role.STRONG_LIMIT
    if _FOR_NEXT.search(before):
        return _Role.LIMIT
    if _NOT_BEFORE.search(before) or _NOT_AFTER.match(after):
        return _Role.NONE
    if _DEADLINE_AFTER.match(after):
        return _Role.DEADLINE
    strong = _STRONG_BEFORE.search(before)
    deadline = _DEADLINE_BEFORE.search(before)
    if deadline and (not strong or deadline.start() <= strong.start() or "in under" in before):
        return _Role.DEADLINE
    if strong or _STRONG_AFTER.match(after):
        return _Role.STRONG_LIMIT
    return _Role.LIMIT


def read_limits(shadow: Shadow) -> Limits:
    """Read the time limit of the job that one part of a goal describes."""
    found: list[tuple[_Role, int, Fact[int]]] = []
    for_each = False
    for at, seconds in shadow.marks(Kind.DURATION):
        before, after = _contexts(shadow, at)
        role = _duration_role(before, after)
        if role in (_Role.LIMIT, _Role.STRONG_LIMIT) and 0 < seconds <= _MAX_SECONDS:
            found.append((role, at, Fact(_whole(seconds), (shadow.span(at, at + 1),))))
            for_each = for_each or bool(_EACH_STEP.search(before + " | " + after))
    strong = [fact for role, _, fact in found if role is _Role.STRONG_LIMIT]
    facts = strong or [fact for role, at, fact in found if _FOR_BEFORE.search(_contexts(shadow, at)[0])] or [f for _, _, f in found]
    if not facts:
        return Limits()
    distinct = {fact.value for fact in (strong or facts[:1])}
    conflicts = ("Two different time limits are given.",) if len(distinct) > 1 else ()
    return Limits(min(strong or facts[:1], key=lambda fact: fact.value), for_each, conflicts)


def _whole(seconds: Decimal) -> int:
    return max(1, int(seconds))


_MOMENT = mark(Kind.MOMENT)
_CONNECT = r"(?: (?:at|on|the|by|for|around|about|this|el|la|las|los|den|dem|der|um|am|le|les|il|lo|alle|as|a|be|it|is|end|end of|ende|early|late|that|del|de|und zwar|next|no later than|coming|der|das|latest|least))*[ :=(,]{0,3}$"
_MOMENT_DEADLINE = re.compile(
    words(
        "by|before|until|till|til|no later than|not later than|latest|due|due by|due date|deadline|finish|finished|finishes|complete|completed|done|ready|needed|need (?:it|this|them|that|results?)|deliver|delivered|at the latest|eta|ends?|ending|through|thru|back|expires?|needs? to (?:be )?(?:finish|done|complete)[a-z]*|in time for|ahead of|up to|results|must end",
        "antes del?|antes de las?|hasta|hasta las?|para|a mas tardar|como muy tarde|listo|limite|plazo|fecha limite|termine|acabe|bis|bis zum|vor|vor dem|spatestens|spatestens am|frist|fertig|avant|jusqu'a|jusqu'au|d'ici|d'ici a|pour|au plus tard|termine|fini|echeance|entro|entro le|prima di|prima delle|prima del|fino a|fino alle|scadenza|pronto|finito|ate|ate as|antes das|antes da|antes do|prazo|pronto|concluido|no maximo ate",
        "截止到?|截至|在|必须在|请在|期限[はが]?|締め?切り?[はが]?|最晚|直到|到|最迟",
    )
    + _CONNECT
)
_MOMENT_DEADLINE_AFTER = re.compile(r" ?(?:" + words("at (?:the )?(?:very )?latest|latest|deadline|is the deadline|cut-?off|at most|spatestens|a mas tardar|como muy tarde|au plus tard|al piu tardi|no mais tardar|fertig", "之前|以前|前|までに|まで|截止|结束|完成") + ")")
_EXCLUSIVE = re.compile(words("before|ahead of|vor|vor dem|antes del?|antes da|antes do|avant|prima di|prima del") + _CONNECT)
_MOMENT_START = re.compile(
    words(
        "start|starting|starts|begin|beginning|from|after|not before|no earlier than|earliest|schedule(?:d)?(?: for| at)?|kick(?: it)? off|launch(?: it)?|wait until|don't start (?:before|until)|do not start (?:before|until)|hold (?:off )?until|not until|as of|run (?:it )?(?:at|on|tonight)",
        "ab|ab dem|beginn|starte|beginnend|nicht vor|fruhestens|desde|desde las|a partir del?|a partir de las|empieza|empezar|comienza|no antes de(?:l)?|a partir du|des|debut|pas avant|dal|dalle|a partire da|non prima di|a partir das?|comecando|nao antes de",
        "从|开始于|自",
    )
    + _CONNECT
)
_MOMENT_START_AFTER = re.compile(r" ?(?:から|以降|以后|之后|后开始|开始|起|onwards|onward|or later|に開始|にスタート)")
_BETWEEN = re.compile(rf"(?:between|zwischen|entre|tra|from|von|de|das|des|dalle) (?:the |las |les |le )?({_MOMENT}) ?(?:and|to|until|till|und|bis|y|a|et|e|alle|as|-|hasta las|ate) ?(?:the |las |les |le |as )?({_MOMENT})")
_PAST = re.compile(words("last|yesterday|since|on|ago") + r"[ :]$")
_SCHEDULE = re.compile(
    words(
        rf"every (?:single )?(?:day|night|morning|evening|week|weekday|month|hour|{mark(Kind.DATE, Kind.DURATION, Kind.MOMENT)})(?:,? at {_MOMENT})?|nightly(?: at {_MOMENT})?|daily at {_MOMENT}|weekly on {_MOMENT}|each (?:night|day|morning|week)(?: at {_MOMENT})?|on a schedule|cron|hourly(?= run| job)",
        f"cada (?:noche|dia|semana|hora|lunes)(?: a las? {_MOMENT})?|jede (?:nacht|woche|stunde)|jeden (?:tag|morgen|abend)(?: um {_MOMENT})?|chaque (?:nuit|jour|semaine|matin)|tous les (?:jours|soirs)|ogni (?:notte|giorno|settimana)|toda (?:noite|semana)|todos os dias",
        f"每天(?:{_MOMENT})?|每晚(?:{_MOMENT})?|每周(?:{_MOMENT})?|毎日(?:{_MOMENT})?|毎晩(?:{_MOMENT})?|毎週(?:{_MOMENT})?",
    )
)


def read_window(shadow: Shadow, now: datetime, default: tzinfo) -> Window:
    """Read start and deadline from moments ("by Friday 9am") and lengths ("within 36 hours")."""
    schedule_match = _SCHEDULE.search(shadow.text)
    schedule = Fact(shadow.words(*schedule_match.span()), (shadow.span(*schedule_match.span()),)) if schedule_match else None
    scheduled = range(*schedule_match.span()) if schedule_match else range(0)
    deadlines: list[Fact[datetime]] = []
    starts: list[Fact[datetime]] = []
    between = _BETWEEN.search(shadow.text)
    for at, moment in shadow.marks(Kind.MOMENT):
        role, exclusive = _moment_role(shadow, at, between)
        if at in scheduled or role is _Role.NONE:
            continue
        fact = _resolved(shadow, at, moment, now, default, exclusive=exclusive)
        if fact is not None:
            (starts if role is _Role.START else deadlines).append(fact)
    for at, seconds in shadow.marks(Kind.DURATION):
        role = _duration_role(*_contexts(shadow, at))
        if role in (_Role.DEADLINE, _Role.START) and 0 < seconds <= _MAX_SECONDS:
            fact = Fact(now + timedelta(seconds=float(seconds)), (shadow.span(at, at + 1),))
            (starts if role is _Role.START else deadlines).append(fact)
    earliest: Callable[[Fact[datetime]], datetime] = lambda fact: fact.value  # noqa: E731 - a key for min
    return Window(min(deadlines, key=earliest, default=None), min(starts, key=earliest, default=None), schedule)


def any_moment(shadow: Shadow, now: datetime, default: tzinfo) -> Fact[datetime] | None:
    """Read the first moment or length whatever stands around it, for an answer to "by when?"."""
    for at, moment in shadow.marks(Kind.MOMENT):
        return _resolved(shadow, at, moment, now, default, exclusive=False)
    for at, seconds in shadow.marks(Kind.DURATION):
        if 0 < seconds <= _MAX_SECONDS:
            return Fact(now + timedelta(seconds=float(seconds)), (shadow.span(at, at + 1),))
    return None


def _moment_role(shadow: Shadow, at: int, between: re.Match[str] | None) -> tuple[_Role, bool]:
    if between is not None and at in (between.start(1), between.start(2)):
        return (_Role.START if at == between.start(1) else _Role.DEADLINE), False
    before, after = _contexts(shadow, at)
    start, deadline = _MOMENT_START.search(before), _MOMENT_DEADLINE.search(before)
    if _MOMENT_START_AFTER.match(after) or (start and not (deadline and deadline.start() > start.start())):
        return _Role.START, False
    if deadline or _MOMENT_DEADLINE_AFTER.match(after):
        return _Role.DEADLINE, bool(_EXCLUSIVE.search(before))
    return _Role.NONE, False


def _resolved(shadow: Shadow, at: int, moment: Moment, now: datetime, default: tzinfo, *, exclusive: bool) -> Fact[datetime] | None:
    value = resolve(moment, now, default, exclusive=exclusive)
    return Fact(value, (shadow.span(at, at + 1),)) if value is not None else None
