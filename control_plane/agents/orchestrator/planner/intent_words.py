"""Words that tell an intent: verbs that ask for it, nouns that hint at it, in seven languages."""

import re
from collections.abc import Mapping

from control_plane.agents.orchestrator.planner.asking_words import ASKING_VERBS
from control_plane.agents.orchestrator.planner.launch_words import LAUNCH_VERBS
from control_plane.agents.orchestrator.planner.shadow import Kind, mark, words
from control_plane.model.plan import Intent

NAMES = mark(Kind.NAME)
GPU = _GPU = mark(Kind.GPU)
_NUMBER = mark(Kind.NUMBER)

VERBS: Mapping[Intent, re.Pattern[str]] = {
    **LAUNCH_VERBS,
    Intent.HEAL: re.compile(
        words(
            "be (?:fixed|repaired|replaced|rebooted|restarted|reset|drained|cordoned|quarantined|"
            "recovered|restored)|(?:wipe|clear|flush|free) (?:the |all )?(?:gpu )?(?:memory|vram|"
            "error counters?|cache|ecc (?:errors?|counters?))|fix|repair|heal|recover|remediate|replace|"
            "reboot|power[- ]?cycle|"
            "reset|restart|re-?join|drain|cordon|uncordon|un-?drain|quarantine|evacuate|rma|"
            "bring (?:\\S{1,24} ){1,4}?back|diagnose|troubleshoot|restore|re-?attach|reseat|isolate|"
            "take (?:\\S{1,24} ){1,4}?out of (?:rotation|service)|put (?:\\S{1,24} ){1,4}?back (?:in|"
            "into) (?:service|rotation)|sort (?:that|this|it|them)(?: out)?|get (?:\\S{1,24} ){1,4}?(?:back|"
            "working|healthy)(?: (?:again|up|online|"
            "to work))?|"
            "sort out|have a look at|take a look at|take care(?: of)?|look (?:at )?(?:what|why)|nurse|revive|"
            "bring to life|"
            "look into|investigate|swap(?: out)?|re-?place|resume",
            "arregl(?:a|ar|e|en)|repar(?:a|ar|e)|reinici(?:a|ar|e)|reemplaz(?:a|ar|e)|sustituy(?:e|"
            "a)|recuper(?:a|ar|e)|restaur(?:a|ar|e)|reparier(?:e|en)|beheb(?:e|en)|ersetz(?:e|en)|"
            "tausch(?:e|en)|starte (?:\\S{1,24} ){1,6}?neu|neustart(?:en)?|neu starten|wiederherstellen|"
            "repare[rz]?|redemarre[rz]?|remplace[rz]?|repar(?:e|er|ez)|retabli[sr][a-z]*|"
            "corrige[rz]?|ripara(?:re)?|riavvia(?:re)?|sostitui(?:sci|re)|ripristina(?:re)?|"
            "consert(?:e|ar)|corrij(?:a|o)|reinicie|substitu(?:a|ir)|restaure|troque",
            "修复|修理|修一下|重启|重置|替换|更换|换掉|恢复|排查|维修|处理一下|隔离|修復|直して|"
            "再起動|交換|復旧|対処|切り離し|隔離|対応して|リセット|復帰",
        )
    ),
    Intent.SCALE: re.compile(
        words(
            "(?:the|our|my) (?:\\S{1,16} )?(?:pool|cluster|endpoint|deployment|partition|service|fleet)(?: \\S{1,16})?"
            " (?:can|could|should|may|must|needs to|has to|is to)(?: safely)? (?:go|drop|shrink|scale|grow|"
            "come)(?: down| up| back)?"
            " (?:to|by)|(?:more|fewer|extra|additional|less) (?:\\S{1,16} )?(?:replicas?|workers|pods|instances)"
            "(?= (?:for|on|in|to) (?:the|our|my) )|"
            "pool \\S{1,32} ?(?:->|=>|=|to|:) ?(?=" + _NUMBER + ")|"
            "(?:could use|could do with|need|needs|want|wants|require|give (?:us|me)|get (?:us|me)|like) (?:to have )?"
            "(?:another|(?:\\S{1,8} )?(?:more|extra|additional))(?: \\S{1,16}){0,3}? (?:in|on|into|"
            "for) (?:the )?[a-z]{2,16}-[a-z]{2,16}|"
            "take (?:\\S{1,24} ){1,4}?(?:away |out )?(?:from|of) (?:the )?(?:\\S{1,24} ){0,2}?(?:pool|cluster|"
            "partition|"
            "fleet)|make (?:\\S{1,24} ){1,5}?(?:twice|half|\\S{1,8} times) (?:as|the)|"
            "make (?:\\S{1,24} ){1,5}?(?:bigger|smaller|larger|wider)|(?:give|grant) (?:the |"
            "our )?(?:\\S{1,24} )?(?:pool|cluster|endpoint|partition)(?: \\S{1,24})? another|"
            "take (?:the |our )?(?:\\S{1,24} )?(?:pool|cluster|endpoint|partition)(?: \\S{1,24})? (?:up|down|back)|"
            "bring (?:\\S{1,24} ){1,5}?from|(?:cap|"
            "limit) (?:\\S{1,24} ){0,4}?(?:pool|cluster|"
            "endpoint|fleet|"
            "partition)|(?:give|grant|assign|hand) (?:\\S{1,24} ){0,3}?(?:pool|cluster|endpoint|"
            "partition)(?: \\S{1,24}){0,4}? more|(?:need|want|require|get|give|brauchen|necesitamos|"
            "besoin de)(?: \\S{1,24}){0,4}? (?:more|"
            "additional|extra|further|weitere|mas|de plus)(?: \\S{1,24}){0,5}? (?:pool|cluster|endpoint|"
            "deployment|service|fleet|partition)|(?:pools?|clusters?|endpoints?|deployments?|services?|fleet|"
            "\\S{1,24}-pool)(?: \\S{1,24})? (?:needs?|wants?|requires?|must have|should have|should get|"
            "should grow|gets)|scale|auto-?scale|upscale(?= the (?:pool|cluster))|resize|"
            "right-?size the pool|grow|shrink|expand|downsize|double|halve|triple|ramp (?:up|down)|"
            "add|increase|decrease|reduce|remove|bump|take (?:\\S{1,24} ){1,4}?out of the pool|"
            "bring (?:\\S{1,24} ){1,5}?(?:up|down) to|set (?:\\S{1,24} ){1,6}?to|go (?:from|up|down)|provision|"
            "shut ?down|power down|release|give back|return|extend|attach|join|raise|lower|"
            "spin (?:up|down)|drop|turn off|move",
            "escal(?:a|ar|e)|ampli(?:a|ar|e)|aument(?:a|ar|e)|anad(?:e|ir|a)|agreg(?:a|ar|ue)|"
            "reduc(?:e|ir)|reduzca|sub(?:e|ir)|baj(?:a|ar)|quita(?:r)?|skalier(?:e|en)|erweiter(?:e|"
            "n)|vergrosser(?:e|n)|fug(?:e|en)|hinzufugen|hinzuzufugen|verkleiner(?:e|n)|reduzier(?:e|"
            "en)|erhoh(?:e|en)|aufstocken|stocke|agrandi[sr][a-z]*|augmente[rz]?|ajoute[rz]?|"
            "redui(?:s|re|sez)|passe[rz]?|scal(?:a|are)|aggiung(?:i|ere)|aumenta(?:re)?|ridu(?:ci|"
            "rre)|ridimensiona(?:re)?|amplia(?:re)?|porta|adicion(?:e|ar)|aumente|reduza|reduzir|"
            "ampli(?:e|ar)|acrescent(?:e|ar)",
            "扩容|缩容|扩展|扩大|扩到|增加|增到|添加|加到|再加|加\\S{0,3}台|缩到|缩减|减少|减到|伸缩|"
            "スケール\\S{0,3}|増や|増設|減ら|追加|拡張|縮小|広げ",
        )
    ),
    Intent.COST: ASKING_VERBS[Intent.COST],
    Intent.CANCEL: re.compile(
        words(
            "be (?:cancell?ed|stopped|killed|terminated|aborted|deleted|removed|ended|torn down)|"
            "cancel(?:l?ing)?|abort|kill|stop|terminate|halt|end|withdraw|call off|delete|remove|"
            "(?:no longer|don't|do not|dont|won't) need|scrap|pull the plug on|shut down|take down|tear down|"
            "drop|undeploy|discard|revoke|"
            "undo|unpublish|retire|scratch|clean up|get rid of|nuke|interrupt|destroy|evict|wipe|zap|pull",
            "cancel(?:a|ar|e|en)|detener|deten|detenga|mata(?:r)?|termina(?:r)?|elimina(?:r)?|"
            "borra(?:r)?|aborta(?:r)?|interrumpe|anul(?:a|ar|e)|brich|abbrechen|stopp(?:e|en)|"
            "beende(?:n)?|stornier(?:e|en)|losche(?:n)?|annullier(?:e|en)|annule[rz]?|arrete[rz]?|"
            "stoppe[rz]?|tue[rz]?|supprime[rz]?|interrompt|interrompre|interromp(?:s|ez)|"
            "annulla(?:re)?|ferma(?:re)?|interromp(?:i|ere|a)|cancella(?:re)?|uccidi|elimina(?:re)?|"
            "blocca|cancel(?:e|ar)|pare|parar|interromp(?:a|er)|encerr(?:e|ar)|mate|exclua|excluir|"
            "apague",
            "取消|停止|终止|停掉|停下|杀掉|杀死|中止|删除|关掉|撤销|キャンセル|取り消|取消し|中断|"
            "停止|止めて|止める|終了|削除|強制終了",
        )
    ),
    Intent.QUERY: ASKING_VERBS[Intent.QUERY],
}
"""Words that ask for an intent. QUERY counts only where a sentence begins."""

