"""Literals: what a person wrote to be taken as it stands: commands, images, names, quoted data.

Quoted or reported words ("the job description says ...") are data: they become opaque marks, so
nothing in them can be read as a wish.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from control_plane.agents.orchestrator.planner.shadow import Kind, Replacement, Shadow, mark, words

MAX_LITERAL_CHARS = 4000


@dataclass(frozen=True, slots=True)
class Literal:
    """Words taken as they stand, with their offsets in the original. `is_command`: to be run."""

    text: str
    start: int
    end: int
    is_command: bool = False


_FENCE = re.compile(r"```(?:[a-z]{1,10}\n)?([^`]{1,4000})```")
_CODE = re.compile(r"`([^`\n]{1,4000})`")
_QUOTE = re.compile(
    r"(?<![a-z0-9])'(?=\S)[^'\n]{1,2000}(?:(?<=[a-z0-9])'(?=[a-z])[^'\n]{1,2000}){0,20}'(?![a-z0-9])|"
    r"\"[^\"]{1,4000}\""
)
_EXECUTABLE = (
    r"python[0-9.]{0,5}|bash|sh|zsh|torchrun|accelerate launch|deepspeed|mpirun|srun|nvidia-smi|"
    r"uv run|poetry run|pytest|"
    r"vllm serve|llamafactory-cli|axolotl|trtexec|all_reduce_perf|ollama run|Rscript|julia|lm_eval|"
    r"ray|make|cargo run|"
    r"horovodrun|colossalai|tune run|jupyter|papermill|snakemake|nextflow|rm|curl|wget|sudo|dd|"
    r"mkfs[.a-z0-9]*|chmod|kubectl|"
    r"docker|nvcc|gcc|cd|echo|cat|nohup|env|export|time|go run|npm|node|java|conda run|mamba run|aws|"
    r"gcloud|az|gsutil"
)
_COMMAND_LIKE = re.compile(
    rf"(?:{_EXECUTABLE})(?:\s|$)|\.{{0,2}}/[\w.]|\S+\.(?:py|sh|bash|jl|r|bin|pl)(?:\s|$)", re.IGNORECASE
)
_SHELL_SIGNS = re.compile(r"\s--?[a-z]|&&|\|\||;|\s>|=\S")
_RUN_BEFORE = re.compile(
    words(
        "start|starts|starting|cmd is|command is|run|runs|running|execute|executes|executing|exec|command|cmd|"
        "entrypoint|launch|script|start with|call|invoke",
        "ejecuta|ejecutar|comando|corre|corriendo|ausfuhren|befehl|fuhre|starte|execute|executer|lance|lancer|commande",
        "executa|executar|rodar|rode|esegui|eseguire|运行|执行|命令|実行|コマンド|スクリプト",
    )
    + r"(?: (?:the|this|following|command|script|de|el|la|le|il|den|befehl)){0,3}[ :=]{0,3}$"
)
_IMAGE_BEFORE = re.compile(
    words("image|imagen|container|docker|immagine|imagem|abbild|镜像|イメージ|コンテナ") + r"[ :=]{0,3}$"
)
_DATA_BEFORE = re.compile(
    words(
        "says|say|said|saying|reads|read|states|stated|contains|contain|containing|mentions|titled|"
        "called|named|labell?ed|tagged|name|names",
        "description|comment|comments|message|label|tag|note|notes|subject|title|log|logs|readme|"
        "error|output|shows|showing|prints|prompt|text|string|word|phrase|metadata|annotation|"
        "payload|instructs|tells|asks|claims|wrote|writes|written",
        "dice|llamado|llamada|descripcion|sagt|heisst|namens|beschreibung|dit|nomme|nommee|appele|"
        "appelee|description|diz|chamado|chamada|descricao|dice|chiamato|chiamata|descrizione|写着|"
        "名为|叫|说明|描述|日志|と書|説明|名前|ログ",
    )
    + (
        r"(?: (?:of|for|in|from|to|that|the|is|was|job|run|file|line|us|me|you|it|"
        r"[a-z]{1,12}-?[0-9]{1,6})){0,4}[ :=,(]{0,3}$"
    )
)
_REPORTED = re.compile(
    words(
        "description|name|label|tag|log|logs|log line|comment|comments|readme|metadata|annotation|"
        "title|note|file|output|manifest|"
        "payload|email|ticket|issue|message|prompt|docstring|commit message|stderr|stdout",
        "descripcion|beschreibung|protokoll|journal|descrizione|descricao|描述|说明|日志|備考|説明|ログ",
    )
    + r"[^.\n?!]{0,40}?"
    + words("says|say|said|reads|states|stated|instructs|tells|asks|contains|dice|sagt|dit|diz|写着|说")
    + rf" ?:? ?(?!{mark(Kind.QUOTE)}|\s|that ?{mark(Kind.QUOTE)})([^\n?!.]{{3,2000}})"
)
_BARE_COMMAND = re.compile(
    r"(?<![\w/.-])(?:(?:python[0-9.]{0,5}|bash|sh|torchrun|deepspeed|mpirun|srun|accelerate launch|"
    r"uv run|poetry run|pytest|"
    r"vllm serve|llamafactory-cli|axolotl|trtexec|lm_eval|horovodrun|tune run|ollama run|julia|make|"
    r"nohup)(?= \S)|\./[\w./-]{1,200}|nvidia-smi)"
)
_FLAGGED_COMMAND = re.compile(
    r"(?<![a-z])(?:run|execute|exec|invoke|ejecuta|esegui)(?: the| my| this)?(?: command| script| program| tool)?:? "
    r"(?P<command>(?!(?:it|this|that|them|these|training|inference|train|job|jobs|batch|benchmark|one|all|again|now)(?![a-z]))"
    r"[a-z][\w./-]{1,80})(?= --[a-z])"
)
"""A program that nobody knows is a command all the same where flags follow it: "run simulate --fast on 1 H100"."""
_FLAG_ARGUMENT = re.compile(
    r" (--?[a-z][\w.-]{0,60})(?:(?:=| (?!(?:on|for|with|using|in|at|by|and|until|then|via|w/|max|please|pls|image|"
    r"from)(?![\w/.-])))(?!-)(?:\"[^\"\n]{0,200}\"|[^\s,;]{1,200}))?",
    re.IGNORECASE,
)
_FILE_ARGUMENT = re.compile(
    r" (?:[\w-]{0,80}[./=:][\w./=:@-]{1,200}|"
    r"(?:&&|\|)(?= (?:python|bash|sh|torchrun|tee|grep|\./|accelerate|cat|tail)))(?<![.:,;])"
)
_POSITIONAL = re.compile(
    r" (?!(?:on|for|with|using|in|at|by|and|until|then|via|max|please|pls|image|from) )[\w-]{1,60}(?= --?[a-z])"
)
_IMAGE = re.compile(
    r"(?<![\w/@.:~-])(?:(?P<host>[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)*(?::\d{2,5})?)/)"
    r"(?:[a-z0-9][a-z0-9._-]*/){0,6}(?=[a-z0-9._-]{0,80}[a-z])[a-z0-9][a-z0-9._-]{0,80}"
    r"(?P<tag>:\w(?:[\w.-]{0,80}\w)?)?(?P<digest>@sha256:[0-9a-f]{6,64})?(?<![.-])"
)
_NAMED_IMAGE = re.compile(
    words("image|container|imagen|immagine|imagem|abbild|镜像|イメージ|コンテナ") + r"[ :=]{1,3}(?:is |es |est |ist )?"
    r"(?P<ref>(?:[a-z][a-z0-9._/-]{0,80}:\w(?:[\w.-]{0,60}\w)?|"
    r"[a-z][a-z0-9._-]{0,60}/[a-z0-9._/-]{0,80}[a-z0-9])(?:@sha256:[0-9a-f]{6,64})?)"
)
_IMAGE_KEY = re.compile(
    r"(?:^|[\n,;|(]) ?(?:docker |container )?image ?[:=] ?(?P<ref>[a-z][a-z0-9._/:-]{1,120}[a-z0-9])"
)
_ADDRESS = re.compile(
    r"[a-z][a-z0-9+]{1,9}://[^\s,;)\"']{1,500}|[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,64}|"
    r"(?<![\w.:)$€£¥])[~.]{0,2}/[a-z_.][\w./*-]{0,300}"
)
_QUOTE_MARKS = re.compile(r"[`\"]|(?<![a-z0-9])'(?=\S)|(?<=\S)'(?![a-z0-9])")
_QUANTITY_SUFFIX = (
    "h|hr|hrs|hours?|std|stunden?|stdn|m|mins?|minutes?|minuten?|s|secs?|seconds?|d|days?|tage?n?|w|"
    "wks?|weeks?|k|gb|gib|go|g|tb|mb|gigs?|gigabytes?|"
    "x|usd|us|eur|euros?|gbp|cny|rmb|yen|jpy|chf|dollars?|bucks|gpus?|cards?|am|pm|a|p|way|ways|st|"
    "nd|rd|th|uhr|nodes?|boxe?s?|hosts?|machines?|"
    "c|f|watts?|mo|months?|y|yrs?|z|mio|mil|jours?|j|horas?|dias?|ore|heures?|replicas?|er|fach|"
    "gpu-?hours?|vram"
)
_QUANTITY = re.compile(
    rf"\d[\d.,]*k-\d[\d.,]*k|x?\d[\d.,]*(?:-?(?:{_QUANTITY_SUFFIX}))?(?:-(?:{_QUANTITY_SUFFIX})){{0,2}}|\d+x\d+x?|x\d+|"
    rf"\d+h\d+(?:m|min)?|\d+d\d+h(?:\d+m)?|"
    r"\d+m\d+s|\d{4}-\d\d-\d\d(?:t[\d.]*z?)?|p[0-5]|w\d{1,2}|q[1-4]|(?:gpu|node)s?\d{1,4}|"
    r"\d+-\d+(?:h|d|x)?|t\d\d"
)
_NAME = re.compile(r"(?<![a-z0-9_.@/-])(?=[a-z_.-]{0,80}[0-9])[a-z0-9_]+(?:[._-][a-z0-9_]+){0,12}")


def recognise_literals(shadow: Shadow) -> None:
    """Replace code, quoted data, images, commands and addresses by opaque marks."""
    shadow.replace_all(_FENCE, Kind.CODE, lambda m: _literal(shadow, m.start(1), m.end(1), command=True))
    shadow.replace(list(_code_spans(shadow)), Kind.CODE)
    shadow.replace(list(_quotes(shadow)), Kind.CODE)
    shadow.replace(list(_opaque_quotes(shadow)), Kind.QUOTE)
    shadow.replace_all(_REPORTED, Kind.QUOTE, lambda m: _literal(shadow, m.start(1), m.end(1)))
    for pattern in (_NAMED_IMAGE, _IMAGE_KEY):
        found = [
            (m.start("ref"), m.end("ref"), _literal(shadow, m.start("ref"), m.end("ref")))
            for m in pattern.finditer(shadow.text)
        ]
        shadow.replace(found, Kind.IMAGE)
    shadow.replace_all(_IMAGE, Kind.IMAGE, lambda m: _image(shadow, m))
    shadow.replace(list(_bare_commands(shadow)), Kind.CODE)
    shadow.drop(_QUOTE_MARKS)
    shadow.replace_all(_ADDRESS, Kind.NAME, lambda m: shadow.words(m.start(), m.end()))


def recognise_names(shadow: Shadow) -> None:
    """Replace words that mix letters and digits and are no quantity (`tr-5`, `gemma-2b`) by marks."""
    shadow.replace_all(
        _NAME,
        Kind.NAME,
        lambda m: (
            None
            if _QUANTITY.fullmatch(m.group()) or not re.search("[a-z]", m.group())
            else shadow.words(m.start(), m.end())
        ),
    )
    shadow.text = shadow.text.replace("_", " ")


def _literal(shadow: Shadow, start: int, end: int, *, command: bool = False) -> Literal:
    first, last = shadow.span(start, end)
    return Literal(shadow.original[first:last], first, last, command)


def _code_spans(shadow: Shadow) -> Iterator[Replacement]:
    for match in _CODE.finditer(shadow.text):
        before = shadow.text[max(0, match.start() - 60) : match.start()]
        inner = match.group(1).strip()
        runs = bool(_RUN_BEFORE.search(before))
        reported = bool(_DATA_BEFORE.search(before)) and not runs
        plain_value = " " not in inner and not _COMMAND_LIKE.match(inner)
        if plain_value and not reported and not runs:
            continue
        is_command = not reported and (runs or bool(_COMMAND_LIKE.match(inner)) or bool(_SHELL_SIGNS.search(inner)))
        if _IMAGE.fullmatch(inner) and not runs:
            continue
        yield match.start(), match.end(), _literal(shadow, match.start(1), match.end(1), command=is_command)


def _quotes(shadow: Shadow) -> Iterator[Replacement]:
    """Yield quoted commands: after a word such as "run", and of a command's look."""
    for match in _QUOTE.finditer(shadow.text):
        before = shadow.text[max(0, match.start() - 60) : match.start()]
        inner = match.group()[1:-1].strip()
        looks = bool(_COMMAND_LIKE.match(inner)) or bool(_SHELL_SIGNS.search(inner))
        if inner and looks and _RUN_BEFORE.search(before):
            yield match.start(), match.end(), _literal(shadow, match.start() + 1, match.end() - 1, command=True)


