"""Clauses: where one job of a goal ends and the next begins, and which waits for which."""

import re
from dataclasses import dataclass, replace

from control_plane.agents.orchestrator.planner.gpu_request import read_gpus
from control_plane.agents.orchestrator.planner.intent import Request, launch_requests
from control_plane.agents.orchestrator.planner.preferences import excluded_marks
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words
from control_plane.model.plan import Intent

MAX_JOBS = 32


@dataclass(frozen=True, slots=True)
class Clause:
    """One job's part of a goal, [start, end) of the shadow, with the indexes of the clauses it waits for."""

    start: int
    end: int
    request: Request | None
    depends_on: tuple[int, ...] = ()


_NOT_A_REFERENCE = "".join(
    f"(?<!{lead} )"
    for lead in (
        "after",
        "once",
        "when",
        "of",
        "from",
        "on",
        "the",
        "and",
        "for",
        "needs",
        "nach",
        "with",
        "in",
        "each",
        "per",
        "every",
    )
)
_STEP = (
    _NOT_A_REFERENCE
    + (
        r"(?:(?<![a-z])(?:step|stage|phase|task|job|paso|etapa|fase|schritt|stufe|etape|passo|步骤|"
        r"ステップ|手順)[ #]?(?:"
    )
    + mark(Kind.NUMBER)
    + r"|[a-d])(?: ?[:.)-]| is|,|(?= ))|第"
    + mark(Kind.NUMBER)
    + r"步[:,]?|(?<![a-z0-9])\(?(?:"
    + mark(Kind.NUMBER)
    + r"|[a-d])[.)](?= ))"
)
_THEN = words(
    "and then|then|after that|after which|afterwards|afterward|followed by|next|finally|subsequently|"
    "thereafter|lastly|second|secondly|third|thirdly|(?:once|when|after|as soon as) (?:both|all|all (?:of them|three|"
    "four)|"
    "everything|the (?:two|three|four))(?: (?:of them|jobs|runs))?(?:'re| is| has| are| have)? (?:through|done|"
    "finished|over|ready|"
    "complete|completed|finish|complete|in|succeeded|ended)|once (?:that|it|this|they|training|done)(?:'s|"
    " is| has| are| have)?(?: (?:all |fully |successfully )?(?:done|finished|completed?|over|ready|through|"
    "succeeded|finishes|completes|succeeds|ends|ended|trained|in)){0,2}|when (?:that|it|this|they|done)(?:'s|"
    " is| has| are|"
    " have)?(?: (?:all |fully |successfully )?(?:done|finished|completed?|over|ready|through|succeeded|"
    "finishes|completes|succeeds|ends|ended|trained|in)){0,2}|upon completion|if (?:that|it) (?:succeeds|"
    "passes|works)|on success",
    "luego|despues|a continuacion|y entonces|entonces|por ultimo|finalmente|y despues|y luego|"
    "tras eso|seguidamente|danach|dann|anschliessend|daraufhin|schliesslich|zum schluss|und dann|"
    "puis|ensuite|apres cela|apres ca|enfin|et puis|poi|dopo|dopodiche|successivamente|infine|e poi|"
    "depois|em seguida|entao|por fim|e depois",
    "然后|接着|随后|之后再?|再|最后|その後|それから|次に|続いて|最後に|してから|た後に?|たら",
)
_FIRST = words(
    "first|firstly|to begin|first of all|start by|primero|en primer lugar|zuerst|zunachst|als erstes|"
    "d'abord|premierement|prima|per prima cosa|primeiro",
    "首先|先|まず|最初に",
)
_ARROW = r" ?(?:-+>|=+>|>>+|\|>?) ?"
_BOUNDARY = re.compile(
    rf"(?P<step>(?:[;,.\n] ?)?(?:•|\*|- )? ?{_STEP}) ?|(?P<then>(?:[;,.\n] ?)?(?:and |und |y |et |"
    rf"e )?{_THEN})[ ,:]?|(?P<arrow>{_ARROW})|(?P<hard>[;\n]|(?<=[^.\d])\. )|(?P<soft>(?<=\)) (?=(?:do|run|start|"
    rf"then|launch|perform|we) )|,? (?:and|und|"
    rf"y|et|e|plus|as well as) |, |、|,)"
)
_PARALLEL = re.compile(
    words(
        "in parallel|side by side|at the same time|meanwhile|on the side|simultaneously|concurrently|separately|"
        "independently|independent(?: of (?:it|that|this|them))?|"
        "also|additionally|in addition|alongside|besides|another|unrelated|parallel|gleichzeitig|"
        "ausserdem|daneben|zugleich|en paralelo|a la vez|ademas|tambien|en parallele|en meme temps|"
        "egalement|in parallelo|nel frattempo|inoltre|em paralelo|alem disso|tambem",
        "同时|并行|另外|同時|並列|並行|別途",
    )
)
_AFTER_LEAD = re.compile(
    r"[ \n]?"
    + words(
        "after|once|when|as soon as|upon|following|despues de(?: que)?|una vez que|cuando|tras|"
        "sobald|nachdem|nach|wenn|apres|une fois(?: que)?|quand|des que|dopo|una volta|quando|appena|"
        "depois de|apos|assim que"
    )
    + r"(?P<what>[^,\n]{3,120}?),"
)
_AFTER_TAIL = re.compile(
    r"(?P<lead>,? ?"
    + words(
        "after|once|when|as soon as|following|despues de(?: que)?|una vez que|tras|sobald|nachdem|"
        "apres(?: que)?|une fois(?: que)?|dopo|una volta|depois de|apos|assim que"
    )
    + r")(?= (?!that|this|which|it(?![a-z])|cela|ca |eso|ello|each|every))"
)
_STEP_REFERENCE = re.compile(
    rf"(?:after|depends on|needs|requires|following|once|when|wait(?:s|ing)? for|nach|tras|"
    rf"despues de|apres|dopo|depois d[eo]) (?:the )?(?:steps?|stages?|phases?|tasks?|jobs?|pasos?|"
    rf"schritte?n?|etapes?|passi|passo) ?(?P<first>{mark(Kind.NUMBER)}|[a-d](?![a-z]))(?:(?: ?,| and|"
    rf" y| und| et| e| &) (?P<second>{mark(Kind.NUMBER)}|[a-d](?![a-z])))?"
)
_LETTER_REFERENCE = re.compile(
    r"(?:after|once|when) (?P<first>[a-d])(?:(?:,| and) (?P<second>[a-d]))?(?=[:,]| (?:is|are|has|"
    r"have|finish|complete|done|succeed))"
)
_ALL_BEFORE = re.compile(
    words(
        "both|all (?:of (?:them|those|these)|three|four|runs|jobs|steps|the above|trainings|models)|"
        "everything|the (?:two|three|four) (?:runs|jobs|models|trainings)|ambos|ambas|todos|beide|"
        "alle|les deux|tous|entrambi|tutti|ambos|todos",
        "都完成|全部完成|両方|すべて終わ|全て終わ",
    )
)
_ANAPHORA = re.compile(
    words(
        "it|the (?:result|results|resulting|trained|tuned|output|outputs|model|checkpoint|best|"
        "winner|fine-?tuned|adapter|embeddings|shards|final|merged)(?: \\w+)?|its|them|that model|"
        "el resultado|el modelo|das (?:ergebnis|modell)|le (?:resultat|modele)|il (?:risultato|"
        "modello)|o (?:resultado|modelo)|lo",
        "结果|模型|它|結果|モデル",
    )
)
_GAPPED = re.compile(
    rf" ?(?:(?:an?|the|another|one|its|ein|eine|une?|una?|el|la|le|der|die|das) )?(?:[^ ,]{{1,24}} ){{1,3}}?"
    rf"(?:on|with|using|auf|mit|con|avec|sur|su|em) {mark(Kind.NUMBER)}"
)
"""A second object of the verb before it: "train A on 4 V100 and B on 2 T4"."""
_PIPELINE = {Intent.BATCH: 0, Intent.TRAIN: 2, Intent.FINETUNE: 2, Intent.BENCHMARK: 4, Intent.INFERENCE: 5}
_STAGES = (
    (re.compile("pre-?train|vortrain|预训练|事前学習"), 1),
    (re.compile("distil|蒸|dpo|rlhf|grpo|ppo|orpo|kto"), 3),
)
_LETTERS = "abcd"


