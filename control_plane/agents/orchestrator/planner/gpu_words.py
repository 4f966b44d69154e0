"""The grammar of GPU requests: patterns over a shadow that say how many GPUs, on how many nodes."""

import re

from control_plane.agents.orchestrator.planner.shadow import Kind, mark, words

N = mark(Kind.NUMBER)
G = mark(Kind.GPU)
M = mark(Kind.MEMORY)

NODE = words(
    "nodes?|box|boxes|machines?|hosts?|servers?|vms?|instances?|systems?|rigs?|chassis|dgxs?|hgxs?",
    "knoten|maschinen?|rechnern?|rechner|servern|hosts|nodos?|maquinas?|servidores?|noeuds?|"
    "serveurs?|nodi|macchine|macchina|server|instancias?|instanzen",
    f"个?节点|台服务器|台机器|台(?!の?{G})|ノード|ホスト|サーバー?|机器|대",
)
GPU_WORD = words(
    "gpus?|graphics cards?|cards?|accelerators?|gpu's|units|graphics processors?|chips",
    "grafikkarten?|karten?|tarjetas?(?: graficas?)?|cartes?(?: graphiques?)?|schede(?: grafiche|"
    " video)?|scheda|placas?(?: de video)?|beschleuniger",
    "张显卡|块显卡|张卡|块卡|个卡|张gpu|块gpu|个gpu|枚のgpu|基のgpu|枚gpu|台gpu|卡(?!住|死|顿)|显卡",
)
_FILL_WORDS = words(
    "more|additional|extra|idle|free|spare|of|the|your|our|those|these|fresh|new|cheap|dedicated|"
    "nvidia|amd|tesla|spot|preemptible|on-demand|interruptible|reserved|"
    "available|big|small|same|full|whole|single|other|unused|shared|type|x|pcs|pieces?|nos?\\.|nos|units|"
    "individual|local|good|old|older|newer|standard|regular|lowly|little|lone",
    "seule?s?|sola|solo|unica|unico|einzige[nrs]?|einzelne[nrs]?|unique|petite|piccola|pequena|kleine[nrs]?|"
    "mas|adicionales|weitere[nr]?|zusatzliche[nr]?|supplementaires?|nuevas?|neue[nr]?|libres?|"
    "freie[nr]?|stuck|mehr|piezas|unidades|de|von|di|tarjetas|karten|cartes|altre|altri|outras?",
    "个|張|张|块|枚|台|卡|颗|片|の|块的|张的",
)
FILL = rf"(?:(?:{_FILL_WORDS}|x|\*)[ -]?){{0,3}}"
GAP = r"[ -]?"
EACH = words(
    "each|apiece|per (?:node|machine|host|box|server|instance|vm)|a node|a piece|(?<=/)node|in each|on each|every node",
    "pro (?:knoten|maschine|rechner|server|host)|je knoten|jeweils|je|cada uno|cada una|por (?:nodo|"
    "maquina|servidor)|par (?:noeud|machine|serveur)|chacune?|"
    "per nodo|ciascun[oa]|l'uno|por (?:no|maquina)|cada",
    "每台|每个?节点|每机|各|ずつ|1台あたり|ノードあたり|ノードごと|毎ノード|/节点|/台",
    f"cada {N}|{N} cada {N}",
)
MULTIPLE = words(
    "checkpoints?|configs?|configurations?|candidates?|folds?|replicas?|copies|pods?|workers?|trials?|seeds?|"
    "variants?|shards?|experiments?|models?|runs|jobs|"
    "trainings|tasks|endpoints?|streams|repliken?|replikate|instanzen|repliche|copias|modelos?|"
    "modelle|modeles?|modelli|ensayos?|experimentos?|trabajos|copies|replique",
    "个副本|副本|个实例|レプリカ|个模型|个任务|个实验|モデル|ジョブ",
)
PER_MULTIPLE = words(
    "each|apiece|per (?:replica|copy|pod|worker|trial|seed|variant|shard|experiment|model|run|job|"
    "task|endpoint|stream)",
    "jeweils|je|pro (?:replik|replika|modell|lauf|versuch|job)|cada uno|cada una|por (?:replica|"
    "modelo|copia|ensayo|experimento|trabajo)|par (?:replica|replique|modele|essai|copie|job)|"
    "chacune?|per replica|ciascun[oa]|cada|a piece",
    "每个?副本|每个?模型|每个?任务|每个|各|ずつ|レプリカごと|レプリカあたり",
    f"cada {N}|{N} cada {N}",
)
ALL_AT_ONCE = words(
    "in parallel|at a time|at once|concurrently|concurrent|simultaneously|simultaneous|parallel|"
    "side by side|at the same time|gleichzeitig|parallel|en paralelo|a la vez|simultaneamente|"
    "en parallele|simultanement|in parallelo|em paralelo",
    "并行|同时|並列|同時",
)
_TO = r" ?(?:-|~|to|\.\.|up to|bis|bis zu|a|ate|hasta|or|oder|o|ou|and|und|y|e|et|到|至|から|〜) ?"
_WAY = rf"(?:{GAP}(?:way|gpu|gpus|card|fach|er)(?![a-z])|x|卡)"

