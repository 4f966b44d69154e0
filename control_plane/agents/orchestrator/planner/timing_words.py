"""Words around lengths and moments that tell a limit from a deadline, a start or neither."""

import re

from control_plane.agents.orchestrator.planner.shadow import Kind, mark, words

SMALL = (
    r"(?: (?:about|around|roughly|approximately|ca\.?|circa|the|next|the next|at most|max(?:imum)?|"
    r"no more than|a|an|another|total of|un|una|los|las|proximas|proximos|von|den|nachsten|maximal|"
    r"hochstens|les|prochaines|environ|le|prossime|as|nas|up to|~|<=?|only|just|exactly|genau|unos|"
    r"solo))*[ :=(~]{0,3}$"
)
NOT_BEFORE = re.compile(
    words(
        "every|each|last|past|previous|prior|recent|older than|idle(?: for)?(?: more than| over| >)?|"
        "unused for|over the (?:last|past)|in the (?:last|past)|during the (?:last|past)|"
        "for the (?:last|past)|since|after|checkpoint|checkpoints|checkpointing|retention|keep|"
        "newer than|down for|stuck for|running for|been running|queued for|waiting for|waited|"
        "for over|ago|uptime|used|spent|lasted|ran for|took|has run|already",
        "cada|letzten|vergangenen|alle|seit|vor|nach|ultim[oa]s|desde hace|hace|dernieres|derniers|"
        "toutes les|tous les|depuis|il y a|ogni|ultime|ultimi|da|a cada|nas ultimas|ha",
        "过去|最近|每隔?|毎|過去|直近|已经|已",
    )
    + r"(?: (?:the|of|a|an|about|more than|over))*[ :]?$"
)
EACH_TAKES = re.compile(
    r"(?<![a-z])(?:each|every|one|an?|per) [a-z]{2,16} (?:takes|needs|lasts|runs|is)(?: \w+){0,2} $"
)
NOT_AFTER = re.compile(
    r" ?-?(?:"
    + words(
        "ago|old|earlier|later|of (?:\\w+ ){0,2}(?:audio|video|speech|footage|recordings?|podcasts?|"
        "calls|music|data|driving|history|logs|telemetry|sensor|lectures|meetings|interviews|"
        "retention|material|film|radio|broadcasts?|training data)|audio|worth of|(?:\\w+ )?(?:audio|"
        "video|speech|footage|podcasts?|recordings)|interval|intervals|cadence|trend|history|average|"
        "moving|sla|per epoch|per step|an epoch|per job in|of context|forecast",
        "audio|aufnahmen|sprachaufnahmen|videomaterial|de (?:audio|video|voz|musica|grabaciones|"
        "parole|musique)|d'(?:audio|enregistrements)|di (?:audio|video|parlato|registrazioni)",
        "的?(?:音频|视频|录音|语音)|分?の(?:音声|動画|録音|データ)|ごと|おき|一次|前(?!に|まで)",
    )
    + ")"
)
START_BEFORE = re.compile(
    words(
        "start(?:ing|s)?|begin(?:ning|s)?|kick(?:ing)? (?:it )?off|launch(?:ing)?|go live|delay|"
        "delayed|postpone|wait|starte|beginne|empieza|comienza|commence|demarre|inizia|comece"
    )
    + r"(?: (?:it|them|this|the job|the run|only|up))?(?: (?:in|for|by|en|dans|tra|em))"
    + SMALL
)
STOP_AFTER = re.compile(
    words(
        "stop|kill|abort|terminate|end|cut(?: it)? off|give up|time ?out|shut (?:it )?down|halt|"
        "cancel|finish|stops|ends|auto-?stop|self-destruct"
    )
    + r"(?: \w+){0,3} after"
    + SMALL
)
STRONG_BEFORE = re.compile(
    words(
        "max|max\\.?|maximum|limit|limit(?:ed)?(?: to| of)?|cap|capped(?: at)?|at most|no (?:more|"
        "longer) than|not (?:more|longer) than|up to|timeout|time-?out|wall-?time|"
        "wall-?clock(?: limit)?|time ?limit(?: of)?|runtime(?: limit)?|max ?(?:run)?time|"
        "max ?duration|hard stop(?: at)?|stop after|under|less than|<=?|ceiling|tops",
        "maximo|como maximo|limite(?: de)?|no mas de|hasta|menos de|tope|maximal|hochstens|bis zu|"
        "langstens|zeitlimit|nicht langer als|limit[e]? a|au (?:maximum|plus)|pas plus de|plafonne a|"
        "limite a|massimo|al massimo|non piu di|fino a|limite di|no maximo|ate|nao mais de|"
        "durata massima",
        "最多|最长|不超过|上限|限制|最大|最長|制限",
    )
    + SMALL
)
STRONG_AFTER = re.compile(
    r" ?(?:"
    + words(
        "max|maximum|limit|cap|at most|tops|time ?limit|timeout|wall-?time|wall-?clock|ceiling|"
        "hard stop|or less|como maximo|maximo|max\\.|maximal|hochstens|au (?:maximum|plus)|"
        "al massimo|massimo|no maximo|limite",
        "以下|为限|上限|まで|以内(?!に)|封顶",
    )
    + ")"
)
DEADLINE_BEFORE = re.compile(
    words(
        "within|inside|in|in under|in less than|in no more than|under|finish(?:ed)? in|deadline|due|"
        "due in|eta|done in|ready in|complete[d]? in|turnaround|not later than|no later than",
        "en|en menos de|dentro de|en un plazo de|en las|en los|antes de|plazo|plazo de|innerhalb|"
        "innerhalb von|binnen|in weniger als|spatestens in|frist|in den|dans|dans les|en moins de|"
        "sous|d'ici|delai|entro|in meno di|nelle|tra|fra|em|em ate|em menos de|nas|daqui a|prazo|"
        "prazo de|nos",
        "截止|期限|在",
    )
    + SMALL
)
DEADLINE_AFTER = re.compile(
    r"(?:以|之)?内(?:に|完|结|跑|搞|训|做|处|,|\.|$)|以内に| ?(?:from now|after now|deadline|"
    r"turnaround|a partir de ahora|ab jetzt|ab sofort|a partir de agora|da adesso)"
)
FOR_NEXT = re.compile(
    words("for|run|over|durante|fur|pendant|per|por")
    + (
        r" (?:the |las |los |die |les |le )?(?:next|following|coming|proximas|proximos|nachsten|"
        r"prochaines|prossime)[ :]$"
    )
)
FOR_BEFORE = re.compile(
    words(
        "for|during|lasting|for about|durante|por|fur|pendant|per|per una durata di|lang|over|run|"
        "runs|running|time|hours|duration|dauer|duree|durata",
        "运行|跑|训练|持续|時間",
    )
    + SMALL
)
EACH_STEP = re.compile(
    words(
        "each (?:step|stage|job|task|phase)|every (?:step|stage|job|task)|per (?:step|stage|job|"
        "task)|a step|apiece|cada (?:paso|etapa|trabajo)|jeder schritt|pro schritt|chaque (?:etape|"
        "tache)|ogni passo|cada passo",
        "每一?步|各ステップ",
    )
)
MOMENT = mark(Kind.MOMENT)
CONNECT = (
    r"(?: (?:at|on|the|by|for|around|about|this|el|la|las|los|den|dem|der|um|am|le|les|il|lo|alle|as|a|"
    r"be|it|is|end|end of|ende|early|late|that|del|de|und zwar|next|no later than|coming|der|das|latest|"
    r"least|required|requested|wanted|target|targeted|date|time|sharp|strictly|absolutely|really|"
    r"no matter what))*[ :=(,]{0,3}$"
)
MOMENT_DEADLINE = re.compile(
    words(
        "hard stop|stop(?:s|ped)?(?: it)?|cut-?off|wrapped up|finalized|shut (?:it |them )?down|"
        "by|before|until|till|til|no later than|not later than|latest|due|due by|due date|deadline|"
        "finish|finished|finishes|complete|completed|done|ready|needed|need (?:it|this|them|that|"
        "results?)|deliver|delivered|at the latest|eta|ends?|ending|through|thru|back|expires?|"
        "needs? to (?:be )?(?:finish|done|complete)[a-z]*|in time for|ahead of|up to|results|must end",
        "antes del?|antes de las?|hasta|hasta las?|para|a mas tardar|como muy tarde|listo|limite|"
        "plazo|fecha limite|termine|acabe|bis|bis zum|vor|vor dem|spatestens|spatestens am|frist|"
        "fertig|avant|jusqu'a|jusqu'au|d'ici|d'ici a|pour|au plus tard|termine|fini|echeance|entro|"
        "entro le|prima di|prima delle|prima del|fino a|fino alle|scadenza|pronto|finito|ate|ate as|"
        "antes das|antes da|antes do|prazo|pronto|concluido|no maximo ate",
        "截止到?|截至|在|必须在|请在|期限[はが]?|締め?切り?[はが]?|最晚|直到|到|最迟",
    )
    + CONNECT
)
EVENT_DEADLINE = re.compile(
    words("before|by|for|ahead of|in time for|until|prior to")
    + r" (?:the|our|my|a|her|his|their) (?:[a-z-]{2,20} ){0,2}"
    + words(
        "demo|meetings?|reviews?|presentation|launch|conference|workshop|board|deadline|release|keynote|talk|call|exam|"
        "fair|stand-?up|submission|event|session|sync|show|hackathon|defen[cs]e|market open"
    )
    + r" (?:on |at |this |next |of |starts |begins |which is |is )*$"
)
"""An event that has a time: "before the board meeting on Friday 10:00"."""
MOMENT_DEADLINE_AFTER = re.compile(
    r" ?(?:"
    + words(
        "at (?:the )?(?:very )?latest|latest|deadline|is the deadline|cut-?off|at most|spatestens|"
        "a mas tardar|como muy tarde|au plus tard|al piu tardi|no mais tardar|fertig",
        "之前|以前|前|までに|まで|截止|结束|完成",
    )
    + ")"
)
DAY_END = re.compile(
    words(
        "cob|eod|eob|eow|eom|close of (?:business|play)|end of (?:the |this |next |business |play )?(?:day|week|month|"
        "business)|"
        "feierabend|tagesende|wochenende|monatsende"
    )
)
"""A moment that is named as an end stands for a deadline by itself."""
EXCLUSIVE = re.compile(
    words("before|ahead of|vor|vor dem|antes del?|antes da|antes do|avant|prima di|prima del") + CONNECT
)
MOMENT_START = re.compile(
    words(
        "start|starting|starts|begin|beginning|from|after|not before|no earlier than|earliest|"
        "schedule(?:d)?(?: (?!by|until|before)\\S{1,24}){1,4}? (?:for|at|on)|schedule(?:d)?(?: for| at)?|"
        "kick(?: it)? off|launch(?: it)?|wait until|"
        "don't start (?:before|until)|do not start (?:before|until)|hold (?:off )?until|not until|"
        "as of|run (?:it )?(?:at|on|tonight)",
        "ab|ab dem|beginn|starte|beginnend|nicht vor|fruhestens|desde|desde las|a partir del?|"
        "a partir de las|empieza|empezar|comienza|no antes de(?:l)?|a partir du|des|debut|pas avant|"
        "dal|dalle|a partire da|non prima di|a partir das?|comecando|nao antes de",
        "从|开始于|自",
    )
    + CONNECT
)
MOMENT_START_AFTER = re.compile(r" ?(?:から|以降|以后|之后|后开始|开始|起|onwards|onward|or later|に開始|にスタート)")
BETWEEN = re.compile(
    rf"(?:between|zwischen|entre|tra|from|von|de|das|des|dalle) (?:the |las |les |"
    rf"le )?({MOMENT}) ?(?:and|to|until|till|und|bis|y|a|et|e|alle|as|-|hasta las|ate) ?(?:the |"
    rf"las |les |le |as )?({MOMENT})"
)
THEN = re.compile(
    rf"(?P<moment>{MOMENT})[^\n]{{1,120}}?(?<![a-z])(?:until|till|til|by|before|bis|hasta|jusque|d'ici|entro|fino ad?)"
    rf" (?:then|that time|that|dahin|entonces|la|allora)(?![a-z])"
)
"""A moment that is named first and meant by "until then"."""
UP_TO = re.compile(words("by|until|till|bis|hasta|para|avant|d'ici|entro|ate") + CONNECT)
LATEST = re.compile(
    words("latest|deadline|due|hard|must|spatestens|frist|a mas tardar|au plus tard|entro", "截止|締め?切|期限")
)
NOT_SCHEDULED = re.compile(
    words(
        "pool|queue|partition|called|named|the|our|my|checkpoint(?:s|ing|ed)?|saves?|saving|logs?|logging|evals?|"
        "evaluates?|snapshots?|dumps?|syncs?|reports?|prints?"
    )
    + r"(?: (?:checkpoints?|state|weights|metrics|to \\S{1,24}|once|it|is|are|at least|about))*[ :(]{1,2}$"
)
PAST_START = re.compile(words("after|nach|despues de|apres|dopo|depois de") + r"[^.;\n]{0,12}$")
SCHEDULE = re.compile(
    words(
        rf"every (?:single )?(?:day|night|morning|evening|week|weekday|month|hour|"
        rf"{mark(Kind.DATE, Kind.DURATION, Kind.MOMENT)})(?:,? at {MOMENT})?|"
        rf"nightly(?: at {MOMENT})?|daily at {MOMENT}|weekly on {MOMENT}|each (?:night|day|"
        rf"morning|week)(?: at {MOMENT})?|on a schedule|cron|hourly(?= run| job)",
        f"cada (?:noche|dia|semana|hora|lunes)(?: a las? {MOMENT})?|jede (?:nacht|woche|stunde)|"
        f"jeden (?:tag|morgen|abend)(?: um {MOMENT})?|chaque (?:nuit|jour|semaine|matin)|"
        f"tous les (?:jours|soirs)|ogni (?:notte|giorno|settimana)|toda (?:noite|semana)|"
        f"todos os dias",
        f"每天(?:{MOMENT})?|每晚(?:{MOMENT})?|每周(?:{MOMENT})?|毎日(?:{MOMENT})?|毎晩(?:{MOMENT})?|毎週(?:{MOMENT})?",
    )
)
