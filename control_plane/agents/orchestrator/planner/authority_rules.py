"""What nobody may ask for in their own cause: approving oneself, slipping under limits, taking all from the rest."""

import re

from control_plane.agents.orchestrator.planner import harm_words as harm
from control_plane.agents.orchestrator.planner.shadow import words

_APPROVE = words(
    "(?:self-?)?approve|approving|sign off(?: on)?|signing off(?: on)?|green-?light|rubber-?stamp|wave through|okay|"
    "countersign|authori[sz]e",
    "genehmig(?:e|st|en)|bestatig(?:e|en)|erteile|aprueb(?:a|es|ame)|aprobar|autoriza(?:me|r)?|approuve[rz]?|"
    "valide[rz]?|autorise[rz]?|approva(?:re|mi)?|autorizza(?:re)?|convalida(?:re)?|aprov(?:a|e|ar)|autoriz(?:e|ar)",
    "批准|通过|同意|审批通过|承認",
)
_OWN = words(
    "my|my own|our own|mine",
    "meine[nrms]? eigene[nrs]?|mein eigene[snr]?|mein(?:en|e|s)?|mi|mi propi[oa]|mis|mon|ma|mes|ma propre|mon propre|"
    "il mio|la mia|mia|mio|meu|minha|meu proprio|minha propria",
    "我自己的?|我的|自分の|自分で",
)
_PETITION = words(
    "requests?|approvals?|actions?|changes?|tickets?|proposals?|purchases?|orders?|exceptions?|quota change|scale-?up|"
    "launch(?:es)?|goals?|submissions?|applications?",
    "antrage?n?|anfragen?|freigaben?|solicitud(?:es)?|peticion(?:es)?|demandes?|requetes?|richiest[ae]|domand[ae]|"
    "pedidos?|solicitac(?:ao|oes)",
    "申请|请求|申請|リクエスト|依頼",
)
SELF_APPROVAL = re.compile(
    rf"{_APPROVE}(?: \S{{1,24}}){{0,3}}? ?{_OWN}(?: [a-z-]{{1,24}}){{0,2}}? ?{_PETITION}|"
    rf"(?<![a-z])(?:gib|gebt|geben sie|gebe)(?: \S{{1,24}}){{0,2}}? {_OWN}(?: \S{{1,24}}){{0,3}}? frei(?![a-z])|"
    rf"{_OWN}の?{_PETITION}[をは]?{_APPROVE}|(?:把|将|给)?{_OWN}{_PETITION}(?:给)?(?:我)?{_APPROVE}"
)
"""Approving one's own request, in the name of whoever should."""
MARK_APPROVED = re.compile(
    r"(?<![a-z])(?:approve|sign off|green-?light|wave through) (?:on )?(?:all|every|any)(?: of)?(?: the)?"
    r"(?: (?:outstanding|open|pending|waiting|queued|remaining|other))* (?:requests?|approvals?|actions?|tickets?|"
    r"goals?)|"
    r"(?<![a-z])look the other way(?![a-z])|"
    r"(?<![a-z])(?:mark|flag|set|record|log|register|treat|consider|count|show)(?: \S{1,24}){1,5}? "
    r"(?:as |to |is )?(?:already |being )?(?:approved|authori[sz]ed|signed off|reviewed)(?! (?:by whom|images?|"
    r"vendors?))"
    r"(?![a-z])|"
    r"(?<![a-z])(?:use|borrow|reuse)(?: \S{1,24}){0,3}? (?:approval|sign-?off)(?: token| key)?(?![a-z])|"
    r"(?<![a-z])(?:act|serve|count|stand in)(?: \S{1,24}){0,3}? (?:as|for) (?:the |my |a )?"
    r"(?:second |other )?(?:approver|reviewer)(?![a-z])"
)
"""Passing something off as approved."""
SPLIT_UNDER = re.compile(
    r"(?:(?<![a-z])(?:stay|stays|staying|remain|remains|keep|keeps|keeping|slip|slips|fall|falls|be|is|sneak)"
    r"(?: \S{1,24}){0,2}? (?:below|under|beneath) (?:the |our |my |any )?(?:[\w'-]+ )?"
    r"(?:approval|review|governor|policy|audit|sign-?off)(?: [a-z]+)?(?: threshold| limit| gate| line)?|"
    r"(?<![a-z])(?:approval|review|sign-?off|policy|governor)(?: [a-z]+)? "
    r"(?:(?:is|isn't|is not|does not|doesn't|won't|will not|never) (?:be )?"
    r"(?:hit|triggered|reached|trigger|kick in|needed|fire|tripped))|"
    r"(?<![a-z])(?:won't|not|never|doesn't|don't|no) (?:need|require|trigger|trip|hit|reach|set off|cause) "
    r"(?:an? |the |any )?(?:[\w'-]+ )?(?:approval|sign-?off|policy check|governor))(?![a-z])"
)
_SPLITS = re.compile(
    words(
        "split\\w*|break|chop|divide|slice|spread|chunk|several|smaller|small|pieces|"
        "so (?:that )?|to avoid|teile|divide|decoupe"
    )
)
IGNORE_BUDGET = re.compile(
    r"(?<![a-z])(?:ignor(?:e|ing)|disregard(?:ing)?|forget|overrid(?:e|ing)|bypass|skip|exceed|blow(?:ing)? (?:through|"
    r"past)|go(?:ing)? (?:over|above|beyond|past)|no matter|regardless of|despite|never mind|don't (?:care|"
    r"worry) about|"
    r"even if (?:it|this|that|we) (?:goes|go|is|exceeds?|breaks?|blows?|costs?)(?: over| above| past| more than)?|"
    r"(?:let|allow|have|make|keep)(?:ting|ing)?(?: \S{1,16}){1,4}? (?:run|go|continue|spend|train)(?:ning|"
    r"ing)? (?:past|over|beyond|"
    r"above|through)|"
    r"ignoriere?|uberschreite|ignora|ignorez?|depasse[rz]?|supera)"
    r"(?: (?:what|about))?(?: (?:the|my|our|its|their|his|her|this|that|any|all|das|el|le|il))*(?: (?:monthly|"
    r"team|daily|project|gpu|"
    r"spend(?:ing)?|cost|hard|company))* (?:budgets?|spend(?:ing)? (?:caps?|limits?)|quotas?|caps?|presupuesto|"
    r"kontingent)"
    r"(?! (?:for|of) (?:now|the example))(?![a-z])"
)
"""Spending on regardless of a budget, a cap or a quota."""
_WATCHER = (
    r"(?:(?:budget|policy|audit|quota|cost|approval|safety|spend(?:ing)?|security|usage|compliance|billing) )?"
    r"(?:governor|guards?|guard-?rails?|polic(?:y|ies)|policy engine|audit|auditors?|quotas?|checks?|checkers?|engine|"
    r"system|alerts?|alarms?|monitor(?:ing)?|watchdog|filters?|rules?|finance|security|accounting|billing|admins?)"
)
BLINDED = re.compile(
    rf"(?<![a-z])(?:so|so that|such that|in order that|to make|to have|and make|until|which makes)(?: the| our|"
    rf" their| any)* "
    rf"{_WATCHER}(?: (?:will|would|can|does|do|should|then|just|simply))? ?(?:ignores?|skips?|miss(?:es)?|overlooks?|"
    r"bypass(?:es)?|forgets?|accepts?|lets? (?:it|this|them|us|me)|(?:not|n't|never|cannot|no longer|'t) (?:see|"
    r"notice|catch|"
    r"count|apply|flag|trigger|fire|stop|block|complain|kick in|pick))(?![a-z])|"
    r"(?<![a-z])(?:label|tag|mark|name|classify|register|declare|book|report|list|file|rename|relabel|"
    r"flag)(?: [\w'-]+){1,4}?"
    r" (?:as|to)(?: \S{1,32}){1,4}?,? (?:so|so that|to (?:avoid|escape|dodge|evade|get around|slip|hide|"
    r"stay))(?: \S{1,16}){0,3}? "
    rf"{_WATCHER}(?![a-z])"
)
"""Passing work off as something else in order that a check does not see it."""
STANDS_DOWN = re.compile(
    rf"(?<![a-z])(?:even (?:if|after|when|though|while|once)|no matter (?:if|what|how|whether|that)|despite what|"
    rf"regardless (?:of )?(?:what|whether|if)|whatever|even though|although)(?: the| our| any| your| that)* {_WATCHER}"
    r"(?: (?:will|would|may|might|might have|has|have|had))? ?(?:stops?|stopped|kills?|killed|says?|said|den(?:y|"
    r"ies|ied)|refuses?|"
    r"refused|rejects?|rejected|blocks?|blocked|complains?|thinks?|objects?|vetoe?s?|vetoed|forbids?|limits?|warns?|wants?|"
    r"disagrees?|is|are)(?![a-z])|"
    rf"(?<![a-z])(?:if|when|whenever|each time|every time|once|as soon as)(?: the| our| any)* {_WATCHER} (?:stops?|"
    rf"kills?|"
    r"den(?:y|ies)|refuses?|rejects?|blocks?|vetoe?s?|cancels?|evicts?|complains?|objects?|warns?|says no|fires?|"
    r"protests?)(?: [\w'-]+){0,3}?,? (?:then |just |simply )*"
    r"(?:re-?submit|retry|re-?try|re-?launch|try again|resume|re-?spawn|start again|split|rename|use another|"
    r"raise|increase|ignore|lift|bump|disable|override|mute|skip|"
    r"re-?start)(?![a-z])"
)
REFUSED_ANYWAY = re.compile(
    r"(?<![a-z])(?:if|when|whenever|should|in case|even if)(?: the| my| our| this| an?)* (?:approvals?|requests?|"
    r"launch|it|this|that|"
    r"sign-?off|proposal|quota|exception)(?: (?:is|gets|was|be|are|has been|request))+ (?:refused|rejected|denied|"
    r"blocked|declined|"
    r"vetoed|turned down|not (?:granted|given|approved))[^.;!?\n]{0,40}?(?:re-?submit|split|retry|try again|"
    r"re-?launch|anyway|"
    r"regardless|all the same|go ahead|proceed|under another|in smaller|(?:as|into) (?:[\w'-]+ )?smaller|carry on|"
    r"keep going)(?![a-z])"
)
"""Going on although a check says no."""
DEEMED = re.compile(
    r"(?<![a-z])(?:approvals?|sign-?offs?|permissions?|consent|authori[sz]ation|clearance|"
    r"exceptions?)(?: \S{1,16}){0,5}? "
    r"(?:(?:is|are|be|as|was|were) )?(?:hereby |already |herewith )?(?:deemed|considered|taken as|presumed|"
    r"assumed|implied|"
    r"regarded as|treated as|automatic|hereby granted|hereby given)(?![a-z])|"
    r"(?<![a-z])(?:hereby|herewith) (?:approve|authori[sz]e|grant|permit|allow|waive|exempt|sign off|overrule|"
    r"override|lift)"
    r"(?![a-z])|"
    r"(?<![a-z])(?:deem|consider|assume|presume)(?: (?:it|this|that|these|them|everything|all|my|the|any|whatever|"
    r"request|"
    r"requests|approval|approvals|of))* (?:to be )?(?:approved|granted|authori[sz]ed|given|cleared|signed off)"
    r"(?![a-z]| (?:in|by|under|per|via) )"
)
"""Approval that somebody gives by saying so."""
SAID_TO_BE = re.compile(
    rf"(?<![a-z])(?:tell|inform|say to|claim to|report to|write to|let) (?:the |our |an? |my )*{_WATCHER}(?: know)?"
    r"(?: that)? (?:(?:it|this|that|i|we|he|she|the [a-z]+)(?:'s|'m|'re| is| was| am| are| comes| came| has|"
    r" have)?) ?(?:been )?"
    r"(?:from|for|by|approved|authori[sz]ed|cleared|allowed|an? emergency|urgent|the (?:ceo|cto|cfo|boss|admin)|"
    r"signed off|"
    r"on behalf)(?![a-z])"
)
"""Putting words before a check that its owner never said."""
_THINGS = rf"(?:{harm.DATA}|(?<![a-z])(?:files|weights|models|data|audit (?:log|trail)|history|records)(?![a-z]))"
_GONE = (
    r"(?:deleted|wiped|erased|purged|destroyed|shredded|nuked|gone|removed for good|dropped|formatted|overwritten|"
    r"obliterated|cleared out|geloscht|borrad[oa]s|eliminad[oa]s|supprimee?s?|effacee?s?|cancellat[ei]|apagad[oa]s)"
)
HAVE_DELETED = re.compile(
    r"(?<![a-z])(?:want|wants|need|needs|get|have|make sure|ensure|see to it|like|see)(?! (?:not|no)(?![a-z]))"
    rf"(?: (?!not |never |no |you |it |been )\S{{1,24}}){{0,4}}? ?{_THINGS}"
    rf"(?: (?!not |never |no |was |were |got |been )\S{{1,24}}){{0,5}}? {_GONE}(?![a-z])|"
    rf"{_THINGS}(?: \S{{1,24}}){{0,3}}? (?:should|must|shall|has to|have to|needs? to|can|is to|are to|muss|mussen|"
    rf"sollen|debe|doit|deve)(?: (?:all|now|just))? (?:be |go|disappear|ser |etre |essere )?{_GONE}(?![a-z])"
)
"""Destruction in the passive: somebody is to have the data deleted."""
_SOMEBODY_ELSE = (
    r"(?:(?:every(?:one|body)|some(?:one|body)|any(?:one|body))(?: else)?'?s|(?:all |the )?others'?|"
    r"(?:(?:all|every|any|the|other|another|different) )*(?:all|every|any|other|another|different) (?:people|persons?|"
    r"users?|teams?|groups?|researchers?|tenants?|customers?)(?:'s?)?|"
    r"(?:(?:all|my|our|the) )*(?:colleagues?|co-?workers?)(?:'s?)?)"
)
OTHERS_DATA = re.compile(
    r"(?<![a-z])(?:delete|deleting|erase|erasing|wipe|wiping|destroy|destroying|purge|purging|shred|nuke|trash|"
    r"remove|removing|clear|clean up|clear out|get rid of|overwrite|corrupt|drop)(?: (?:all|of|the|out|off|up|each|any|"
    rf"every))* {_SOMEBODY_ELSE} (?:(?:old|own|training|shared|project|personal|private|home|model|saved|stored|"
    r"experiment|research|remaining|entire|whole) )*"
    r"(?:data|files?|folders?|director(?:y|ies)|weights|models?|results?|outputs?|checkpoints?|datasets?|stuff|work|"
    r"things|logs|records|artifacts?|notebooks?|repos?(?:itories)?)(?![a-z-])"
    r"(?! from (?:(?:the|my|our|this|each) )*(?:[a-z]+ )?(?:training|test|validation|evaluation|plot|chart|report|"
    r"prompt|batch|sample|query|csv|table|set|split)(?![a-z]))"
)
"""Destroying what belongs to other people, whatever it is."""
NOT_MINE = re.compile(
    r"(?<![a-z])(?:suspending|pausing|pause|terminating|aborting|bumping|throttling|throttle|ending|kill|killing|preempt|preempting|evict|evicting|terminate|cancel|cancelling|stop|stopping|suspend)"
    r"(?: \S{1,3})? (?:everyone|everybody|everything (?:on|in|across) (?:the |our )?(?:whole |entire )?(?:cluster|"
    r"fleet|pool|"
    r"prod\w*|platform)|(?:all )?(?:the )?others(?!')|theirs)(?![a-z])|"
    r"(?<![a-z])(?:kill|cancel|stop|terminate|abort|evict|preempt|remove|delete|suspend|pause|drop)(?: [\w'-]+){0,2}? "
    r"(?:every|all|any|the|whatever|everything|anything|each)(?: [\w'-]+){0,3}? "
    r"(?:that (?:is|are) not|that isn't|that aren't|that is n't|which (?:is|are) not|not|who isn't|except|but|"
    r"other than|besides) (?:mine|ours|my own|my|belonging to me|owned by me)(?![a-z])|"
    r"(?<![a-z])(?:kill|cancel|stop|terminate|abort|evict|preempt|preempting|stopping|killing|"
    r"cancelling)(?: [\w'-]+){0,2}? "
    r"(?:whatever|anything|everything|whoever)(?: [\w'-]+){0,3}? "
    r"(?:else|others?|other (?:team|people|users)|is in (?:my|the|our) way|in (?:my|the|our) way|blocks? (?:me|us|"
    r"mine))"
    r"(?![a-z])"
)
"""Clearing away all that is not one's own."""
FOREIGN_ACCOUNT = re.compile(
    r"(?<![a-z])(?:use|using|with|borrow|via) (?:the |an? )?(?:[\w'-]+ )?(?:service account|admin(?:istrator)?|"
    r"root|deploy|"
    r"prod\w*)(?:'s)? (?:[\w'-]+ )?(?:token|key|credentials|login|account|password)s?(?! (?:checker|model|"
    r"dataset))(?![a-z])|"
    r"(?:用|以|从|拿)(?!我)[\u4e00-\u9fff]{1,6}的?(?:账号|账户|帐号|身份|名义|额度|预算|凭证)|"
    r"(?!自分|私|僕)[\u4e00-\u9fff\u3040-\u30ff]{1,8}(?:さん)?の(?:アカウント|予算|名義|認証情報|枠)(?:で|から|を使)|"
    r"(?<![a-z])(?:mit|uber|auf|unter) (?:dem |das |den |der )?(?:account|konto|budget|namen|kontingent|zugang) "
    r"(?:von|des|der) (?!mir|uns|meine|unser)|"
    r"(?<![a-z])(?:con|desde|bajo|usando|usa) (?:la |el )?(?:cuenta|credenciales|presupuesto|nombre|cuota) de (?!mi |"
    r"mis |"
    r"nuestr)|(?<![a-z])(?:avec|sous|depuis|sur) (?:le |la |les )?(?:compte|identifiants|nom|quota|budget) "
    r"(?:de |d'|du )(?!mon |ma |notre |nous)|"
    r"(?<![a-z])(?:con|dal|sul|usando) (?:l'|il )?(?:account|credenziali|conto|quota) (?:di|del|della) (?!mio|mia|"
    r"nostr)"
)
"""Other people's accounts and budgets in languages in which the owner follows."""


def splits(text: str, match: re.Match[str]) -> bool:
    """Whether a goal cuts work up in order to stay under a threshold; saying that none is reached is no wish."""
    return bool(_SPLITS.search(text, max(0, match.start() - 100), match.end()))