NODES_OF_WAY = re.compile(
    rf"(?P<n>{N}) ?(?:x|\*|台)? ?(?P<g2>{G})?{FILL}(?P<p>{N}){_WAY}{GAP}(?:{FILL}(?P<g>{G}) ?)?(?:g"
    rf"pu )?(?:的|の)?{NODE}"
)
CJK_NODES_WAY = re.compile(rf"(?P<n>{N})台(?:的|の)?(?P<p>{N})(?:卡|枚|张|块|x) ?(?:的|の)?(?P<g>{G})?")
A_WAY_NODE = re.compile(
    rf"(?<![a-z0-9])(?P<n>an?|one|ein|eine[nm]?|una?|une|full|entire|whole|{N}) (?:full |entire |"
    rf"whole |single |dedicated )?(?P<p>{N}){_WAY}{GAP}(?:{FILL}(?P<g>{G}) ?)?{NODE}"
)
A_NODE_WITH = re.compile(
    rf"(?<![a-z0-9])(?P<n>an?|one|single|ein|eine[nm]?|una?|une|uma?) (?:single |new |gpu |fresh |more |"
    rf"extra |physical |bare-metal ){{0,2}}{NODE} (?:with|of|having|mit|con|avec|com|carrying|"
    rf"containing) (?P<p>{N}) ?(?:x|\*)?{GAP}(?:{FILL}(?P<g>{G})|{GPU_WORD})"
)
NODES_EACH = re.compile(
    rf"(?P<n>{N}) ?(?:x|\*)? ?{FILL}(?P<g2>{G})?{GAP}(?:gpu |compute |worker )?{NODE},? ?\(?(?:of|"
    rf"with|having|each with|each having|x|\*|@|at|mit je|mit jeweils|mit|de|con|avec|da|com|"
    rf"containing|each|carrying|und je|a|à|je|各|每台|に|、|每节点)"
    rf" ?(?:each |are |have |has |cada uno |je |jeweils )?(?P<p>{N}) ?(?:x|\*)?{GAP}{FILL}(?P<g>{G})?"
)
CROSS = re.compile(rf"(?P<n>{N}) ?(?:x|\*) ?\(?(?P<p>{N})(?: ?(?:x|\*))?{GAP}(?:{FILL}(?P<g>{G})|{GPU_WORD})")
TYPE_CROSS = re.compile(rf"(?P<g>{G})(?: gpus?)?[ :=,(]{{0,3}}(?P<n>{N}) ?(?:x|\*) ?(?P<p>{N})(?![a-z])")
PER_NODE = re.compile(
    rf"(?P<p>{N}) ?(?:x|\*)?{GAP}(?:{FILL}(?P<g>{G})(?: ?{GPU_WORD})?|"
    rf"{GPU_WORD}(?: of type)?)? ?(?:on |in |/|\()?{EACH}"
)
EACH_WITH = re.compile(
    rf"{EACH} ?(?:with |containing |equipped with |holding |having |has |have |mit |con |avec |com |hat |"
    rf"carrying |needs? |uses? |to |"
    rf"on |node )?(?P<p>{N}) ?(?:x|\*)?{GAP}(?:{FILL}(?P<g>{G})|{GPU_WORD})"
)
NODE_COUNT = re.compile(
    rf"(?P<n>{N}) ?(?:x|\*)? ?(?:-|{FILL})(?P<m>{M} )?(?P<g>{G})?{GAP}(?:gpu |compute |worker |"
    rf"physical |separate |different |bare-metal |distinct )?{NODE}(?! ?(?:{N}|hours?))"
)
TYPE_NODES = re.compile(rf"(?P<g>{G}) ?{NODE} ?(?:x|\*|:|,) ?(?P<n>{N})(?! ?{MULTIPLE})")
NODE_KEY = re.compile(rf"(?<![a-z])(?:nodes?|num nodes|nnodes|knoten|nodos|noeuds|节点数?|ノード数?) ?[:=] ?(?P<n>{N})")