QUERY_ANYWHERE = re.compile(
    "どこ|だれ|どれくらい|どれだけ|什么|多少|哪些|哪个|哪台|哪|谁|为什么|为何|是否|吗|怎么样|如何了|"
    "显示|列出|查看|查询|查一下|看一下|看看|告诉我|状态|情况|何[のがを時枚台件]|なに|いくつ|どの|"
    "どれ|だれ|誰|なぜ|いつ|どう(?:なって|です)|ですか|ますか|でしょうか|表示|一覧|教えて|見せて|"
    "状況|状態|確認して|知りたい|いくら使|いくら払"
)
KEY = re.compile(r" ?:(?![/\d])")
"""What makes a question word the name of a field: "what: fine-tuning"."""
TAIL_QUESTION = re.compile(r"(?:which|who|whose|what|why|how)(?![a-z])[^.;!?\n]{1,160}\? ?$")
SUBORDINATE = re.compile("when|where|cuando|quand|quando|wo|ou")
"""Question words that also open a side clause: "when the cluster is free, ..."."""
ASKED = re.compile(
    r"[^.;!\n]{0,160}\?| (?:did|does|do) (?:i|we|you|they|it|my|our|the)(?![a-z])|"
    r" (?:is|are|was|were|will|would|did|does|do|can|could|should|shall|has|have|had|may|"
    r"might)(?![a-z])"
    r"(?![^.;!?\n]{0,60},)|'(?:s|re|ll|d)(?![a-z])|(?:'s)? (?:my|our|the) [^,.;!?\n]{1,40}$"
)
"""What follows a question word that asks."""
QUERY_END = re.compile(r"\? ?$|吗[?? ]?$|か[。.?]?$|呢[?? ]?$")

