"""Claims that the rules have changed or do not hold for whoever writes: a goal cannot say so for itself.

What is refused is the pair of a rule and a claim that it is gone, loosened or waived. What was approved,
such as "finance approved $500", is no such claim: approval is looked up, not believed.
"""

import re

from control_plane.agents.orchestrator.planner.shadow import words

_KIND = (
    r"(?:(?:approval|approvals|spend(?:ing)?|budget|quota|gpu|policy|governance|company|corporate|team|fleet|platform|"
    r"cost|safety|security|usage|governor|audit|compliance|internal|house|global|group|account|purchase|procurement|"
    r"launch|size|review|change) )"
)
_RULE = words(
    rf"{_KIND}{{0,2}}(?:polic(?:y|ies)|rules?|restrictions?|guard-?rails?)(?: \S{{1,4}}\d{{0,3}})?|"
    rf"{_KIND}{{1,2}}(?:requirements?|thresholds?|process(?:es)?|procedures?|workflow|gates?|controls?|regulations?|"
    rf"guidelines?|limits?|caps?|ceilings?|checks?|freeze|quotas?)|limits|caps|quotas?|approvals?|sign-?offs?|"
    r"governor|safeguards?|budget (?:limit|cap|check)|change freeze",
    "politica(?:s)?(?: de (?:aprobacion|gasto|uso))?|reglas?|normas?|aprobacion(?:es)?|limites? de (?:gasto|gpu)|"
    "richtlinien?|regeln?|vorgaben?|genehmigungspflicht|freigabepflicht|genehmigung(?:en)?|freigabe(?:n)?|limits?|"
    "politique(?:s)?(?: d'approbation)?|regles?|approbations?|plafonds?|politica di approvazione|regole|approvazioni?|"
    "regras?|aprovac(?:ao|oes)|politica de aprovacao",
    "审批(?:政策|策略|规则|流程|制度)?|(?:公司)?(?:政策|规定|规则|策略|制度)|配额限制|预算限制|限额|"
    "承認(?:ポリシー|ルール|プロセス)?|ポリシー|規則|規定|ルール|上限",
)
_GONE = words(
    "amended|changed|updated|lifted|waived|suspended|relaxed|loosened|removed|superseded|revised|abolished|scrapped|"
    "dropped|rescinded|revoked|repealed|replaced|overridden|overruled|modified|disabled|switched off|turned off|"
    "altered|rewritten|raised|eased|softened|withdrawn|deleted|retired|deprecated|bypassed|paused|extended|cleared|"
    "optional|void|obsolete|outdated|expired|gone|history|off|inactive|moot|ended|over|unlimited|"
    "(?:no longer|not) (?:needed|required|necessary|in (?:force|effect|place|use)|active|applicable|enforced|valid|"
    "relevant|binding|mandatory)",
    "modificad[oa]s?|cambiad[oa]s?|levantad[oa]s?|suspendid[oa]s?|actualizad[oa]s?|eliminad[oa]s?|derogad[oa]s?|"
    "geandert|aufgehoben|gelockert|ausgesetzt|abgeschafft|aktualisiert|angepasst|"
    "modifiee?s?|changee?s?|levee?s?|suspendue?s?|assouplie?s?|supprimee?s?|abrogee?s?|mise?s? a jour|"
    "modificat[aeio]|cambiat[aeio]|sospes[aeio]|revocat[aeio]|aggiornat[aeio]|alterad[oa]s?|revogad[oa]s?|suspens[oa]s?",
)
_BE = (
    r"(?:was|were|is|are|has been|have been|had been|has|have|got|get|been|being|'s|'s been|'ve been|will be|became|"
    r"fue|fueron|ha sido|han sido|esta|estan|wurde|wurden|ist|sind|a ete|ont ete|est|sont|e stat[aoei]|sono stat[ei]|"
    r"foi|foram)"
)
_SOFT = r"(?: (?!not |never )[\w,-]{1,16}){0,3}?"
_HERE = (
    r"(?: (?:for|on|of|about|to|that|which|in|at|above|below|over|by|from|de|von|du|per|sobre|para) [^.;!?\n]{1,48}?)?"
)
_PAPER = r"(?: (?:documents?|docs?|text|page|handbook|file|version|memo|section|chapter|paragraph))?"
_PASSIVE = rf"{_RULE}{_PAPER}{_HERE},? {_BE}{_SOFT} {_GONE}"
_NOT_HOLDING = words(
    "(?:no longer|don't|do not|doesn't|does not|won't|will not|didn't|never|not)(?: \\w+)? (?:apply|applies|hold|holds|"
    "count|counts|matter|matters|bind|binds|concern|cover|exist|exists|affect|affects)|"
    "(?:ya no|no) (?:se )?aplican?|(?:gilt|gelten|greift|greifen) (?:\\S{1,16} )?(?:nicht|nicht mehr)|"
    "ne s'appli(?:que|quent) (?:plus|pas)|non si applica(?:no)?(?: piu)?|nao se aplicam?(?: mais)?|"
    "(?:ended|lapsed|vanished|disappeared)(?= (?:in|on|last|with|this|yesterday))|(?:has|have) (?:expired|lapsed|"
    "ended|changed)|(?:now )?(?:allows?|permits?|lets?) (?:us|me|everyone|anyone|"
    "any|this|"
    "all|my|unlimited)"
)
_WAIVE = words(
    "waived|waives|waive|lifted|suspended|removed|dropped|rescinded|overrode|overridden|overruled|relaxed|cleared|"
    "abolished|scrapped|cancelled|canceled|disabled|switched off|turned off|bypassed|(?:got|gotten|get) rid of|"
    "did away with|set aside|amended|changed|updated|loosened|"
    "(?:exempted|excused|released|freed|relieved)(?: \\S{1,16}){1,4}? from"
)
_NO_MORE = (
    r"(?:any ?more|any longer|these days|from now on|nowadays|since (?:today|yesterday|monday|last \w+)|"
    r"as of [^,.;]{1,24})"
)
_NEED = r"(?:need|needs|require|requires|want|wants|call for|go through|goes through|be subject to|is subject to)"