RANGE = re.compile(rf"(?P<low>{N}){_TO}(?P<n>{N}) ?(?:x|\*)?{GAP}(?:{FILL}(?P<g>{G})|{GPU_WORD})")
FROM_TO = re.compile(
    rf"(?:from|von|de|da|desde|从|由) ?(?P<low>{N}) ?(?:x"
    rf")? ?(?:{FILL}{G} ?)?(?:{GPU_WORD} ?)?(?:{NODE} ?)?(?:replicas? )?(?:to|auf|a|hasta|a la|à|"
    rf"para|到|增加到|から|->|up to) ?(?P<n>{N}) ?(?:x)? ?(?:{FILL}(?P<g>{G})|"
    rf"{GPU_WORD})?(?! ?(?:{NODE}|{MULTIPLE}))"
)
PART_OF = re.compile(
    rf"(?P<n>{N}) of (?:the |our |my |its |those |these )?(?:{N}) ?(?:x )?(?:{FILL}(?P<g>{G})|{GPU_WORD})"
)
TOTAL = re.compile(
    rf"(?P<n>{N}) ?(?:x|\*|pcs|-way)?{GAP}(?:{FILL}(?:{GPU_WORD} ?(?:of |of type |type |de |von |di |"
    rf"vom typ |de tipo |: ?|\(|的)?)?)(?:(?P<m>{M}){GAP}(?:vram |gpu )?{FILL})?(?P<g>{G})"
)
TOTAL_MEMORY = re.compile(rf"(?P<n>{N}) ?(?:x|\*)?{GAP}{FILL}(?P<m>{M}) ?{GPU_WORD}")
GPUS = re.compile(
    rf"(?P<n>{N}) ?(?:x|\*)?{GAP}{FILL}{GPU_WORD}(?! ?(?:hours?|hrs?|memory|mem|index|"
    rf"ram)(?![a-z]))(?:[ ,(]{{1,2}}(?:of )?(?:type |vom typ |de tipo |nvidia )?(?P<g>{G}))?"
)
TYPE_TIMES = re.compile(
    rf"(?P<g>{G})(?:'?s)?(?: ?{GPU_WORD})? ?(?:[x*:=]|を|が|,? ?(?:count|qty|quantity|anzahl|"
    rf"数量)[ :=]{{0,3}}|\() ?x?(?P<n>{N})(?! ?(?:h|min|-?way|-?gpu|{NODE}|gb)(?![a-z]))(?!:)"
)
TYPE_COUNTED = re.compile(
    rf"(?P<g>{G}) ?(?:gpu ?)?(?:x )?(?P<n>{N}) ?(?:x(?![a-z])|{GPU_WORD}|つ|张|块|枚|基|颗|片|個|个|장|개|台)"
)
ONLY_TYPE = re.compile(
    rf"(?:(?<![a-z])(?:only|exclusively|solely|nothing but|nur|ausschliesslich|solo|uniquement|seulement|apenas)"
    rf"(?: (?:use|using|on|with|the|run|runs|running|be|auf|con|avec|en|sur|nvidia))* ({G})|"
    rf"({G})(?:'?s)?(?: (?:gpus?|cards?|hardware|nodes?|machines?))?,? (?:only|exclusively)(?![a-z]))"
)
ONE_OF_TYPE = re.compile(
    rf"(?<![a-z0-9])(?P<n>an?|one|un|une|una|ein|eine|einen|einer|einem|uma?|uno|a single|just one|"
    rf"su|auf) (?:single |spare |idle |lone |free |cheap |spot |nvidia |small |sola |seul |"
    rf"einzigen? |einzelnen? |dedicated |whole |full |preemptible |little |solo |"
    rf"unica ){{0,2}}(?P<m>{M} )?(?P<g>{G})(?!(?:s| ?{NODE}| ?(?:pool|cluster|queue|fleet)))"
)
KEYED = re.compile(
    rf"(?<![a-z])(?:(?:num(?:ber of)? gpus|gpus? ?count|ngpus?|gpu number|count|qty|quantity|"
    rf"anzahl(?: gpus| der gpus)?|cantidad|nombre de gpus?|gpu ?数量?|数量|枚数)(?: ?[:=] ?| is | )|"
    rf"gpus? ?[:=] ?)"
    rf"(?P<n>{N})(?! ?(?:x|\*) ?{N})"
)
FLAGGED = re.compile(rf"--?(?:gpus?|num-gpus|gres=gpu|gpus-per-task|n-?gpus)[ =:](?P<n>{N})")
FLAGGED_PER_NODE = re.compile(
    rf"(?<![a-z])(?:gpus?[ -]per[ -]node|nproc[ -]per[ -]node|per[ -]node) ?[:= ] ?(?P<p>{N})"
)
UP_TO = re.compile(
    rf"(?P<g>{G})(?! ?(?:x|\*)? ?{N})[^.;\n]{{0,32}}?(?:up to|max(?:imum)?(?: of)?|at most|"
    rf"limit(?:ed)? to|no more than|hasta|bis zu|jusqu'a) ?(?P<n>{N})(?= ?(?:[,.;)\n]|$|of them|"
    rf"gpus?))"
)
ONE_GPU = re.compile(
    rf"(?<![a-z0-9])(?P<n>an?|one|un|une|una|ein|eine|einen|einer|uma?|a single) (?:single |spare |"
    rf"idle |free |cheap |spot |nvidia |small |dedicated ){{0,2}}(?P<m>{M} )?(?:gpu|"
    rf"graphics card|grafikkarte|carte graphique|tarjeta grafica|scheda grafica|"
    rf"placa de video)(?![a-z0-9-]| (?:cluster|fleet|pool|hours?|node|server|box|machine|memory|"
    rf"type))"
)
OF_THEM = re.compile(
    rf"(?:just|only|a single|a total of|(?:train|run|tune|fine-?tune|work|runs)(?: it| this|"
    rf" them)? on) (?P<n2>{N})(?= ?(?:[,.;)\n]|$| (?:for|please|pls|is|will|to|"
    rf"of them)(?![a-z])))|"
    rf"(?P<n3>{N}) (?:is (?:enough|plenty|fine|ok|sufficient)|are (?:enough|plenty|fine|sufficient)|will do|suffices?|"
    rf"should do)|"
    rf"(?P<n>{N}) (?:of (?:them|those|these)|davon|de ellas|de ellos|d'entre|di loro|delas|deles)(?![a-z])"
)