NOUNS: Mapping[Intent, re.Pattern[str]] = {
    Intent.FINETUNE: re.compile(words("fine-?tunes?|fine-?tuning|finetuning|adapters?|ajuste fino|feinabstimmung")),
    Intent.TRAIN: re.compile(
        words(
            "training|pre-?training|pretrain|retraining|epochs?|sweep|ablations?|rl run|"
            "hyperparameters?|entrenamiento|entrainement|apprentissage|addestramento|allenamento|"
            "treinamento|treino|trainingslauf|distillation|torchrun|deepspeed",
            "训练|学習|トレーニング",
        )
    ),
    Intent.INFERENCE: re.compile(
        words(
            "(?:openai-)?compatible (?:server|api|service)|(?:model|llm|chat|embedding) server|endpoints?|inference|"
            "inferencia|inferenz|inference server|serving|vllm|tgi|triton|"
            "sglang|chat-?bot|api(?! keys?)|rest api|inferenza|autoscaling|replicas?|repliken|"
            "deployment",
            "推理|推論|接口|エンドポイント",
        )
    ),
    Intent.BATCH: re.compile(
        words(
            "batch(?! ?size| norm)|etl|embeddings?|pre-?processing|data prep(?:aration)?|"
            "tokeni[sz]ation|rendering|simulations?|captions?|transcriptions?|lotes?|"
            "stapel(?:verarbeitung|lauf)?|generate|process|processing|compute(?! ?(?:[:;,.]|resources?|budget|"
            "capacity|request|for|time|hours?|nodes?|cluster|units?|power))|classify|score|label|"
            "scan|index|clean|prepare|prep|segment|compress|extract|parse|filter|summari[sz]e|enrich|"
            "resize|dock|fold|run inference (?:on|over|for)|predict|genera|generar|berechne|erzeuge|"
            "scoring|labell?ing|indexing|parsing|converting|conversion|extraction|extracting|classifying|"
            "summari[sz]ing|"
            "filtering|deduplication|crunching|inference run|bulk|backlog|"
            "genere|calcule|genera|gere|extrae|extrai|extrais|estrai|analy[sz]e|translate|shard|"
            "shuffle|map-?reduce",
            "批|生成|计算|提取|清洗|バッチ|生成|計算|抽出|解析",
        )
    ),
    Intent.BENCHMARK: re.compile(
        words(
            "benchmarks?|evals?|evaluation|throughput|latency|tokens/s(?:ec(?:ond)?)?|tok/s|"
            "tokens per second|flops|stress test|load test|evaluacion|auswertung|bewertung|"
            "valutazione|avaliacao|rendimiento|durchsatz|test run|smoke",
            "评测|吞吐|性能|スループット|性能|ベンチ",
        )
    ),
    Intent.SCALE: re.compile(
        words(
            "provision|spin up|autoscaler?|scale-?up|scale-?out|headroom|warm pool|node pool|"
            "more capacity|extra capacity",
            "扩|スケール",
        )
    ),
    Intent.COST: re.compile(
        r"(?<!whichever is )(?<!whichever's )(?<!wherever is )(?<!whatever is )(?<!whatever's )"
        + words("cheapest|cheaper|savings?|cost[- ]efficient|cost[- ]saving|save money")
    ),
    Intent.QUERY: re.compile(
        words(
            "status|utili[sz]ation|inventory|(?:spend(?:ing)?|usage|costs?|utili[sz]ation|incidents?|"
            "audit|health|capacity|job) (?:report|summary|overview|breakdown|dashboard|statement)|"
            "report (?:on|of|about)|(?:spend(?:ing)?|usage|costs?) (?:for|of|by) (?:the )?(?:team|"
            "project|user|\\S{1,24} team)",
            "報告|レポート|报告|报表",
        )
    ),
}
"""Words that hint at an intent where nobody asks for one outright."""


