"""Existing things a goal is about: jobs, nodes, a GPU of a node, a team, a pool."""

import re
from collections.abc import Iterator

from control_plane.agents.orchestrator.planner.facts import Fact
from control_plane.agents.orchestrator.planner.literals import Literal
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, kind_of, mark, words

_NAME = mark(Kind.NAME)
_NUMBER = mark(Kind.NUMBER)
_QUOTED = mark(Kind.QUOTE, Kind.CODE)
_WORDS_BETWEEN = (
    r"(?: (?:id|ids|named|called|name|number|no\.?|nr\.?|with id|llamado|llamada|namens|nomme|mit id|"
    r"con id|the|el|de|der|die|gpu|training|train|batch|inference|fine-?tuning|eval)){0,4}[ :=#-]{0,2}#?"
)
_JOB_WORD = words(
    "jobs?|runs?|tasks?|training|trainings|train|batch|batches|experiments?|sweeps?|reservations?|"
    "deployments?|endpoints?|allocations?|workloads?|goals?|process|fine-?tune|pipelines?|services?",
    "trabajos?|tareas?|entrenamientos?|auftrag|auftrage|laufs?|prozess|taches?|travail|travaux|"
    "entrainement|lavor[oi]|processo|tarefas?|treinamento|addestramento",
    "任务|作业|训练|ジョブ|タスク",
)
_NODE_WORD = words(
    "nodes?|hosts?|machines?|workers?|servers?|box|boxes|instances?|vms?",
    "nodos?|maquinas?|servidor(?:es)?|knoten|rechner|maschinen?|noeuds?|serveurs?|nodi|server|macchina",
    "节点|机器|主机|服务器|ノード|ホスト|サーバー?|ワーカー",
)
_JOB = re.compile(
    rf"{_JOB_WORD}{_WORDS_BETWEEN}(?P<id>{_NAME}|{_NUMBER}(?! ?(?:x|gpu|hours?|h(?![a-z])|"
    rf"{mark(Kind.GPU)}|(?:[a-z-]+ ){{0,2}}(?:jobs|runs|tasks|trainings|experiments|batches|replicas)))|{_QUOTED})"
)
_NODE = re.compile(
    rf"{_NODE_WORD}{_WORDS_BETWEEN}(?P<id>{_NAME}|{_NUMBER}(?! ?(?:x|gpu|hours?|h(?![a-z])|"
    rf"{mark(Kind.GPU)})))"
)
_NEXT = re.compile(rf" ?(?:,|and|und|y|et|e|or|&|/|和|、|と) ?(?:{_NODE_WORD} |{_JOB_WORD} )?(?P<id>{_NAME})")
_KNOWN_JOB_ID = re.compile(
    r"(?:j|job|run|tr|b|ft|exp|task|batch|inf|ev|eval|bm|sweep|train|a|ft|sv|svc|ep|dep|infer|serve|"
    r"pt|sft|g|goal|res)-?[0-9][0-9a-z-]{0,20}"
)
_JOB_ID = re.compile(_KNOWN_JOB_ID.pattern + r"|[a-mo-z][a-z]?-[0-9a-z]{12}|[a-z]{1,6}-\d{1,8}")
_NODE_ID = re.compile(
    r"[nw][-_]?[0-9][0-9a-z.-]{0,24}|(?:node|host|worker|gpu-?node|gpuhost|gpu-host|srv|server|machine|box|"
    r"dgx|hgx|rack|nd|"
    r"gpu-[a-z]{1,8}|gpu-box|compute|gpu-worker|knoten|nodo|vm|gpu-vm|hv|"
    r"hpc)[-_]?[a-z]{0,3}[-_]?[0-9][0-9a-z.-]{0,24}|(?:[a-z]{2,12}-)+(?:node|gpu|host|worker|w|"
    r"n)-?\d{1,5}|n-[0-9a-z]{12}|[a-z]{1,3}\d{1,4}-(?:gpu|node|n|h)?-?\d{1,4}"
)
_MODEL = re.compile(
    r"(?:[a-z]+[-.])*[a-z]*[\d.]*-?\d+(?:\.\d+)?x?\d*[bm](?:-.*)?|(?:llama|qwen|mistral|mixtral|gemma|phi|bert|roberta|"
    r"gpt|t5|"
    r"whisper|yolo|resnet|vit|sdxl|clip|deepseek|falcon|bloom|opt|flan|bge|e5|llava|wav2vec|stable|flux|claude|olmo|"
    r"starcoder|codellama|command|yi|glm|internlm|embedding|imagenet|cifar|v)-?[\d.]*v?\d.*"
)
_GPU_INDEX = re.compile(
    rf"(?:{mark(Kind.GPU)} ?|(?<![a-z0-9])(?:gpus?|card|device|cuda|karte|tarjeta|carte|卡) ?)(?:#|"
    rf"no\.? ?|nr\.? ?|index ?|number ?|id ?|:|numero ?)?[=:]? ?(?P<n>{_NUMBER})(?! ?(?:x|gpus?|"
    rf"hours?|{mark(Kind.GPU)}|{_NODE_WORD}|枚|张))|第(?P<n2>{_NUMBER})[张块号个]|"
    rf"(?P<n3>{_NUMBER})(?:番|号)(?:目の?)?(?:gpu|卡)"
)
_GPU_NAME = re.compile(r"gpu-?(\d{1,2})")
_MAX_GPU_INDEX = 31
_ALL_OF_MINE = re.compile(
    r"[ \n]*(?:(?:please|pls|now|ok|okay|can you|could you) )*"
    r"(?:(?:cancel|stop|kill|abort|terminate|end|halt)"
    r"(?P<en> (?:all |all of |every one of |each of )?(?:my|my own)(?: own| current)? (?:jobs|runs|trainings|tasks|"
    r"workloads)| (?:all of |all )mine| (?:everything|all) (?:of mine|(?:that )?i(?:'m| am| have| started| run)"
    r"(?: running)?))|"
    r"(?:cancela|deten|para)(?P<es> (?:todos )?mis (?:trabajos|tareas))|"
    r"(?:stoppe|storniere|beende)(?P<de> alle meine (?:jobs|auftrage|laufe))|"
    r"(?:annule|arrete)(?P<fr> tous mes (?:jobs|travaux))|"
    r"(?:取消|停止)(?P<zh>我的?(?:所有|全部)的?(?:任务|作业)))"
    r"(?: (?:please|pls|now|right now|right away|immediately|at once|asap|today|thanks))*[ .!\n]*"
)
"""All of a wish: what says more, such as "except", "on node-3" or "older than", means fewer than all."""
_STOP = (
    "the|a|an|my|our|your|which|what|this|that|each|every|per|whole|entire|did|has|have|is|was|all|any|"
    "other|another|and|or|of|for|to|in|on|from|how|much|by|same|gpu|pool|team|does|equipo|el|la"
)
_PATH = r"(?:/[a-z0-9][a-z0-9-]{0,24}){0,4}"  # a team in a team: research/nlp
_NO_TEAM = f"(?:{_STOP}|budgets?|spending|spend|costs?|bill|members?|leads?)(?![a-z])"
_TEAM = re.compile(
    rf"(?<![a-z])(?:team|equipo|equipe|squad|group|abteilung) (?P<a>(?!{_NO_TEAM})[a-z][a-z0-9-]{{1,24}}{_PATH})"
    r"(?! of)|"
    rf"(?<![a-z/])(?P<b>(?!(?:{_STOP})(?![a-z]))[a-z][a-z0-9-]{{1,24}}{_PATH})(?:'s)?[ -](?:team|squad)(?![a-z])|"
    r"(?P<c>[a-z]{2,24})(?:团队|组|チーム)|"
    r"(?<![\w./-])(?P<d>[a-z][a-z0-9-]{1,24}(?:/[a-z][a-z0-9-]{1,24}){1,4})(?='s)?"
    r"(?= (?:spend|spent|spends|burn|burnt|burned|cost|costs|owe|owes|pay|paid|use|used)(?![a-z]))"
)
_POOL = re.compile(
    rf"(?<![a-z])(?:pool|cluster|partition|queue|fleet|endpoint|deployment|"
    rf"service)(?: is)? (?:called|named|llamado|namens|nomme) (?P<a>[a-z][a-z0-9-]{{1,32}}|{_NAME}|"
    rf"{_QUOTED})|(?<![a-z])(?:pool|partition)[ :=]{{1,2}}(?P<d>(?!(?:{_STOP}|until|till|by|with|up|down|at|"
    rf"when|if|as|please|so|now|size|has|back|is|are|right|tonight|tomorrow|today|needs?|should|after|before)"
    rf"(?![a-z]))[a-z][a-z0-9-]{{1,32}}|{_NAME})|"
    rf"(?<![a-z])(?:endpoint|deployment|service)[ :=]{{1,2}}(?P<e>[a-z][a-z0-9]{{0,24}}(?:-[a-z0-9]{{1,24}}){{1,4}}|"
    rf"{_NAME})|"
    rf"(?<![a-z])(?P<f>[a-z][a-z0-9]{{0,24}}(?:-[a-z0-9]{{1,24}}){{1,4}}|{_NAME})[ -](?:endpoint|deployment)(?![a-z])|"
    rf"(?<![a-z])(?:reduce|scale|grow|shrink|increase|decrease|set|expand|resize|bring|raise|lower) (?:up |down )?"
    rf"(?P<i>[a-z][a-z0-9]{{0,24}}(?:-[a-z0-9]{{1,24}}){{1,4}}|{_NAME}) (?:up |down )?to {_NUMBER} replicas?(?![a-z])|"
    rf"(?<![a-z])replicas (?:of|for) (?:the )?(?P<g>[a-z][a-z0-9]{{0,24}}(?:-[a-z0-9]{{1,24}}){{1,4}}|{_NAME})|"
    r"(?<![a-z])(?:more|another|extra|additional)[^.;\n]{0,24}? (?:in|into|to|on|for) (?:the )?"
    rf"(?P<h>[a-z][a-z0-9]{{0,24}}(?:-[a-z0-9]{{1,24}}){{1,4}})(?![a-z])|"
    rf"(?<![a-z])(?P<b>(?!(?:{_STOP}|den|der|dem|die|das|le|les|il|un|una|uma|o|grow|shrink|bring|scale|resize|double|"
    rf"halve|triple|expand|"
    rf"drain|empty|make|set|give|add|take|empty|fill|node|gpu|idle|new|existing|shared|current|local|k8s|"
    rf"kubernetes|inference|warm|cold)(?![a-z]))[a-z][a-z0-9-]{{1,32}}|{_NAME})[ -](?:pool|partition|"
    rf"queue)(?![a-z])|(?<![a-z])pool[ :=]{{1,2}}(?P<c>(?!(?:{_STOP}|until|till|by|with|up|down|at|"
    rf"when|if|as|please|so|now|size|has)(?![a-z]))[a-z][a-z0-9-]{{1,32}}|{_NAME})"
)


