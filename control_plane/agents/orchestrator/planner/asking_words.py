"""Words that ask: what something costs or could save, and what is going on, in seven languages."""

import re
from collections.abc import Mapping

from control_plane.agents.orchestrator.planner.shadow import Kind, mark, words
from control_plane.model.plan import Intent

NAMES = mark(Kind.NAME)
_GPU = mark(Kind.GPU)

ASKING_VERBS: Mapping[Intent, re.Pattern[str]] = {
    Intent.COST: re.compile(
        words(
            (
                "(?:if|when|where|wherever|because|provided|as long as) (?:it|that|this|they|there) (?:really |"
                "actually )?saves?|"
                "saves? (?:at least|more than|over|us|me|>=|money)|"
                "(?:price|prices|rate|rates|cost|costs) (?:of|per) (?:an? |one |the )?(?:" + _GPU + "|"
                "\\S{1,12} ?" + _GPU + ")|"
                "(?:over-?pay(?:ing)?|pay(?:ing)? too much|spend(?:ing)? too much|too expensive|waste of money|"
                "burning money)|"
                "quote(?= ?:)|quotation|pricing for|price for|(?:find|identify|look for|get|show|suggest|"
                "propose|list|achieve|realise|realize) (?:me |"
                "us )?(?:\\S{1,24} ){0,4}?(?:savings?|ways to save|saving opportunities)|savings?|save (?:us |"
                "me )?(?:some |at least |about |up to )?(?:money|costs?|on|[$€£]|"
            )
            + mark(Kind.MONEY)
            + (
                "|\\d)|(?:cut|reduc(?:e|ing)|lower(?:ing)?|optimi[sz](?:e|ing)|minimi[sz](?:e|ing)|slash|"
                "trim|shave|bring down|halve|decrease|get down) (?:\\S{1,24} ){0,5}?(?:costs?|spend(?:ing)?|"
                "bills?|expenses?|cloud bill|gpu bill|burn rate|invoice)(?: down)?|"
                "(?:get|bring) (?:\\S{1,24} ){0,5}?(?:costs?|spend(?:ing)?|bills?|expenses?|burn rate|"
                "invoice) (?:down|lower|under|"
                "below|in check|reduced|back)|cost[- ]optimi[sz]\\w*|right-?siz\\w+|estimat(?:e|"
                "ing) (?:\\S{1,24} ){0,16}?(?:costs?|price|"
                "spend)|(?:cost|price) estimates?|estimates? (?:for|of) (?:the )?(?:cost|price)|"
                "how much (?:would|will|does|do|for|is it|should|might|to|would it)|how expensive|"
                "what (?:would|will|does|do) (?:\\S{1,24} ){1,16}?(?:cost|come to|set (?:us|me) back)|"
                "(?:which|what|where|who|is) (?:\\S{1,24} ){0,6}?(?:cheapest|cheaper|least expensive|best price|"
                "lowest price)|"
                "(?:would|will|might|could|does|do) (?:it |that |this |they )?cost(?= ?$| ?[.?!]| (?:me|us|on|in|for|"
                "if|per|approximately|roughly|about))|"
                "what(?:'s| is) the (?:cheapest|price|cost|going rate)|price (?:out|check)|quote (?:me|"
                "for|us)|get (?:me )?a quote|compare (?:\\S{1,24} ){0,4}?(?:prices?|costs?|pricing)|"
                "(?:forecast|predict|project) (?:\\S{1,24} ){0,4}?(?:spend(?:ing)?|costs?|bill)|where (?:are|"
                "do) we (?:\\S{1,24} )?(?:overspend\\w*|wast\\w+|los\\w+ money)|stop (?:wasting|paying|"
                "burning)|wast(?:e|ing|ed) (?:money|spend|gpu)|idle spend|"
                "(?:cheaper|less expensive|more expensive|pricier|dearer|better value) than|cheapest (?:way|"
                "place|option|"
                "provider|region|cloud)|cheaper (?:way|place|option|provider|region|cloud|gpus?|"
                "alternative|instances?)|would it be cheaper|is it cheaper|tco|cost (?:analysis|"
                "breakdown|comparison|report|review|forecast)|spend less|less (?:money|expensive)|"
                "budget forecast|gunstig\\w+"
            ),
            "ahorr[a-z]*|cuanto (?:cuesta|costaria|costara|cobra)|reduc[a-z]* (?:el |los |la |"
            "nuestr[oa]s? )?(?:gastos?|costes?|costos?|factura)|optimiza[a-z]* (?:el |"
            "los )?(?:gastos?|costes?|costos?)|(?:la opcion )?mas barat[oa]|estima(?:r|cion)? (?:el |"
            "del? )?(?:coste|costo)|sparen|einsparen|spare (?:geld|kosten|uns)|spar(?:potenziale?|"
            "potential|moglichkeiten)|einspar[a-z]*|\\S{0,32}kosten (?:senken|reduzieren|optimieren|"
            "einsparen|schatzen)|(?:senk|reduzier|optimier|verringer|drück|druck)(?:e|en|"
            "t)? (?:\\S{1,24} ){0,3}?(?:\\S{0,32}kosten|ausgaben|\\S{0,32}rechnung)|was (?:wurde|wurden|kostet|"
            "kosten)|wie ?viel (?:wurde|kostet|kosten)|gunstigste[nr]?|kostenschatzung|"
            "economis[a-z]*|economies|combien (?:coute|couterait|couteraient|ca coute)|"
            "redui[a-z]* (?:les |nos |la )?(?:couts?|depenses?|factures?)|le moins cher|"
            "estime[rz]? le cout|risparm[a-z]*|quanto (?:costa|costerebbe|custa|custaria)|"
            "ridu[a-z]* (?:i |le )?(?:costi|spese|spesa)|piu economic[oa]|economiz[a-z]*|"
            "reduz[a-z]* (?:os |nossos )?(?:custos|gastos)|mais barat[oa]|estim(?:e|ar) o custo",
            "节省|节约|省钱|(?:成本|费用|开支).{0,10}(?:降低|减少|省)|降低.{0,10}(?:成本|费用|开支)|"
            "降低(?:成本|费用|开支)|成本优化|最便宜|更便宜|(?:费用|成本|价格)(?:估算|"
            "预估|对比|分析)|(?:要|得|会)?花?多少钱|コスト(?:削減|最適化|を?下げ|を?減ら|見積|分析|"
            "比較)|節約|最安|安くする|安い|いくら(?:かかり|かか|です|に|く)|費用(?:の)?(?:見積|削減)|"
            "見積も",
        )
    ),
    Intent.QUERY: re.compile(
        words(
            f"(?:can|could|will|would|should|may|might)(?= {NAMES}[^.;!?\\n]{{1,80}}\\?)|"
            "(?:give|get|send) (?:me|us) (?:the|all|our|my) (?:\\S{1,16} )?(?:longest|oldest|newest|latest|"
            "biggest|largest|most|top|"
            "slowest|busiest|last|current|running|failed|idle|names|ids|number|worst|best|hottest|cheapest)|"
            "should(?= (?:approvals?|the|our|we|i|my) [^.;!?\\n]{1,80}\\?)|(?:ping|text|slack|dm|message|"
            "mail) me (?:with )?(?:the|a|an|our|my|all)(?= )|(?:summari[sz]e|"
            "explain|describe|read|show|translate|tl;?dr) (?:me )?(?:this|that|the|these|"
            "those) (?:\\S{1,16} )?"
            "(?:tickets?|e-?mails?|messages?|threads?|notes?|log lines?|incidents?|alerts?|conversation|comments?)|"
            "(?:i'd like|i would like|i want|i need|gimme|send me|get me|let's see|let me have|could i (?:get|have|"
            "see)|can i (?:get|have|see)) "
            "(?:a |an |the |our |my )?(?:\\S{1,16} )?(?:summary|list|overview|report|status|breakdown|logs?|history|"
            "stats|statistics|"
            "figures|numbers|metrics|inventory)|check (?:the |our |my )?(?:\\S{1,16} )?(?:health|state|logs?|queue|"
            "utili[sz]ation|usage|"
            "load|temperatures?|availability)|any (?:incidents?|errors?|failures?|jobs?|gpus?|free|idle|news|problems?|"
            "issues?|nodes?|alerts?|"
            "warnings?|updates?|capacity|(?:broken|sick|unhealthy|bad|faulty|failed|failing|degraded|dead|lost|down|"
            "quarantined|drained|cordoned|idle|free|open|new|running|queued|stuck) (?:nodes?|hosts?|machines?|servers?|"
            "gpus?|cards?|incidents?|jobs?|runs?|boxes))|"
            "give me (?:\\S{1,24} ){0,4}?(?:spend(?:ing)?|costs?|bill|figures|"
            "numbers)|what(?:'s|s)?|"
            "which|who(?:'s)?|whose|when|where|why|how (?:many|much|long|is|are|did|do|does|come|"
            "busy|full|often|far|well|come|was|were|old|big|hot)|is|are|was|were|did|does|do (?:we|i|"
            "you|they|any)|has|have (?:we|you|i|they|any)|had|am i|can (?:i|we) (?:see|get a (?:list|"
            "status)|have a look)|show|list|tell me|give me (?:a |an |the )?(?:\\w+ ){0,2}(?:status|"
            "list|summary|overview|report|breakdown|update|history|utili[sz]ation|inventory|usage|"
            "logs?)|display|report(?! back)|check (?:if|whether|on|the status|status|how|that)|status|"
            "any (?:update|news|idea|progress)|let me (?:know|see)|i(?:'d| would)? (?:like|want|"
            "need) to (?:know|see|understand|check)|describe|explain|print|"
            "get (?:me )?(?:the )?(?:status|logs?|list|metrics|utili[sz]ation|a list|a summary)|"
            "look up|count|forecast|predict|summari[sz]e (?:the )?(?:\\w+ ){0,2}(?:status|usage|"
            "logs?|incidents?|utili[sz]ation|fleet|activity|spend|errors?|last (?:night|hour|incident|24))|view|"
            "monitor|track|"
            "compare (?:\\w+ ){0,3}?(?:usage|utili[sz]ation|"
            "spend(?:ing)?|bills?|budgets?|expenses)|eta (?:of|for|on)|remind me|find out|"
            "do you know|could you (?:say|tell)|progress (?:of|on)",
            "que|cual(?:es)?|cuant[oa]s?|quien(?:es)?|cuando|donde|por que|como (?:va|van|esta|"
            "estan)|esta(?:n)?|hay|muestra(?:me)?|muestrame|mostrar|lista(?:r|me)?|dime|ver|ensename|"
            "consulta|estado|informe|was|welche[rsmn]?|wie ?viele?|wie (?:lange|ist|lauft|steht|"
            "hoch)|wer|wann|wo|warum|wieso|weshalb|ist|sind|hat|lauft|laufen|gibt es|zeig(?:e|t|en)?|"
            "liste|auflisten|status|nenne|qu(?:'est|e|el|elle|els|elles)|combien|qui|quand|ou|"
            "pourquoi|est-ce|y a-t-il|comment (?:va|vont)|montre[rz]?|affiche[rz]?|lister|"
            "donne(?:-moi|z-moi)? (?:la liste|l'etat|le statut)|dis-moi|che|chi|qual[ei]?|"
            "quant[oaie]|dove|perche|mostra(?:mi)?|elenca(?:re)?|dimmi|stato|c'e|ci sono|come (?:va|"
            "sta)|quais?|quant[oa]s?|quem|onde|por ?que|mostr(?:e|ar)|list(?:e|ar)|diga|esta|ha|"
            "status",
        )
    ),
}
"""Words that ask about money and about the fleet. QUERY counts only where a sentence begins."""