PAST_SPEND = re.compile(
    words(
        "spent|did|last|yesterday|so far|this month|this week|today|already|to date|was|were|has|"
        "have|used|consumed|gasto|gastamos|ha gastado|ausgegeben|hat|depense|a depense|speso|gastou|"
        "outstanding|current(?:ly)?|burned|owed?|charged|billed|invoice",
        "花了|昨天|上周|上个?月|本月|目前|使った|使いました|先月|先週|昨日|今月",
    )
)
SPENDING = re.compile(
    words(
        "spend|spent|spending|costs?|bills?|billed|invoices?|expenses?|money|charged|budget|gasto|gastos|"
        "gastado|gastamos|"
        "costes?|factura|ausgegeben|ausgaben|kosten|rechnung|depense|depenses|depensee|couts?|facture|speso|"
        "spesa|costi|"
        "gastou|custos?|fatura",
        "花了|花费|费用|开支|账单|多少钱|費用|コスト|支出|請求|いくら",
    )
)
"""Words that make a question one about money."""

HYPOTHETICAL = re.compile(
    words(
        "would|could|if i|if we|to (?:train|fine-?tune|finetune|run|serve|deploy)|estimate|quote|"
        "price|cost of|costaria|wurde|kosten|couterait|costerebbe|custaria|cuesta|kostet|coute|costa|"
        "custa",
        "估算|大概|需要|要花|见积|見積|いくら|かかり|多少钱",
    )
)
DETERMINER = re.compile(
    words(
        "my|our|your|the|a|an|this|(?<!after )(?<!once )that|his|her|their|its|these|those|last|"
        "previous|running|failed|stuck|nightly|current|old|whole|which|any|each|every|another|of|no|"
        "for|from|with|during|about|el|la|los|las|mi|nuestro|nuestra|un|una|der|die|das|den|dem|"
        "mein(?:e|en|er|em)?|unser(?:e|en|er|em)?|ein|eine|le|les|mon|ma|notre|il|lo|mio|o|os|meu|"
        "minha|nosso|su|tu|del|du|des|al"
    )
    + " $"
)
NOUN_AFTER = re.compile(
    r" (?:jobs?|runs?|tasks?|steps?|scripts?|pipeline|process|workload|code|config|logs?|results?|"
    r"scores?|data ?sets?|server|cluster|pool|budget|costs?|cost|team|queue|nodes?|throughput|speed|"
    r"loss|curves?|metrics)(?![a-z])|(?:任务|作业|脚本|数据|ジョブ|タスク|データ)"
)
POLITE = re.compile(
    r"(?:(?:hi|hey|hello|dear|good (?:morning|afternoon|evening)|morning|greetings|ok|okay|so|well|"
    r"and|but|then|also|now|please|pls|plz|kindly|thanks|thank you|sorry|excuse me|quick (?:question|"
    r"one|q)|question|just|yo|fyi|all|team|folks|there|everyone|bot|orq|orquanta|@[\w-]+|can you|"
    r"could you|would you|will you|can u|can we|could we|i want you to|i'd like you to|"
    r"i would like you to|i need you to|"
    r"hola|buenos dias|buenas|por favor|oye|puedes|podrias|hallo|guten (?:tag|morgen)|bitte|"
    r"kannst du|konnen sie|konntest du|bonjour|salut|svp|s'il (?:te|vous) plait|peux-tu|pouvez-vous|"
    r"pourrais-tu|ciao|buongiorno|per favore|puoi|potresti|oi|ola|bom dia|voce pode|pode|ticket|tkt|"
    r"re|fw|urgent|asap|incident|request|subject|low priority|high priority|priority|p[0-4]|"
    r"请问|请|你好|麻烦|帮我|能不能|可以|すみません|お願いします|こんにちは)(?:[ ,:!.;-]|$)|"
    r"[\[\](){}#>*•,:;!¿¡\"' .|-]|[a-z]{2,10}-?\d{1,7} ?:|"
    rf"{NAMES} ?[:|-]|{NAMES}(?=[\])])|{mark(Kind.NUMBER)} ?[:.)]"
    r"){0,24}"
)