def _looks_like_job(name: str) -> bool:
    plain = name.lower()
    if _KNOWN_JOB_ID.fullmatch(plain):
        return True
    return _JOB_ID.fullmatch(plain) is not None and _NODE_ID.fullmatch(plain) is None


def is_node_name(name: str) -> bool:
    """Whether a name looks like that of a node."""
    return _NODE_ID.fullmatch(name.lower()) is not None and not _looks_like_job(name)


def read_jobs(shadow: Shadow, nodes: Fact[tuple[str, ...]] | None) -> Fact[tuple[str, ...]] | None:
    """Read the ids of existing jobs: behind a word for a job, or of a job id's look."""
    taken = set(nodes.spans) if nodes else set()
    found = list(_listed(shadow, _JOB, _JOB_ID))
    found += [(value, shadow.span(at, at + 1)) for at, value in shadow.marks(Kind.NAME) if _looks_like_job(value)]
    return _fact([item for item in found if item[1] not in taken and not _MODEL.fullmatch(item[0].lower())])


def read_nodes(shadow: Shadow) -> Fact[tuple[str, ...]] | None:
    """Read the names of nodes: behind a word for a node, or of a node name's look."""
    found = list(_listed(shadow, _NODE, _NODE_ID))
    indexed = _GPU_INDEX.search(shadow.text)
    job_spans = {span for _, span in _listed(shadow, _JOB, _JOB_ID)}
    for at, value in shadow.marks(Kind.NAME):
        span = shadow.span(at, at + 1)
        a_host = indexed and _GPU_NAME.fullmatch(value.lower())
        a_node = _NODE_ID.fullmatch(value.lower()) and not _looks_like_job(value) and span not in job_spans
        if a_host or a_node:
            found.append((value, span))
    return _fact(found)