_AUTOSCALED = words("auto-?scal(?:e|es|ing|ed)|replicas?")
AUTOSCALE_RANGE = re.compile(
    rf"(?:{_AUTOSCALED})(?: \S{{1,16}}){{0,4}}? (?:between|from|zwischen|entre|tra|von) (?P<low>{N}) ?(?:and|to|und|y|"
    rf"et|e|bis|a|-) ?"
    rf"(?P<n>{N}) ?(?:{FILL}(?P<g>{G}))?"
)
REPLICA_RANGE = re.compile(
    rf"(?P<low>{N}) ?(?:{MULTIPLE} ?)?{_TO}(?:a maximum of |max(?:imum)? |"
    rf"at most )?(?P<n>{N}) ?(?:{FILL}(?P<g>{G})[ -]?)?{FILL}{MULTIPLE}"
)
MIN_MAX_REPLICAS = re.compile(
    rf"(?:min(?:imum)?|at least|no fewer than)(?: of)?[ :=]{{0,2}}(?P<low>{N})(?: ?{MULTIPLE})?[ ,/;]{{0,2}}(?:and |"
    rf"to |but |up to )?"
    rf"(?:an? )?(?:max(?:imum)?|at most|no more than|"
    rf"up to)(?: of)?[ :=]{{0,2}}(?P<n>{N})(?: ?{FILL}(?P<g>{G}))?(?: ?{FILL}{MULTIPLE})?(?! ?(?:hours?|h(?![a-z])))"
)
REPLICAS_OF_TYPE = re.compile(
    rf"(?P<n>{N}) ?(?:x )?{FILL}(?P<g>{G})[ -]?(?:replicas?|copies|pods?|repliken|repliche)(?![a-z])"
)
REPLICA_KEYS = re.compile(
    rf"(?:max(?:imum)?[ -]?(?:replicas?|workers|pods|copies)?|up to|replicas?[ -]?max|hasta|bis zu|"
    rf"jusqu'a|fino a|ate|最多|最大)[ :=]{{0,2}}(?P<n>{N})(?: ?{FILL}{MULTIPLE})"
)
MAX_REPLICA_KEY = re.compile(
    rf"(?<![a-z])max(?:imum)? ?[:=]? ?(?P<n>{N})(?=[ .,;)\n]|$)(?! ?(?:gpu|hours?|min|h(?![a-z])|usd|€|\$))"
)
REPLICAS = re.compile(rf"(?P<n>{N}) ?(?:x )?(?:{FILL}|(?:[a-z0-9-]{{1,16}} ){{0,2}}){MULTIPLE}")
REPLICA_KEY = re.compile(
    rf"(?<![a-z])(?:replicas?|copies|workers|副本数?|レプリカ数?) ?[:=]? ?(?P<n>{N})(?! ?(?:{NODE}|"
    rf"{GPU_WORD}))"
)
AT_A_TIME = re.compile(
    rf"(?P<n>{N})(?: {MULTIPLE}| of them)? ?{ALL_AT_ONCE}|(?:concurrency|parallelism|"
    rf"max parallel)(?: of)?[ :=]{{0,2}}(?P<n2>{N})"
)
PER_REPLICA = re.compile(
    rf"(?:(?P<p>{N}) ?(?:x|\*)?{GAP}{FILL}|(?P<one>an?|one|un|une|una|ein|eine|einen|uma?|"
    rf"auf) )(?:(?:{M}) )?(?:(?P<g>{G})|{GPU_WORD})(?: ?{GPU_WORD})?,? ?(?:for |on |/)?{PER_MULTIPLE}"
)
EACH_ON = re.compile(
    rf"{PER_MULTIPLE}(?: replica| one| copy| model)? ?(?:with |having |on |using |gets? |needs? |"
    rf"uses? |takes? |of |mit |con |avec |sur |en |auf |su |com |em |has |to |, ?|:|=|是|用|に|"
    rf"on its own |sobre ){{0,2}}(?:(?P<p>{N}) ?(?:x|\*)?{GAP}{FILL}|(?P<one>an?|one|un|une|una|"
    rf"ein|eine|einen|einer|uma?|its own|a single) ?(?:single )?)(?:(?P<g>{G})|{GPU_WORD})"
)
MULTIPLE_OF = re.compile(
    rf"(?P<n>{N}) (?:[a-z0-9-]{{1,16}} ){{0,2}}?{MULTIPLE} ?(?:of|x|with|@|à|mit|con|avec|com|"
    rf"a) (?:(?P<p>{N}) ?(?:x)?{GAP}{FILL}|(?P<one>an?|one) )(?:(?P<g>{G})|{GPU_WORD})"
)