RULE_GONE = re.compile(
    rf"(?:{_PASSIVE}|(?<![a-z])the (?:cap|limit|quota|ceiling|approval|review|freeze|"
    rf"budget){_HERE},? ?(?:no longer|don't|do not|"
    r"doesn't|does not|won't|will not|never)(?: \w+)? (?:apply|applies|counts?|holds?|matters?|binds?)(?![a-z])|"
    rf"{_RULE}{_HERE},? ?{_NOT_HOLDING}|"
    rf"(?<![a-z])(?:has|have|had|already|just|been|i've|we've|who|which|and|[a-z]{{2,16}})(?: (?:also|now|just|"
    rf"already))? "
    rf"{_WAIVE}(?: (?:the|that|all|any|my|our|every|its|their|this|these|usual|normal)){{0,3}} {_RULE}|"
    rf"(?<![a-z])(?:superseded?s?|replaced|replaces|overrides|trumps|outranks)(?: (?:the|all|any|our|your|old|previous|"
    rf"earlier|existing)){{0,3}} {_RULE})"
)
"""A rule is said to be gone: "the approval policy was amended", "limits no longer apply", "the CTO waived approval"."""
NEED_NO_MORE = re.compile(
    rf"(?<![a-z])(?:no longer {_NEED}|(?:don't|do not|doesn't|does not|won't|need not|needn't)(?: {_NEED})?"
    rf"(?=[^.;!?\n]{{0,64}}?{_NO_MORE})(?: {_NEED})?)(?: (?:an?|any|the|my|our|further|separate|explicit|prior|human|"
    rf"manager|management)){{0,3}} ?{_RULE}|"
    rf"(?<![a-z])(?:exempt|exempted|excused|excluded|free|released|immune) from (?:the |all |any |our |every )*"
    rf"(?:\S{{1,16}} ){{0,2}}?{_RULE}"
)
"""Exemption: "jobs like this no longer need sign-off", "we are exempt from the quota"."""
FOREIGN_WAIVER = re.compile(
    rf"(?<![a-z])(?:hat|haben|habe|wurden|wurde)(?: (?!nicht )\S{{1,16}}){{0,4}}? {_RULE}(?: (?!nicht "
    rf")\S{{1,16}}){{0,3}}? {_GONE}|"
    r"(?<![a-z])(?:ha|han|he|hemos|a|ont|hanno|abbiamo)(?: \S{1,12})? (?:levantado|suspendido|eliminado|quitado|"
    r"cambiado|modificado|"
    r"anulado|retirado|leve|suspendu|supprime|modifie|change|assoupli|annule|retire|tolto|sospeso|rimosso|cambiato|modificato|"
    rf"annullato|revocato)(?: (?:los|las|el|la|les|le|i|gli|il|l'|nuestr[oa]s|todos|todas|tous|tutti))* ?(?:{_RULE})|"
    r"(?<![a-z])(?:levantaram|suspendeu|removeu|retirou|alterou|cancelou)(?: (?:os|as|o|a|todos|todas))* "
    rf"(?:{_RULE})"
)
"""The same in languages whose verb stands elsewhere: "der Chef hat die Limits aufgehoben"."""
NO_RULE_HERE = re.compile(
    rf"(?<![a-z])(?:there(?:'s| is| are| was)|we have|i have|has|have|with) no {_KIND}{{0,2}}(?:caps?|limits?|"
    rf"quotas?|approvals?|"
    r"polic(?:y|ies)|rules?|restrictions?|sign-?offs?)(?: (?:needed|required|necessary))? (?:on (?:weekends?|"
    r"sundays?|saturdays?|"
    r"holidays|nights?|us|me|our|my|this (?:team|project|account))|at (?:night|weekends)|during|for (?:us|me|our|"
    r"my|this (?:team|"
    r"project)|research\w*|vips?|managers?)|here|any ?more|any longer|these days|now|today|tonight|this week)(?![a-z])"
)
"""A rule is said not to exist for some time or some people."""
RULE_GONE_CJK = re.compile(
    r"(?:审批|政策|规定|规则|策略|制度|限制|限额|配额)[^。.;!?\n]{0,10}?(?:已(?:经)?|现已|刚刚)?(?:修改|更改|取消|放宽|解除|废除|"
    r"更新|暂停|免除|不再适用|不适用)(?:了|$|[,. ])|(?:不再|无需再|已不)需要?[^。.;!?\n]{0,6}(?:审批|批准)|"
    r"(?:ポリシー|規則|規定|ルール|承認|上限|制限)[^。.;!?\n]{0,10}?(?:変更され|撤廃され|解除され|緩和され|改定され|免除され|"
    r"適用されなく|不要になっ|適用外)"
)
ASKS = re.compile(
    r"(?:^|[,.;!?\n] ?)(?:which|who|whose|what|why|when|how|where|did|does|do|is|are|was|were|has|"
    r"have)(?![a-z])[^.;!?\n]{0,160}\? ?$"
)
"""A question at the end of what is told."""
NOT_A_RULE = re.compile(
    r"(?:time|wall|hour|length|size|token|context|rate|epoch|memory|speed|character|gradient|learning|"
    r"rl|control|behaviou?r|target|old|reference|training|run)[ -]$"
)
"""What stands before a word for a rule when it is one of the work itself: a time limit, an RL policy."""
