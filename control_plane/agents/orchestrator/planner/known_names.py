"""Names that the fleet knows: words of a goal that stand where a node or a job stands, looked up among what there is.

Pure: the caller reads what exists. A name counts only where the plan lacks a target, and only if one thing bears it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from control_plane.agents.orchestrator.host_wishes import HostCommand, read_host_command
from control_plane.agents.orchestrator.planner.assemble import MAX_SUMMARY_CHARS, summarise
from control_plane.model.plan import Constraints, Evidence, Intent, Plan, Question, QuestionReason, Targets

NAMES_LOOKED_UP_MAX = 32
_TEXT_CHARS_MAX = 2_000  # of a goal that names what it is about; a longer one describes work
_LISTED_MAX = 10
_NAME = r"['\"`]?(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,62})['\"`]?"
_END = r"(?=[.?!,;:\"'`)]*(?:\s*$|\s*\n|[.?!,;:]\s|\s(?:and|now|please|pls|asap|today|again|immediately|because|or)\b))"
_NODE_NOUN = r"(?:node|host|machine|server|worker|box)"
_JOB_NOUN = r"(?:job|run|task|training|experiment)"
_HEAL_VERB = r"(?:fix|repair|heal|reboot|restart|reset|recover|investigate|check|look (?:at|into|after))"
_STOP_VERB = r"(?:cancel|stop|kill|abort|terminate|end|halt)"
_ASK_WORD = r"(?:is|was|are|has|did|does|of|with|about|on|how's|what's|show|describe)"
_LEAD = r"\A\s*(?:(?:please|pls|can you|could you|hey|hi|now),?\s+)*"


_TAIL = r"(?:[\s.!,]*(?:please|pls|now|asap))?[\s.!]*\Z"


def _of(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


_NODE_SAID = _of(rf"\b{_NODE_NOUN}\s+(?:called\s+|named\s+)?{_NAME}")
_JOB_SAID = _of(rf"\b{_JOB_NOUN}\s+(?:called\s+|named\s+)?{_NAME}")
_NODE_BEHIND = rf"(?<![\w.-]){_NAME}\s+(?:node|host)\b"
_JOB_BEHIND = rf"(?<![\w.-]){_NAME}\s+(?:job|run)\b(?!\s+[\w.-]*\d)"
_HEALED = _of(
    _NODE_BEHIND,
    rf"\b{_HEAL_VERB}\s+{_NAME}{_END}",
    rf"(?:\A|[.!?;\n]\s{{0,3}}|\b(?:please|hey|because|since|as)\s+){_NAME}\s+(?:keeps?|is|has|was|shows?|reports?|"
    r"throws?|fails?|failed|hangs?|died|dies|seems|looks|got|went|won't|doesn't|can't|cannot|crash(?:ed|es)?|fell|dropped|"
    r"overheats?|lost)\b",
    rf"\b(?:on|at|from|with)\s+{_NAME}{_END}",
)
_STOPPED = _of(_JOB_BEHIND, rf"\b{_STOP_VERB}\s+(?:my\s+)?{_NAME}{_END}")
_SCALED = _of(
    rf"\b(?:scale|resize|grow|shrink|expand|double|halve)\s+(?:up\s+|down\s+)?(?:my\s+)?{_NAME}\s+(?:up|down|to|by)\b"
)
_ASKED = _of(rf"\b{_ASK_WORD}\s+{_NAME}(?![\w-])", rf"\b(?:using|uses|holds)\s+{_NAME}(?![\w-])")
_HEAL_ALONE = re.compile(rf"{_LEAD}(?P<verb>{_HEAL_VERB})\s+(?:{_NODE_NOUN}\s+)?{_NAME}{_TAIL}", re.IGNORECASE)
_STOP_ALONE = re.compile(rf"{_LEAD}(?P<verb>{_STOP_VERB})\s+(?:{_JOB_NOUN}\s+)?{_NAME}{_TAIL}", re.IGNORECASE)


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COMMON = _listed(
    "a all an and any are as at be by data everything everybody everyone for from gpu gpus h100 a100 he how i in is it "
    "its job jobs me mine model models my no node nodes none not now of on one or our run runs she stuff task tasks "
    "test that the their them there these they thing things this those to train training us was we what which who why "
    "work workers you your"
)
"""Words that are names only right behind a word for a node or a job, or as all that a command is about."""
_TARGETS = ("targets.nodes", "targets.job_ids")
_HOST_INTENTS = (Intent.HEAL, Intent.SCALE, Intent.CANCEL, Intent.AMBIGUOUS)
_NEVER = _listed("a all an any everything everyone everybody it its me my that the them these this those")


@dataclass(frozen=True, slots=True)
class KnownJob:
    """A job of the caller's own."""

    id: str
    name: str
    state: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What bears one of the names asked for, by the name in lower case."""

    nodes: Mapping[str, tuple[str, ...]]
    jobs: Mapping[str, tuple[KnownJob, ...]]


@dataclass(frozen=True, slots=True)
class _Place:
    """A word where the name of a node, a job or either stands."""

    name: str
    start: int
    node: bool
    job: bool


def names_wanted(plan: Plan, text: str) -> tuple[str, ...]:
    """Return the words, in lower case, that may name what the plan lacks; none for a plan that lacks nothing."""
    host = _host_command(plan, text)
    places = host.names if host is not None else (place.name for place in _places(plan, text))
    return tuple(dict.fromkeys(name.lower() for name in places))[:NAMES_LOOKED_UP_MAX]


def with_known_names(plan: Plan, text: str, known: Known) -> Plan:
    """Return the plan with the one thing that its words name; with a question, where they name several."""
    host = _host_command(plan, text)
    if host is not None and (host.of_hosts_alone or plan.targets.nodes or host.names[0].lower() in known.nodes):
        return _to_hosts(plan, text, host, known)
    answered = tuple(one for one in plan.evidence if one.field in _TARGETS and one.source != "goal")
    if answered and not plan.refusal and _command(plan, text) is not None:
        as_said = _commanded(plan, text)
        plan = replace(as_said, targets=plan.targets, evidence=(*as_said.evidence, *answered))
        return replace(plan, summary=summarise(plan))
    found: dict[tuple[bool, str], _Place] = {}
    words: dict[tuple[bool, str], str] = {}
    for place in _places(plan, text):
        name = place.name.lower()
        for node in known.nodes.get(name, ()) if place.node else ():
            found.setdefault((True, node), place)
            words[True, node] = f"node {node}"
        for job in _meant(plan, known.jobs.get(name, ())) if place.job else ():
            found.setdefault((False, job.id), place)
            words[False, job.id] = f"job {job.name} ({job.id}, {job.state})"
    if not found:
        return plan
    if len(found) > 1:
        return _asking(plan, tuple(words.items()))
    ((is_node, one), place), *_ = found.items()
    return _about(plan, text, place, one, is_node=is_node)


def _host_command(plan: Plan, text: str) -> HostCommand | None:
    """Return what a goal asks to be done to hosts that is no repair, whatever the rules took its verb for."""
    if plan.refusal or plan.infeasible or plan.intent not in _HOST_INTENTS:
        return None
    return read_host_command(text)


def _to_hosts(plan: Plan, text: str, command: HostCommand, known: Known) -> Plan:
    """Return the plan about the hosts that a command names; a name that nobody bears stays as it was written."""
    names = tuple((known.nodes.get(name.lower()) or (name,))[0] for name in command.names)
    spans = (("intent", command.verb_span), ("targets.nodes", command.names_span))
    evidence = tuple(Evidence(field, text[start:end], start, end) for field, (start, end) in spans)
    plan = replace(_bare(plan, Intent.HEAL), targets=Targets(nodes=names), evidence=evidence)
    return replace(plan, summary=f"{command.wish.value} {', '.join(names)}"[:MAX_SUMMARY_CHARS])


def _lacks(plan: Plan) -> bool:
    targets = plan.targets
    named = targets.job_ids or targets.nodes or targets.pool or targets.team or targets.all_of_mine
    return not (plan.refusal or plan.infeasible or named)


def _places(plan: Plan, text: str) -> Iterator[_Place]:
    """Yield the words where a target of the plan stands, in the order of how surely they do."""
    if len(text) > _TEXT_CHARS_MAX or not _lacks(plan):
        return
    command = _command(plan, text)
    if command is None:
        yield from _spoken_of(plan, text)
        return
    pattern, intent = command
    match = pattern.match(text)
    if match is not None and _name(match).lower() not in _NEVER:
        yield _place(match, node=intent is Intent.HEAL, job=intent is Intent.CANCEL)


def _spoken_of(plan: Plan, text: str) -> Iterator[_Place]:
    """Yield the words of a longer goal where what it is about stands; what it quotes is left out."""
    quoted = [match.span() for match in re.finditer(r"`[^`]*\s[^`]*`|\"[^\"]*\s[^\"]*\"", text)]
    for patterns, node, job, least in _TRIED.get(plan.intent, ()):
        for match in (found for pattern in patterns for found in pattern.finditer(text)):
            place = _place(match, node=node, job=job)
            inside = any(start < place.start < end for start, end in quoted)
            if not inside and place.name.lower() not in least:
                yield place


_TRIED: Mapping[Intent, tuple[tuple[tuple[re.Pattern[str], ...], bool, bool, frozenset[str]], ...]] = {
    Intent.HEAL: ((_NODE_SAID, True, False, _NEVER), (_HEALED, True, False, _COMMON)),
    Intent.CANCEL: ((_JOB_SAID, False, True, _NEVER), (_STOPPED, False, True, _COMMON)),
    Intent.SCALE: (((*_JOB_SAID, *_SCALED), False, True, _COMMON - {"train"}),),
    Intent.QUERY: (
        (_NODE_SAID, True, False, _NEVER),
        (_JOB_SAID, False, True, _NEVER),
        ((*_ASKED, *_of(_NODE_BEHIND)), True, True, _COMMON),
    ),
}
"""Where targets stand: the patterns, whether a node and whether a job stands there, and the words that never do."""


def _command(plan: Plan, text: str) -> tuple[re.Pattern[str], Intent] | None:
    """Return how a goal reads that is nothing but "repair NAME" or "stop NAME", whatever the rest took it for."""
    for pattern, intent in ((_HEAL_ALONE, Intent.HEAL), (_STOP_ALONE, Intent.CANCEL)):
        open_to_it = plan.intent in (intent, Intent.AMBIGUOUS) or (plan.questions and intent is Intent.CANCEL)
        if open_to_it and pattern.match(text):
            return pattern, intent
    return None


def _place(match: re.Match[str], *, node: bool, job: bool) -> _Place:
    return _Place(_name(match), match.start("name"), node, job)


def _name(match: re.Match[str]) -> str:
    """Return the name without the full stop or the possessive that follows it."""
    return match.group("name").rstrip(".-_")


def _meant(plan: Plan, found: tuple[KnownJob, ...]) -> tuple[KnownJob, ...]:
    """Return the jobs that can be meant: live ones; for a question, ended ones if none is live."""
    live = tuple(job for job in found if not job.ended)
    return live or (found if plan.intent is Intent.QUERY else ())


def _about(plan: Plan, text: str, place: _Place, one: str, *, is_node: bool) -> Plan:
    end = place.start + len(place.name)
    field = "targets.nodes" if is_node else "targets.job_ids"
    why = Evidence(field, text[place.start : end], place.start, end)
    answered = {"node"} if is_node else {"job_ids"} | ({"node"} if plan.intent is Intent.HEAL else set())
    targets = replace(plan.targets, nodes=(one,)) if is_node else replace(plan.targets, job_ids=(one,))
    plan = _commanded(plan, text)
    questions = tuple(question for question in plan.questions if question.field not in answered)
    plan = replace(plan, targets=targets, questions=questions, evidence=(*plan.evidence, why))
    return replace(plan, summary=summarise(plan, about_money="spending" in plan.summary))


def _commanded(plan: Plan, text: str) -> Plan:
    """Return the plan as what the command says, where the rules took its words for something else."""
    command = _command(plan, text)
    if command is None:
        return plan
    if command[1] is plan.intent:
        return replace(plan, evidence=tuple(one for one in plan.evidence if one.field not in _TARGETS))
    pattern, intent = command
    match = pattern.match(text)
    start, end = match.span("verb") if match is not None else (0, 0)
    return replace(_bare(plan, intent), evidence=(Evidence("intent", text[start:end], start, end),))


def _bare(plan: Plan, intent: Intent) -> Plan:
    """Return the plan as one of this intent that says nothing else."""
    subject = plan.subject or (plan.jobs[0] if plan.jobs else None)
    return replace(
        plan,
        intent=intent,
        jobs=(),
        subject=None if subject is None else replace(subject, intent=intent, template=None),
        constraints=Constraints(),
        targets=Targets(),
        questions=(),
        notes=(),
    )


def _asking(plan: Plan, found: tuple[tuple[tuple[bool, str], str], ...]) -> Plan:
    """Ask which of several things is meant."""
    only_jobs = all(not is_node for (is_node, _), _ in found)
    field = "job_ids" if only_jobs else "node"
    listed = ", ".join(words for _, words in found[:_LISTED_MAX])
    more = f" and {len(found) - _LISTED_MAX} more" if len(found) > _LISTED_MAX else ""
    ask = "Name the id of the one" if only_jobs else "Name the node, or ask again with the id of the job"
    question = Question(field, f"Which one is meant: {listed}{more}? {ask}.", QuestionReason.MISSING)
    kept = tuple(one for one in plan.questions if one.field not in ("node", "job_ids"))
    return replace(plan, questions=(*kept, question))