OR_TYPE = re.compile(
    rf"({G})(?:s| ?{GPU_WORD})?,? ?(?:or|/|oder|ou|o|または|或者?|か|or even|if not,?|else|"
    rf", failing that,?|and if not available,?) ?(?:an? |some |{N} ?x? ?)?{FILL}({G})"
)
MEMORY_OF_TYPE = re.compile(
    rf"({M})(?:[ -](?:vram|gpu|hbm))?[ -]?(?:version of |variant of |nvidia )?({G})|({G})(?: gpus?|"
    rf" cards?)?s?(?: with | w/ | mit | con | avec | com | de | da | of | à | \(|-|/|,? ?| a |"
    rf" x)(?:the |at least |mindestens |al menos |minimum |min |>= ?)?({M})(?! ?(?:ram|system|disk|"
    rf"data|dataset|of (?:ram|data|images)|storage|host))"
)
MEMORY_WORD = words(
    "vram|gpu ?-?mem(?:ory)?|gpu ram|video memory|video ram|hbm|graphics memory|memory per gpu|"
    "grafikspeicher|gpu-speicher|memoria (?:de |della )?gpu|memoire gpu|per gpu|per card|pro gpu|"
    "por gpu|par gpu",
    "显存|gpu内存|ビデオメモリ|gpuメモリ",
)
MEMORY_REQUEST = re.compile(
    rf"(?:something|anything|whatever(?:'s| is)?(?: \S{{1,12}})?|one|stuff|a card|cards) (?:with|of|that has|having|>=|"
    rf"at) "
    rf"(?:at least |over |min(?:imum)? |>= ?)?({M})(?! ?(?:ram|system|disk|data|dataset|storage))|"
    rf"(?<![a-z])(?:gpu )?(?:mem|vram) ?[:=] ?({M})|"
    rf"({M})(?: ?\+)?,? (?:each|apiece)(?! (?:of )?(?:ram|disk|storage))|({M}) ?(?:\+ ?|or more |plus |"
    rf"minimum |min |of |"
    rf"de |di |d'|以上的?|の|"
    rf"及以上)?(?:{MEMORY_WORD}|(?:{FILL}){GPU_WORD})|(?:{MEMORY_WORD}|{GPU_WORD}) ?(?:\(?(?:with|of|"
    rf"having|that have|offering|>=|>|at least|min(?:imum)?|mit|mindestens|con|al menos|avec|"
    rf"au moins|almeno|com|pelo menos|de|:|=|is|must be|至少|不少于|大于|not less than|over|has|have|"
    rf"memory|vram|ram|more than|under|以上|は|が| ){{0,5}})({M})(?! ?(?:ram|system|disk|data|"
    rf"dataset|storage))"
)