def read_gpu_index(shadow: Shadow) -> Fact[int] | None:
    """Read which GPU of a node is meant: `GPU 3`, `gpu-3`."""
    for match in _GPU_INDEX.finditer(shadow.text):
        value = shadow.values[match.group("n") or match.group("n2") or match.group("n3")]
        if value == int(value) and 0 <= value <= _MAX_GPU_INDEX:
            return Fact(int(value), (shadow.span(*match.span()),))
    for at, name in shadow.marks(Kind.NAME):
        found = _GPU_NAME.fullmatch(name.lower())
        if found:
            return Fact(int(found.group(1)), (shadow.span(at, at + 1),))
    compact = re.search(r"(?<![a-z0-9])gpu(\d{1,2})(?![a-z0-9])", shadow.text)
    return Fact(int(compact.group(1)), (shadow.span(*compact.span()),)) if compact else None


def read_team(shadow: Shadow) -> Fact[str] | None:
    """Read the team that a goal names."""
    return _named(shadow, _TEAM)


def read_pool(shadow: Shadow) -> Fact[str] | None:
    """Read the pool (or cluster, or endpoint called something) that a goal names."""
    return _named(shadow, _POOL)


def read_all_of_mine(shadow: Shadow) -> Fact[bool] | None:
    """Read the wish to cancel every job of one's own, where it is all that a goal says."""
    match = _ALL_OF_MINE.fullmatch(shadow.text)
    if match is None or match.lastgroup is None:
        return None
    start, end = match.span(match.lastgroup)
    return Fact(value=True, spans=(shadow.span(start + (shadow.text[start] == " "), end),))