@dataclass(slots=True)
class _Piece:
    """A stretch between two boundaries; `lead` is the kind of boundary before it."""

    start: int
    end: int
    lead: str
    requests: list[Request]
    has_gpu: bool


def split_jobs(shadow: Shadow) -> list[Clause]:
    """Split a goal that launches work into one clause a job, with dependencies; often there is just one."""
    requests = launch_requests(shadow)
    if not any(request.level > 1 for request in requests):
        return [Clause(0, len(shadow.text), None)]
    pieces = _pieces(shadow, requests)
    groups = _grouped(pieces)
    if len(groups) < 2:  # noqa: PLR2004 - one job is no chain
        return [Clause(0, len(shadow.text), requests[0])]
    ordered = _turned(groups)
    clauses: list[Clause] = []
    for index, group in enumerate(ordered[:MAX_JOBS]):
        found = [request for piece in group for request in piece.requests]
        depends = _dependencies(shadow, ordered, clauses) if index else ()
        clauses.append(Clause(group[0].start, group[-1].end, found[0] if found else None, depends))
    return clauses


def _pieces(shadow: Shadow, requests: list[Request]) -> list[_Piece]:
    negated = excluded_marks(shadow)
    cuts: list[tuple[int, int, str]] = [(0, 0, "start")]
    cuts += [
        (m.start(), m.end(), m.lastgroup or "soft")
        for m in _BOUNDARY.finditer(shadow.text)
        if m.end() > m.start() and not (m.lastgroup == "soft" and _in_brackets(shadow.text, m.start()))
    ]
    cuts += _after_cuts(shadow, cuts)
    cuts.sort()
    pieces: list[_Piece] = []
    for index, (_, start, lead) in enumerate(cuts):
        following = cuts[index + 1] if index + 1 < len(cuts) else None
        end = following[0] if following else len(shadow.text)
        if end > start and shadow.text[start:end].strip():
            inside = [request for request in requests if start <= request.at < end]
            has_gpu = _names_gpus(shadow, start, end, negated)
            text = shadow.text[start:end]
            if lead in ("then", "arrow") and not inside and not has_gpu and _PARALLEL.search(text) and following:
                cuts[index + 1] = (following[0], following[1], lead)
            elif lead == "soft" and not inside and has_gpu and pieces and pieces[-1].has_gpu and _GAPPED.match(text):
                inside = [replace(request, at=start) for request in pieces[-1].requests[:1]]
            pieces.append(_Piece(start, end, lead, inside, has_gpu))
        elif lead in ("then", "step", "arrow", "after") and following:
            cuts[index + 1] = (following[0], following[1], lead)
    return pieces