ANY_IDLE = re.compile(
    words(
        "whatever(?:'s| is| are)? (?:is )?(?:idle|free|available|left|spare|unused|cheapest)|"
        "whatever gpus?|whatever you (?:have|can find)|whatever fits|any (?:idle|free|available|"
        "spare|gpus?|cards?|gpu type|type|kind|hardware)|anything (?:idle|free|available|goes)|"
        "idle (?:gpus?|capacity|cards|machines|nodes)|"
        "spare (?:capacity|gpus?)|leftover (?:gpus?|capacity)|unused (?:gpus?|capacity)|"
        "gpu type (?:doesn't|does not) matter|don't care which gpus?|which(?:ever)? (?:gpu|"
        "type) is (?:free|idle|cheapest)|cheapest (?:gpus?|option|card|available)",
        "was (?:gerade )?frei ist|egal welche|irgendeine?r? gpu|freie(?:n)? gpus?|lo que (?:este|"
        "haya) (?:libre|disponible)|cualquier gpu|ce qui est (?:libre|disponible)|"
        "n'importe quel(?:le)? gpu|quello che e (?:libero|disponibile)|qualsiasi gpu|"
        "o que estiver (?:livre|disponivel)|qualquer gpu",
        "空闲的?(?:gpu|卡|机器|资源)?|任意gpu|随便|空いている(?:gpu|もの)?|どの?gpuでも",
    )
)
