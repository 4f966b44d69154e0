"""What is refused, as pairs of word classes: a verb that does harm near the thing it would harm."""

import re

from control_plane.agents.orchestrator.planner import harm_words as harm
from control_plane.agents.orchestrator.planner import safety_words as unsafe
from control_plane.agents.orchestrator.planner.shadow import Kind, mark, words

NEGATED = re.compile(
    words(
        "don't|do not|dont|never|without|not|must not|mustn't|shouldn't|should not|can't|cannot|"
        "won't|avoid|instead of|rather than|no need to|no",
        "no|sin|nunca|nicht|ohne|niemals|ne|sans|jamais|non|senza|mai|nao|sem",
        "不要|不能|别|请勿|不会|しないで|せずに",
    )
    + (
        r"(?: (?:ever|to|be|please|just|you|actually|accidentally|even|under any circumstances|try to|"
        r"attempt to))* ?$"
    )
)
NEGATED_AFTER = re.compile(
    r"[^.!?\n]{0,12}(?:しないで|せずに|しない|なしで|ずに)|"
    r"[^.,;!?\n]{0,24}? (?:nicht|auf keinen fall|niemals)(?= ?(?:$|[.,;!\n]))"
)
INQUIRY = re.compile(
    r"(?:^|[.!?\n] ?)(?:hi|hey|hello|please|so|also|quick question|question|[,:!-]| )*"
    + words(
        "why|who|what|when|which|where|did|was|were|has|have|had|is|are|does|how many|how much|"
        "how often|how (?:does|do|did|is|are|was|were)|explain|describe|show me (?:who|when|which|"
        "why|how)|list (?:who|which|when)|tell me (?:who|when|which|why|whether|if)|por que|quien|"
        "cuando|que|warum|wer|wann|welche[rs]?|pourquoi|qui|quand|quel(?:le)?s?|perche|chi|quando|"
        "quale",
        "为什么|谁|什么时候|哪些|なぜ|誰が|いつ",
    )
    + r"(?![^.!?\n]{0,40}"
    + words("how (?:can|do|could) i|keys?|passwords?|secrets?|credentials?|密码|密钥|パスワード")
    + r")"
)
MANNER = r"(?:{first}{gap}{second}|{second}{back}{first})"
SOV_GAP = r"(?=[^\x00-\x7f])[^.;!?\n ]{0,10}?"
GUARD_OFF = re.compile(MANNER.format(first=unsafe.SWITCH_OFF, gap=harm.SHORT, second=unsafe.GUARD, back=SOV_GAP))
GUARD_OFF_STATE = re.compile(
    unsafe.GUARD_STRICT
    + r"(?: (?:thing|stuff|part|bit|nonsense|step|business))? ?(?:should be |must be |to be |to |=|: ?|is to be |"
    r"set to )? ?"
    + words(
        "off|disabled|false|none|go away|gone|disappear|out of the way|inactive|not (?:be )?(?:active|"
        "enforced|applied)|no longer (?:needed|enforced|required|active|apply)|turned off|switched off|aus|"
        "desactivad[oa]s?|desactivee?s?|"
        "disattivat[ei]|desativad[oa]s?"
    )
    + r"(?! (?:by default|yesterday|last))"
)
GUARD_PASSIVE = re.compile(
    rf"(?:{unsafe.GUARD}|(?<!wandb )(?<!debug )(?<!verbose )(?<!metrics )(?<!tensorboard )(?<![a-z])logging(?![a-z]))"
    r" (?:can|could|may|might|should|must|shall|will|has to|have to|needs? to|is to|are to|to) (?:be |"
    r"get )(?:\w+ly )?"
    r"(?:tricked|fooled|bypassed|circumvented|evaded|disabled|skipped|avoided|beaten|gamed|overridden|"
    r"worked around|switched off|"
    r"turned off|ignored|lifted|waived|suspended|removed|defeated|cheated|dodged|outsmarted|deactivated)(?![a-z])"
)
GUARD_NONE = re.compile(
    words("no|without|w/o|minus|zero|keine|ohne|sin|sans|senza|sem")
    + r"(?: (?:any|more|active|the|all|alle|die|ningun[ao]?|les|aucun))? "
    + words(
        "guard-?rails?|safety (?:checks?|limits?|rails|net|governor)|policy (?:checks?|enforcement)|"
        "audit (?:logging|log|trail)|safeguards|kill[- ]?switch|leitplanken|salvaguardas|garde-fous|"
        "barreras"
    )
)
GUARD_SPLIT = re.compile(
    r"(?<![a-z])(?:turn|switch|shut|take|put)(?: [\w'-]+){0,3}? ?"
    + unsafe.GUARD
    + r"(?: [\w'-]+){0,2}? (?:off|down|out of service)(?![a-z])"
)
GUARD_STOP = re.compile(
    MANNER.format(first=unsafe.SWITCH_OFF_WEAK, gap=r"(?: \S{1,24}){0,3}? ?", second=unsafe.GUARD_STRICT, back=SOV_GAP)
)
RULES_OFF = re.compile(
    MANNER.format(
        first=words(
            "ignore|disregard|forget|override|bypass|break|drop|violate|ignora|olvida|ignoriere|"
            "vergiss|ignorez|oublie|oubliez|dimentica|esqueca|ignorar",
            "忽略|无视|忘记|無視|忘れ",
        ),
        gap=r"(?: [\w'-]+){0,3}? ?",
        second=unsafe.INSTRUCTIONS,
        back=r"を?",
    )
)
QUOTA_UP = re.compile(
    MANNER.format(first=unsafe.RAISE, gap=r"(?: [\w'-]+){0,4}? ?(?:的)?", second=unsafe.QUOTA, back=SOV_GAP)
)
BUDGET_UP = re.compile(
    rf"[ \n]*(?:(?:please|pls|can you|could you|now)[ ,]*)*{unsafe.RAISE} (?:my|our|the|his|her|their|"
    r"[a-z0-9.@-]{1,40}(?:'s)?) (?:own |team |monthly |weekly |daily |total |gpu )*(?:budgets?|spending|allowance|"
    rf"presupuesto)(?: limit| cap)?(?: (?:to|by|up to|from|auf|um|a|de) ?(?:{mark(Kind.MONEY, Kind.NUMBER)} ?%?|"
    r"unlimited|infinity)){0,2}(?: (?:please|pls|now|asap))?[ .!\n]*"
)
"""A change of a standing budget, where it is all that a goal says; "budget to $40" beside work is that work's own."""
SECRETS = re.compile(MANNER.format(first=harm.TAKE, gap=harm.SHORT, second=harm.SECRET, back=SOV_GAP))
DATA_LOSS = re.compile(
    MANNER.format(first=harm.DESTROY, gap=r"(?P<between>[^.;!?\n,]{0,40}?)", second=harm.DATA, back=SOV_GAP)
)
FLEET_LOSS = re.compile(MANNER.format(first=harm.DESTROY, gap=r"(?: [\w'-]+){0,2}? ?", second=harm.FLEET, back=SOV_GAP))
SETTING = re.compile(
    r"s? (?:interval|frequency|cadence|size|format|path|names?|loader|schema|every|quality|type|column|split|"
    r"augment\w*)"
)
FORMAT = re.compile(
    r"(?<![a-z])(?:re-?)?format(?:ting)? (?:\S{1,24} ){0,4}?(?:disks?|drives?|volumes?|file ?systems?|"
    r"partitions?|nodes?|hosts?|ssds?|nvmes?|storage)(?![a-z])"
)
OTHERS_KEY = re.compile(
    r"(?<![a-z])(?:use|using|with|try) (?!my |our |your |a )(?:\S{1,24} ){0,4}?(?:passwords?|credentials|"
    r"private keys?|root keys?|login)(?![a-z]| (?:manager|strength|model|dataset))"
)
BORROWED_KEY = re.compile(
    r"(?<![a-z])(?:with|using|use|via|through|under) (?!today|yesterday|tomorrow|it|that|this|let|nvidia|"
    r"hugging)[a-z-]{2,20}'s "
    r"(?:[\w'-]+ ){0,2}?(?:keys?|tokens?|badge|pin|signature|certificate|login|password|credentials?|account|identity)"
    r"(?! (?:model|dataset|checker))(?![a-z])"
)
"""Keys that belong to somebody named."""
OUT_TO = re.compile(
    rf"(?<![a-z])(?:upload|send|post|push|copy|transfer|sync|"
    rf"ship)(?![a-z])[^.;!?\n]{{0,24}}? to (?P<to>{mark(Kind.NAME)})"
)
PRIVATE = re.compile(
    r"(?<![a-z])(?:all users|everyone|everybody|every user|other teams?|customers?|users?' data|user data|"
    r"secrets?|weights)(?![a-z])"
)
PRIVATE_PATH = re.compile(r"/(?:home|etc|root|shared|mnt|var)(?:/|$)")
MAIL = re.compile(
    r"(?<![a-z])(?:send|e-?mail|forward|mail|upload|copy|leak|ship)(?![a-z])[^.;!?\n]{0,48}?(?:data|"
    r"datasets?|weights|checkpoints?|"
    rf"records|models?|code|documents)(?![a-z])[^.;!?\n]{{0,24}}? to (?P<to>{mark(Kind.NAME)})"
)
TAKEN_HOME = re.compile(
    r"(?<![a-z])(?:upload|send|post|push|copy|transfer|sync|ship|move|mirror|export|download|save|back ?up|dump|"
    r"put|forward|"
    r"e-?mail|share)(?:ing)?(?![a-z])(?! my | our own )[^.;!?\n]{1,64}? (?:to|on|onto|into|in|with|at) (?:my|an?|"
    r"his|her|their|"
    r"some|the) (?:[\w'-]+ )?(?:(?:personal|private|home|own|external|outside) (?:[\w'-]+ )?(?:g-?drive|drive|"
    r"dropbox|laptop|"
    r"usb|phone|gmail|e-?mail|mail|github|account|onedrive|icloud|server|nas|pc|computer|machine|storage|disk|stick|webserver|"
    r"website|repo(?:sitory)?|cloud)|dropbox|gdrive|google drive|gmail|onedrive|icloud|usb (?:stick|drive|key)|"
    r"competitors?|journalists?|telegram|discord|wetransfer|pastebin)(?![a-z])"
)
"""Taking what belongs to the company to where only one person reaches it."""
FLOOD = re.compile(
    r"(?<![a-z])(?:flood|hammer|bombard|overwhelm|overload|swamp|knock (?:over|out|offline)|saturate|choke|"
    r"spam)(?:ing)?"
    r"(?! (?:our|my|it|the (?:own|staging|test|endpoint|gpus?|nodes?))(?![a-z])) (?:\S{1,24} ){1,6}?(?:with|"
    r"by|using) "
    r"(?:[\w'-]+ ){0,3}?(?:requests?|traffic|packets|calls|queries|connections|messages|mails?|spam)(?![a-z])"
)
WIPE_NODE = re.compile(
    r"(?<![a-z])(?:wipe|nuke|erase|brick|destroy|obliterate|trash|format|reformat|shred|zap)(?:ing)? (?:the |our )?"
    rf"(?:node |host |machine |server |box )?(?P<node>{mark(Kind.NAME)})"
)
OTHERS_WHATEVER = re.compile(
    rf"(?:{unsafe.DISTURB}) (?:whatever|anything|everything|what|all|all that|everything that|anything that) "
    rf"(?:{unsafe.OTHERS}|{unsafe.NAMED_OTHER}|(?:the |that )?[a-z]{{2,16}} (?:team|group|guys|people|folks|lab)) "
    r"(?:is|are|has|have|runs?|started|launched|submitted|queued|owns?)(?![a-z])"
)
SET_HUGE = re.compile(
    r"(?<![a-z])(?:set|change|put|make|raise|bump|increase) (?:[\w'-]+ ){0,3}?(?:budget|limits?|caps?|quotas?|spend\w*)"
    rf"(?: [\w'-]+)? (?:to|at|=) ?(?P<n>{mark(Kind.NUMBER, Kind.MONEY)})"
)
ADOPTED = re.compile(
    r"(?<![a-z])(?:do|follow|execute|carry out|apply|obey|act on|comply with|perform|implement|run)(?: exactly|"
    r" just| precisely)?"
    r" (?:(?:as|what|whatever|everything|all that|that) )?(?:it|that|this|he|she|they|the|its|their|these|those)"
    r"(?: (?:message|note|log|e-?mail|text|comment|ticket|readme|label|vendor|instructions?|steps?|line))?"
    r"(?: (?:says?|said|asks?|tells?|told|instructs?|demands?|wants?|requests?|suggests?|instructions?|advice|"
    r"steps?)|[.!]|$)"
)
"""Wishing what a quotation says."""
TABLE_LOSS = re.compile(
    r"(?<![a-z])(?:drop|truncate|delete|wipe|purge|erase|empty) (?:the |our |all |every )?(?:[\w'-]+ ){0,2}?"
    r"(?:tables?(?! (?:of|cells?|rows?|columns?|classif\w*|detect\w*))|schemas?|index(?:es)? of the database)(?![a-z])|"
    r"(?<![a-z])(?:erase|delete|wipe|remove|clear|destroy|purge|scrub|shred|clean|get rid of)(?:ing)? (?:(?:the|"
    r"all|any|our|my|every)"
    r" )*(?:(?:incident|security|access|activity|action|event|login|command|governor|approval|"
    r"operator) (?:[\w'-]+ )?(?:logs?|history|"
    r"records?|entries)|evidence|traces|logs? (?:of|about|from|for) (?:the |our |yesterday's |last |this |"
    r"my )*(?:[\w'-]+ )?"
    r"(?:incident|outage|breach|actions?|approvals?|changes|launch(?:es)?|access|logins?|audit)|"
    r"(?:shell |bash |command )history)(?![a-z])"
)
LIMIT_OFF = re.compile(
    r"(?<![a-z])(?:set|change|put|make|raise|switch) (?:the |my |our |its )?(?:[\w'-]+ ){0,3}?(?:budget|limits?|"
    r"caps?|quotas?|spend\w*)"
    r"(?: \w+)? (?:to )?(?:unlimited|infinit\w*|none|disabled|999\d*)(?![a-z])"
)
GATE_OFF = re.compile(
    r"(?:approval|policy|guardrails?|audit|governor|safety)[ a-z-]{0,20} ?(?:=|:|to) ?(?:false|off|no|none|"
    r"disabled|0)(?![a-z])"
)
EVICT = re.compile(
    r"(?<![a-z])(?:kick|throw|lock|boot) (?:everyone|everybody|people|the others|others|"
    r"all (?:the )?(?:others|users)|the rest)(?: \w+)? (?:out|off)(?![a-z])|"
    r"(?<![a-z])(?:evict|kick (?:[\w'-]+ ){0,2}out|kick out|throw out|boot out|lock out|"
    r"ban)(?![a-z])[^.;!?\n]{0,16}?(?:team|users?|"
    r"everyone|people|researchers?|tenants?|group)(?![a-z])"
)
ALL_AT_ONCE = re.compile(
    r"(?<![a-z])(?:reboot|restart|drain|reset|power[- ]?cycle|cordon)(?![a-z])(?: \w+)? (?:all|"
    r"every)(?: [\w'-]+){0,2}? (?:nodes?|hosts?|machines?|servers?|gpus)(?![a-z])"
    r"(?! (?:in|of|from) (?:the )?pool| one by one| one at a time|"
    r" gradually)[^.;!?\n]{0,24}?(?:at (?:the same time|once)|now|immediately|simultaneously|right away|$)"
)
TEAR_DOWN = re.compile(
    r"(?<![a-z])(?:destroy|wipe|nuke|erase|obliterate|annihilate|sabotage|burn down|tear down|brick|"
    r"trash)(?![a-z]) (?:[\w'-]+ ){0,3}?(?:clusters?|fleet|environments?|pools?|infrastructure|platform|nodes?|"
    r"hosts?|servers?)(?![a-z])"
)
EXPOSE = re.compile(
    r"(?<![a-z])(?:open(?: up)? (?:the |all )?(?:firewall|ports)|(?:expose|"
    r"open)(?: [\w'-]+){1,4}? to the (?:public|internet|outside)(?! api))(?![a-z])"
)
SECRET_PATH = re.compile(
    r"/etc/(?:shadow|passwd|sudoers)|id_rsa|id_ed25519|\.ssh/|\.aws/credentials|kube/?config|"
    r"/run/secrets|/proc/\d*/?environ|\.env$|\.netrc"
)
RM = re.compile(r"(?<![a-z])rm -[a-z]*r[a-z]*(?![a-z])")
OTHER = rf"(?:{unsafe.OTHERS}|{unsafe.NAMED_OTHER})"
OTHERS_WORK = re.compile(
    rf"{unsafe.DISTURB}(?: (?!my |our |own )\w+){{0,3}}? ?(?:{OTHER}(?: [a-z-]+| {mark(Kind.NUMBER)}){{0,3}}? ?(?:"
    rf"{unsafe.WORK}|gpus?|nodes?|{mark(Kind.NAME)})|{unsafe.WORK} (?:of|from|by|belonging to|"
    rf"owned by|submitted by|de|von|des|di|da|do) (?:the |los |les |)?(?!my |our |me|"
    rf"mine)(?:{OTHER}|[a-z]{{2,16}} team|team [a-z]+|user [a-z]+|other))|"
    rf"(?:{unsafe.OTHERS})(?:{unsafe.WORK})?を?(?:全部|都|すべて|全て)?(?:{unsafe.DISTURB})"
)
EVERYONES_WORK = re.compile(
    rf"{unsafe.DISTURB}(?: [\w'-]+){{0,2}}? (?:every|all|any)(?: (?:of )?(?:the )?(?:running|other|"
    rf"active|queued))*(?: [a-z]+)?? {unsafe.WORK} (?:on|in|across|of) (?:the |our )?(?:whole |"
    rf"entire )?(?:cluster|fleet|company|production|prod|everyone|platform|all (?:users|teams))|"
    rf"{unsafe.DISTURB}(?: (?:every|all))(?: (?:the|running|of the))* {unsafe.WORK} (?:except|but|"
    rf"other than) (?:mine|my|ours?)"
)
PURSE = re.compile(
    rf"(?:{unsafe.SPEND})(?: [\w'-]+){{0,4}}? ?(?:{OTHER})(?: [a-z-]+){{0,3}}? ?{unsafe.PURSE}|"
    rf"(?:{unsafe.SPEND}) ?(?:{unsafe.OTHERS}){unsafe.PURSE}|"
    rf"(?:{unsafe.OTHERS}){unsafe.PURSE}[にをで]{{0,2}}(?:{unsafe.SPEND})|(?:from|against|to|on|"
    rf"on the|out of|with|by) (?:{OTHER}) (?:[a-z-]+ )?(?:budget|credits|quota|account|credentials?|"
    rf"login|token|reservation|cost cent(?:er|re))"
)
FREE_PAST = words(
    "from|into|with|that|which|while|after|before|when|if|once|jobs?|cache|caches|duplicates?|"
    "outliers?|noise|layers?|columns?|rows?|stopwords|labels?|nulls?|pii|header|headers|bias|"
    "background|silence|job|run|task|trial|node|checkpointing|memory|idle|failed|stuck|hung|my own|"
    "mine|for|and|on (?=demand)|desde|aus|depuis"
)