def _opaque_quotes(shadow: Shadow) -> Iterator[Replacement]:
    for match in _QUOTE.finditer(shadow.text):
        before = shadow.text[max(0, match.start() - 60) : match.start()]
        inner = match.group()[1:-1]
        short = len(inner.split()) <= 3 and len(inner) <= 32  # noqa: PLR2004 - bounds of a short value and of arguments
        if short and not _DATA_BEFORE.search(before):
            continue
        if inner.strip():
            yield match.start(), match.end(), _literal(shadow, match.start() + 1, match.end() - 1)


def _image(shadow: Shadow, match: re.Match[str]) -> Literal | None:
    host, tag, digest = match.group("host", "tag", "digest")
    named = _IMAGE_BEFORE.search(shadow.text[max(0, match.start() - 30) : match.start()])
    has_registry = "." in host or ":" in host
    if not (tag or digest or named) or not (has_registry or named or tag or digest):
        return None
    return _literal(shadow, match.start(), match.end())


def _bare_commands(shadow: Shadow) -> Iterator[Replacement]:
    """Yield commands written without quotes: a known program, then flags, their values and files."""
    known = [match.span() for match in _BARE_COMMAND.finditer(shadow.text)]
    flagged = [match.span("command") for match in _FLAGGED_COMMAND.finditer(shadow.text)]
    for start, first_end in sorted({start: (start, end) for start, end in (*flagged, *known)}.values()):
        end, arguments = first_end, 0
        while arguments < 64:  # noqa: PLR2004 - bounds of a short value and of arguments
            argument = (
                _FLAG_ARGUMENT.match(shadow.text, end)
                or _FILE_ARGUMENT.match(shadow.text, end)
                or _POSITIONAL.match(shadow.text, end)
            )
            if argument is None:
                break
            end, arguments = argument.end(), arguments + 1
        if arguments or shadow.text.startswith(("./", "nvidia-smi"), start):
            yield start, end, _literal(shadow, start, end, command=True)
