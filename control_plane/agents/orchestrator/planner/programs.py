"""Programs that a goal speaks of without saying how they are started: a file, "my script", a name that nobody knows."""

import re
from collections.abc import Iterator

from control_plane.agents.orchestrator.planner.facts import Fact
from control_plane.agents.orchestrator.planner.literals import Literal
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark
from control_plane.agents.orchestrator.planner.text import Span

_STARTERS = {
    "py": "python {}",
    "sh": "bash {}",
    "jl": "julia {}",
    "r": "Rscript {}",
    "pl": "perl {}",
    "ipynb": "jupyter nbconvert --to notebook --execute {}",
    "bin": "./{}",
    "exe": "./{}",
}
"""What starts a file, by the end of its name."""
_FILE = re.compile(rf"(?<![\w./:~@-])(?:[\w.~-]*/)*[\w.-]*\w\.(?:{'|'.join(_STARTERS)})(?![\w/:-]|\.\w)", re.IGNORECASE)
_STARTED = (
    r"(?<![a-z])(?:run|running|launch|execute|start|kick off|submit|schedule|invoke|ejecuta|lance|starte|esegui|rode) "
    r"(?:(?:the|my|our|a|an|some|this|job|program|application|app|tool|binary|script|called|named) ){0,3}"
)
_HEAD = (
    "scripts?|programs?|binary|binaries|executables?|code|notebooks?|command|application|app|software|container|"
    "entry ?point|simulator"
)
_ON = r"(?= (?:on|with|using|across|over|for|in|at|via)(?![a-z])| ?,| ?:| ?$)"
_SOME = re.compile(rf"{_STARTED.replace('program|', '').replace('script|', '')}(?P<what>{_HEAD}){_ON}")
_NAMED = re.compile(rf"{_STARTED}(?P<what>[a-z][a-z0-9.+-]{{2,48}}|{mark(Kind.NAME, Kind.QUOTE)}){_ON}")
_NO_PROGRAM = frozenset(
    """
    again alone anew another anyone anything asap best both bigger boxes cards clusters compute continuously daily
    demo demos everything example examples exclusively experiment experiments fast first five four goal goals gpu gpus
    hosts hourly immediately instance instances interactive it job jobs last later locally long machine machines mine
    model models monthly more most network new next nightly node nodes nothing now once one only overnight parallel
    pipeline pods process processes project remotely repeat same server servers session sessions six small smaller
    some someone something soon stuff task tasks template ten test tests that the them then these they thing things this
    those three today together tomorrow tonight training trial trials twice two until weekly whatever whole with work
    workload workloads batch them here there right spot preemptible multi distributed
    """.split()  # noqa: SIM905 - a block of words reads better than a list of literals
)
"""Words behind "run" that name no program."""
_IDENTIFIER = re.compile(
    r"\b(?:run|launch|execute|start|submit)\s+(?:the\s+|my\s+|our\s+)?(?P<what>[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+)(?![\w./-])",
    re.IGNORECASE,
)
"""A name with underscores is a program's, whatever its parts mean: `train_job`."""
_QUOTED_MAX = 64


def read_program(part: Shadow, *, kind_known: bool) -> Fact[str] | None:
    """Return the program that a part of a goal speaks of, in its own words, if it does not say how it is started.

    `kind_known`: other words tell what work it is; then only a file is taken for a program, as "run resnet training"
    names a model.
    """
    for file in _files(part):
        return file
    if kind_known:
        return None
    match = _SOME.search(part.text) or _NAMED.search(part.text)
    if match is None or match["what"] in _NO_PROGRAM:
        return None
    start, end = part.span(*match.span("what"))
    text = part.original[start:end]
    return Fact(text, ((start, end),)) if len(text) <= _QUOTED_MAX else None


def ask_for_command(program: str, template: str) -> str:
    """Return the question how a program is started."""
    demo = f"Or answer demo: then the built-in template {template!r} runs, a small demonstration."
    starter = _STARTERS.get(program.rpartition(".")[2].lower()) if "." in program else None
    if starter is not None:
        return (
            f"{program} is a file. What is the whole command that starts it, such as: {starter.format(program)}? {demo}"
        )
    if re.fullmatch(_HEAD, program, re.IGNORECASE):
        return f"What is the whole command that starts the {program}, such as: python train.py --epochs 3? {demo}"
    return (
        f"{program} is no program that OrQuanta knows. What is the whole command that starts it, such as: ./{program} "
        f"or python {program}.py? {demo}"
    )


def _files(part: Shadow) -> Iterator[Fact[str]]:
    """Yield files and identifiers of programs that stand outside of commands, images and quoted words."""
    if not part.spans:
        return
    first, last = part.spans[0][0], part.spans[-1][1]
    taken = list(_literals(part))
    found = [match.span() for match in _FILE.finditer(part.original, first, last)]
    found += [match.span("what") for match in _IDENTIFIER.finditer(part.original, first, last)]
    for begin, stop in found:
        if not any(start < stop and begin < end for start, end in taken):
            yield Fact(part.original[begin:stop], ((begin, stop),))


def _literals(part: Shadow) -> Iterator[Span]:
    for kind in (Kind.CODE, Kind.QUOTE, Kind.IMAGE):
        for _, literal in part.marks(kind):
            if isinstance(literal, Literal):
                yield literal.start, literal.end