def _in_brackets(text: str, at: int) -> bool:
    opened = text.rfind("(", max(0, at - 80), at)
    return opened > text.rfind(")", 0, at) and ")" in text[at : at + 80]


def _after_cuts(shadow: Shadow, cuts: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Cut at "... after training on 8 H100", where what follows is a job of its own."""
    return [
        (m.start("lead"), m.end("lead"), "after")
        for m in _AFTER_TAIL.finditer(shadow.text)
        if m.start() > 0 and not any(start <= m.start("lead") < max(end, start + 1) for start, end, _ in cuts)
    ]


def _names_gpus(shadow: Shadow, start: int, end: int, negated: frozenset[int]) -> bool:
    part = shadow.cut(start, end)
    inside = frozenset(index - start for index in negated if start <= index < end)
    facts = read_gpus(part, inside)
    return facts.count is not None or facts.gpu_type is not None


def _grouped(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Join pieces until each group is a job; what names no work of its own belongs to the job before it."""
    groups: list[list[_Piece]] = []
    for piece in pieces:
        if not groups or _starts_job(groups[-1], piece):
            groups.append([piece])
        else:
            groups[-1].append(piece)
    return [group for group in groups if any(piece.requests for piece in group)] or groups[:1]


def _starts_job(group: list[_Piece], piece: _Piece) -> bool:
    has_work = any(earlier.requests for earlier in group)
    has_gpu = any(earlier.has_gpu for earlier in group)
    outright = any(request.level > 1 for request in piece.requests)
    if piece.lead == "step":
        return bool(piece.requests or piece.has_gpu)
    if not has_work:
        return False
    if piece.lead in ("then", "arrow"):
        return outright or (bool(piece.requests) and piece.has_gpu)
    if piece.lead == "after":
        return bool(piece.requests) and piece.has_gpu
    return outright and piece.has_gpu and has_gpu


def _turned(groups: list[list[_Piece]]) -> list[list[_Piece]]:
    """Put "A after B" into the order in which they run."""
    ordered: list[list[_Piece]] = []
    for group in groups:
        if group[0].lead == "after" and ordered:
            ordered.insert(len(ordered) - 1, group)
        else:
            ordered.append(group)
    return ordered


def _dependencies(shadow: Shadow, groups: list[list[_Piece]], earlier: list[Clause]) -> tuple[int, ...]:
    """Return which of the earlier jobs the next one waits for."""
    index = len(earlier)
    group = groups[index]
    text = shadow.text[group[0].start : group[-1].end]
    lead_text = shadow.text[max(0, group[0].start - 40) : group[0].start]
    named = _named_steps(shadow, lead_text[-16:] + text, index)
    if named:
        return named
    until = group[-1].end if index + 1 < len(groups) else len(shadow.text)
    near = lead_text[-30:] + " " + shadow.text[group[0].start : min(until, group[0].start + 90)]
    if _ALL_BEFORE.search(near) or (group[0].lead in ("then", "arrow") and index > 1):
        waited_for = {other for clause in earlier for other in clause.depends_on}
        return tuple(other for other in range(index) if other not in waited_for)
    previous = groups[index - 1]
    if _PARALLEL.search(shadow.text[previous[0].start : group[-1].end]) and group[0].lead not in ("then", "arrow"):
        return earlier[-1].depends_on
    turned = previous[0].lead == "after" and previous[0].start > group[0].start
    if group[0].lead in ("step", "then", "arrow") or turned or _ANAPHORA.search(text):
        return (index - 1,)
    if _in_order(groups, index):
        return (index - 1,)
    return earlier[-1].depends_on if group[0].lead == "soft" else ()


def _named_steps(shadow: Shadow, text: str, index: int) -> tuple[int, ...]:
    match = _STEP_REFERENCE.search(text) or _LETTER_REFERENCE.search(text)
    if match is None:
        return ()
    found = []
    for name in ("first", "second"):
        char = match.group(name)
        if char:
            number = _LETTERS.index(char) + 1 if char in _LETTERS else int(shadow.values[char])
            if 1 <= number <= index:
                found.append(number - 1)
    return tuple(found)


def _stage(request: Request) -> int:
    return next((stage for word, stage in _STAGES if word.match(request.word)), _PIPELINE[request.intent])


def _in_order(groups: list[list[_Piece]], index: int) -> bool:
    """Whether two jobs without a word of order still are stages of one pipeline: prepare, train, evaluate, deploy."""
    stages = [next((_stage(r) for piece in groups[at] for r in piece.requests), -1) for at in (index - 1, index)]
    return 0 <= stages[0] < stages[1]