def _named(shadow: Shadow, pattern: re.Pattern[str]) -> Fact[str] | None:
    match = pattern.search(shadow.text)
    if match is None:
        return None
    group = next(name for name in "abcdefghi" if match.groupdict().get(name))
    start, end = match.span(group)
    return Fact(_text(shadow, start, end), (shadow.span(start, end),))


def _text(shadow: Shadow, start: int, end: int) -> str:
    if end == start + 1 and kind_of(shadow.text[start]) is not None:
        value = shadow.values[shadow.text[start]]
        return value.text if isinstance(value, Literal) else str(value)
    return shadow.words(start, end)


def _listed(shadow: Shadow, pattern: re.Pattern[str], look: re.Pattern[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    for match in pattern.finditer(shadow.text):
        at = match.start("id")
        value = _text(shadow, at, at + 1)
        if " " in value:
            continue
        if kind_of(shadow.text[at]) is Kind.NAME and not (
            look.fullmatch(value.lower()) or "-" in value or value.isalnum()
        ):
            continue
        yield value, shadow.span(at, at + 1)
        following = _NEXT.match(shadow.text, match.end())
        while following:
            at = following.start("id")
            yield _text(shadow, at, at + 1), shadow.span(at, at + 1)
            following = _NEXT.match(shadow.text, following.end())


def _fact(found: list[tuple[str, tuple[int, int]]]) -> Fact[tuple[str, ...]] | None:
    unique = dict(reversed([(value, span) for value, span in found]))
    ordered = sorted(unique.items(), key=lambda item: item[1])
    if not ordered:
        return None
    return Fact(tuple(value for value, _ in ordered), tuple(span for _, span in ordered))
