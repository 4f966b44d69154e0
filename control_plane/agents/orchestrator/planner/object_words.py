"""What repairs, cancellations and changes of scale are about, and the signs of a fault."""

import re

from control_plane.agents.orchestrator.planner.shadow import Kind, mark, words

_NAMES = mark(Kind.NAME)
_GPU = mark(Kind.GPU)
_NUMBER = mark(Kind.NUMBER)

SYMPTOM = re.compile(
    words(
        "xids?|sxids?|ecc(?: errors?)?|uncorrectable|correctable errors|(?:fell|fallen|falls|falling|"
        "dropped|drops|came) off(?: the)?(?: pcie?)?(?: bus)?|over-?heat(?:s|ed|ing)?|too hot|"
        "running hot|running at \\S{1,24} ?(?:c|degrees|deg)|hot(?:ter)?(?= (?:again|and|at|,))|"
        "thermal(?:ly)?(?: (?:throttl\\w+|issues?|problems?|events?|slowdown|shutdown|alerts?|"
        "violations?))?|throttl(?:ed|es|ing)|nvlinks? (?:is |are |has |have |went |goes )?(?:down|"
        "errors?|fail\\w*|flapping|degraded|broken|inactive|crc)|not responding|does not respond|"
        "doesn't respond|stopped responding|unreachable|unresponsive|unhealthy|offline|went down|"
        "is down|are down|went dark|gone dark|hung|hangs|hanging|crash(?:ed|es|ing)?(?: ?loop\\w*)?|"
        "crash-?loop\\w*|segfaults?|segfaulting|out of memory|oom(?:ed|s|-?killed|ing)?|kernel panic|"
        "panicked|row[- ]remap\\w*|retired pages|page retirement|(?:falling|dropping|low) clocks?|"
        "(?:re-?boots?|re-?booted|restarts|restarted|re-?booting|power[- ]cycled) (?:by itself|on its own|itself|"
        "randomly|constantly|"
        "again and again|every)|(?:is|are) (?:hang|freeze)|hanged|freezes|froze|frozen|(?:doesn't|does not|don't|won't|"
        "not) (?:answer(?:ing)?|reply(?:ing)?|"
        "react(?:ing)?|boot(?:ing)?|come up|coming up|start up)|no answer from|went (?:silent|quiet)|silent since|"
        "clocks? (?:drop\\w*|fall\\w*|stuck)|nccl (?:timeouts?|errors?|hang\\w*|watchdog)|"
        "dead(?= gpu| node| card| host)|(?:is|are|looks|appears|seems|gone|went) (?:dead|sick|ill|"
        "bad|lost|stuck|broken|faulty|degraded|wedged|flaky|missing)|broken|faulty|failing|fails|"
        "keeps (?:failing|dying|crashing|rebooting|restarting|dropping|falling)|has failed|"
        "have failed|failed(?= gpu| node| worker| disk| card| over| with| on| at)|flapping|degraded|"
        "wedged|lost (?:a |one |two |its |contact|\\S{1,24} )?(?:gpus?|cards?|nodes?|heartbeat|"
        "connection|nvlink|link|fabric)|gpu (?:is )?(?:lost|missing)|missing gpus?|driver (?:mismatch|errors?|"
        "crash\\w*|"
        "version mismatch|problem|issue|hang)|no heartbeat|missed heartbeats|cuda errors?|"
        "illegal memory access|power (?:brake|supply fail\\w*)|fan (?:fail\\w*|speed)|memory errors?|"
        "pcie (?:errors?|link|downgrade\\w*|replay\\w*)|stuck at \\S{1,24}|(?:died|dies|dying)|"
        "not (?:visible|detected|showing up)|can't see (?:its|the) gpus?|zombie|acting up|acting weird|misbehav(?:es|"
        "ing)|playing up|on the fritz|"
        "(?<!be )(?<!get )(?<!gets )(?<!being )(?<!getting )preempted|"
        "lost its node|straggler|nan loss",
        "sobrecalient\\w*|sobrecalentad[oa]|falla(?:ndo|n|s)?|fallo|averiad[oa]|no responde|se cayo|"
        "caid[oa]|colgad[oa]|errores (?:ecc|xid|nvlink)|uberhitz\\w*|heiss|zu heiss|defekt\\w*|"
        "ausgefallen|reagiert nicht|antwortet nicht|abgesturzt|sturzt|hangt|fehlerhaft|kaputt|"
        "gestort|surchauff\\w*|en panne|ne repond (?:plus|pas)|plante\\w*|bloque[es]?|defaillan\\w*|"
        "trop chaud\\w*|surriscald\\w*|guast[oa]|non risponde|bloccat[oa]|superaquec\\w*|com defeito|"
        "nao responde|travad[oa]|caiu|quebrad[oa]",
        "过热|报错|出错|故障|掉卡|降频|温度过高|高温|异常|挂了|宕机|死机|崩溃|无响应|不响应|失联|"
        "坏了|掉线|卡住|過熱|高温|エラー|故障|落ちた|落ちて|落ちました|応答しない|応答なし|"
        "応答がない|反応しない|ハング|止まった|止まって|クラッシュ|壊れ|異常|熱い|不調|失敗し",
    )
)
"""Signs of a fault in a GPU, a node or a job."""
DEGREES = re.compile(
    rf"{_NUMBER} ?(?:°|º|deg(?:rees)?|grad(?:os|i|us)?|degres|graus|度)? ?(?:c|celsius|"
    rf"centigrade)(?![a-z0-9])|{_NUMBER} ?(?:°|º|degrees|grados|grad|degres|gradi|graus|度)"
)
HEAL_OBJECT = re.compile(
    words(
        "gpus?|nodes?|hosts?|machines?|servers?|workers?|cards?|jobs?|runs?|training|clusters?|"
        "nvlinks?|drivers?|fleet|pools?|endpoints?|replicas?|xid|ecc|fabric|switch|link|dcgm|nccl|"
        "racks?|daemon|agent|boxe?s?|deployment|service|pod|container|checkpoint|infiniband|ib|disk|"
        "nic|power|fan|thermal|replacement|instance|vm|incident|nodos?|servidor(?:es)?|maquinas?|"
        "tarjetas?|trabajos?|knoten|rechner|karten?|maschine|noeuds?|serveurs?|cartes?|taches?|nodi|"
        "schede?|macchina|placas?|tarefas?|trabalhos?",
        "节点|机器|服务器|卡|显卡|任务|作业|ノード|サーバー?|ジョブ|カード|ワーカー|枚目|番",
    )
    + f"|{_NAMES}|{_GPU}"
)
CANCEL_OBJECT = re.compile(
    words(
        "jobs?|runs?|tasks?|batch|batches|training|trainings|experiments?|sweeps?|deployments?|"
        "endpoints?|reservations?|fine-?tunes?|fine-?tuning|process(?:es)?|workloads?|goals?|"
        "requests?|it|everything|that|them|this|all|mine|benchmark|eval|evaluation|pipeline|chain|"
        "service|replicas?|inference|serving|launch|notebook|session|one|ones|submission|server|"
        "container|render|pretrain(?:ing)?|queue|queued|last|demo|test|model|schedule|"
        "trabajos?|tareas?|entrenamientos?|lote|experimento|ejecucion|job|auftrag|auftrage|lauf|"
        "laufe|training|reservierung|taches?|travail|entrainement|reservation|lavor[oi]|"
        "addestramento|prenotazione|processo|tarefas?|treinamento|reserva|ab|lo|la|le",
        "任务|作业|训练|推理|部署|ジョブ|タスク|学習|バッチ|予約|デプロイ|训练任务|预约",
    )
    + f"|{_NAMES}|{_NUMBER}|{mark(Kind.QUOTE, Kind.CODE)}"
)
POOL = re.compile(words("pools?|clusters?|endpoints?|fleet|partition|autoscaler|service|deployment|grupo|flotte"))
"""Standing capacity, which grows and shrinks."""
SCALE_OBJECT = re.compile(
    words(
        "pools?|clusters?|replicas?|endpoints?|deployments?|fleet|nodes?|capacity|service|group|"
        "gpus?|workers?|instances?|hosts?|machines?|servers?|boxes|autoscaler|inference|serving|"
        "pods?|queue|partition|cards?|quota pool|grupo|conjunto|replicas|capacidad|nodos|servicio|"
        "knoten|kapazitat|repliken|flotte|gruppe|noeuds?|capacite|repliques|flotte|service|nodi|"
        "capacita|repliche|nos|capacidade",
        "池|集群|副本|节点|实例|容量|卡|台|机器|服务|プール|クラスタ|レプリカ|ノード|台|容量|サービス|インスタンス",
    )
    + f"|{_GPU}|{_NAMES}"
)
