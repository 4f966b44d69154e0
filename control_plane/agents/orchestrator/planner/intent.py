"""What kind of goal it is: the earliest strong request wins, weighed by its object."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from control_plane.agents.orchestrator.planner import intent_words as lexicon
from control_plane.agents.orchestrator.planner import object_words as objects
from control_plane.agents.orchestrator.planner.preferences import read_plan_only
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words
from control_plane.agents.orchestrator.planner.text import Span
from control_plane.model.plan import LAUNCH_INTENTS, Intent

_OBJECT_CHARS = 64
_NOUN_LEVEL, _VERB_LEVEL = 1, 2
_TEXTS_KEPT = 8
"""A goal is asked for its intent as a whole and in parts, several times each."""


@dataclass(frozen=True, slots=True)
class Request:
    """An intent that some words ask for. `level` 2: outright, 1: a hint; `word` is that word, folded."""

    intent: Intent
    level: int
    at: int
    word: str
    span: Span


@dataclass(frozen=True, slots=True)
class IntentReading:
    """The intent of a part of a goal and the words that tell it; none for what nobody asked."""

    intent: Intent | None
    request: Request | None = None

    @property
    def spans(self) -> tuple[Span, ...]:
        """Where the words stand."""
        return (self.request.span,) if self.request else ()


def read_intent(shadow: Shadow) -> IntentReading:
    """Read the intent of a text or of one part of it."""
    requests = sorted(_requests(shadow), key=lambda request: (-request.level, request.at))
    if not requests:
        return IntentReading(None)
    first = requests[0]
    for rule in (
        _told_plan_rule,
        _supposed_rule,
        _query_rule,
        _cost_rule,
        _tuned_rule,
        _batch_rule,
        _reason_rule,
        _symptom_rule,
        _cancel_rule,
        _provision_rule,
    ):
        changed = rule(shadow, first, requests)
        if changed is not None:
            first = changed
            break
    return IntentReading(first.intent, first)


def launch_requests(shadow: Shadow) -> list[Request]:
    """Return the requests for work on GPUs, outright ones and hints, in order, for splitting a goal into jobs."""
    found = [request for request in _requests(shadow) if request.intent in LAUNCH_INTENTS]
    return sorted(found, key=lambda request: (request.at, -request.level))


def _requests(shadow: Shadow) -> Iterator[Request]:
    for intent, level, start, end in _found(shadow.text):
        yield Request(intent, level, start, shadow.text[start:end], shadow.span(start, end))


@lru_cache(maxsize=_TEXTS_KEPT)
def _found(text: str) -> tuple[tuple[Intent, int, int, int], ...]:
    """Return each word that asks for an intent: the intent, how strongly, and where the word stands."""
    found: list[tuple[Intent, int, int, int]] = []
    for intent, pattern in lexicon.VERBS.items():
        for match in pattern.finditer(text):
            level = _level(text, intent, match)
            if level:
                found.append((intent, level, *match.span()))
    found += [(Intent.QUERY, _VERB_LEVEL, *match.span()) for match in lexicon.QUERY_ANYWHERE.finditer(text)]
    if objects.HEAL_OBJECT.search(text):
        for pattern in (objects.SYMPTOM, objects.DEGREES):
            found += [(Intent.HEAL, _VERB_LEVEL, *match.span()) for match in pattern.finditer(text)]
    for intent, pattern in lexicon.NOUNS.items():
        found += [(intent, _NOUN_LEVEL, *match.span()) for match in pattern.finditer(text)]
    return tuple(found)


_OBJECT_END = re.compile(
    r"\n|[.;!?] | (?:from|with|on|using|for|in|at|via|because|so that|that|which|if|when|while|by)(?![a-z])"
)


_DENIED = re.compile(
    words(
        "don't|do not|dont|never|no need to|not to|rather than|instead of|without|mustn't|must not|please don't|"
        "shouldn't|"
        "should not|no|not|nicht|ohne|sin|ne|sans|non|senza|nao|sem",
        "不要|别|请勿|不用",
    )
    + r"(?: (?:ever|you|to|be|please|just|actually|accidentally|really|even|try to|zu|le|la|lo|les|los))* ?$"
)


_BARE_VERB = re.compile(
    r",? ?(?:(?:and|or|then|&|/) ?)?(?:(?:repair|fix|heal|replace|restart|reboot|drain|cordon|recover|investigate|"
    r"report)(?![a-z]))?"
    r"(?: (?:it|them|this|that|please|pls|asap|now|soon|thanks|as needed|if needed))*[ .!]*"
)
"""A verb without an object of its own: "..., please investigate and repair"."""


def _level(text: str, intent: Intent, match: re.Match[str]) -> int:
    before = text[max(0, match.start() - 24) : match.start()]
    near = _OBJECT_END.split(text[match.end() : match.end() + _OBJECT_CHARS], maxsplit=1)[0]
    around = text[max(0, match.start() - 40) : match.end()] + near
    foreign = not match.group().isascii()
    if intent in (Intent.CANCEL, Intent.SCALE, Intent.HEAL) and _DENIED.search(before):
        return 0
    if intent is Intent.QUERY:
        if lexicon.KEY.match(text, match.end()):
            return 0
        subordinate = lexicon.SUBORDINATE.fullmatch(match.group()) and not lexicon.ASKED.match(text, match.end())
        return _VERB_LEVEL if not subordinate and _begins_sentence(text, match.start()) else 0
    if intent is Intent.CANCEL:
        if not foreign and lexicon.DETERMINER.search(before):
            return 0
        plain = match.group().startswith(("be ", "cancel", "abort", "annul", "storni", "abbrech"))
        return _VERB_LEVEL if plain or objects.CANCEL_OBJECT.search(around if foreign else near) else 0
    if intent is Intent.SCALE:
        return _scale_level(match.group(), before, around if foreign else match.group() + near)
    if intent is Intent.HEAL:
        return _heal_level(text, before, near, around)
    if intent is Intent.COST:
        return 0 if _WHICHEVER.search(before) else _VERB_LEVEL
    if lexicon.DETERMINER.search(before) or lexicon.NOUN_AFTER.match(text, match.end()):
        return _NOUN_LEVEL
    return _VERB_LEVEL


_WHICHEVER = re.compile(r"(?<![a-z])(?:whichever|wherever|whatever|whoever)(?: one)? $")


def _heal_level(text: str, before: str, near: str, around: str) -> int:
    scope = text if _BARE_VERB.fullmatch(near) else around
    return 0 if lexicon.DETERMINER.search(before) or not objects.HEAL_OBJECT.search(scope) else _VERB_LEVEL


_GENERIC_SCALE = re.compile(
    r"(?:add|increase|decrease|reduce|remove|bump|set|go|double|halve|triple|take|bring|release|"
    r"return|give back|extend|attach|join|raise|lower|drop|turn off|move|expand|grow|shut ?down|"
    r"power down|sub|baj|quita|porta|passe|fug|anad|agreg|adicion|aggiung|ajoute|aument|reduc|reduz|"
    r"redui|ridu)"
)
_SCALE_SETTING = re.compile(r"[^.;\n]{0,48}?" + objects.SCALE_OBJECT.pattern)
_POOL_WORDS = re.compile(
    r"(?<![a-z])(?:pools?|clusters?|replicas?|endpoints?|deployments?|fleet|capacity|service|"
    r"autoscal\w*|inference|partition|nodes?|gpus?|workers?|servers?|hosts?|machines?|queue|group|"
    r"instances?|cluster|repliken|knoten|nodos|noeuds|nodi|flotte|grupo|replicas|repliques|repliche|"
    r"pods?)(?![a-z])|池|集群|副本|节点|プール|クラスタ|レプリカ|ノード"
    rf"|{mark(Kind.GPU)}"
)


def _scale_level(word: str, before: str, near: str) -> int:
    if lexicon.DETERMINER.search(before):
        return 0
    if word.startswith(("provision", "spin up")):
        return _NOUN_LEVEL if _POOL_WORDS.search(near) else 0
    if word == "upscale":
        return 0
    if _GENERIC_SCALE.match(word):
        return _VERB_LEVEL if _POOL_WORDS.search(near) else 0
    return _VERB_LEVEL if _SCALE_SETTING.match(near) or objects.SCALE_OBJECT.search(near) else _NOUN_LEVEL


def _begins_sentence(text: str, at: int) -> bool:
    start = max(
        (
            text.rfind(stop, 0, at) + len(stop)
            for stop in (". ", "! ", "? ", "\n", "; ", ": ", " - ", "。", ", just ", ", only ", ", but ")
            if stop in text[:at]
        ),
        default=0,
    )
    if lexicon.TAIL_QUESTION.match(text, at):
        start = max(start, text.rfind(", ", 0, at) + 2)
    polite = lexicon.POLITE.match(text, start, at)
    return polite is not None and polite.end() >= at


def _of(requests: list[Request], intent: Intent, level: int = _VERB_LEVEL) -> Request | None:
    return next((request for request in requests if request.intent is intent and request.level >= level), None)


_PLAN_FOR = re.compile(r"(?<![a-z])(?:plan|quote|dry[ -]?run) (?:for|to|of|if)(?: [a-z]+){0,3} $")


def _told_plan_rule(shadow: Shadow, first: Request, requests: list[Request]) -> Request | None:
    """Who asks to be told the plan for some work asks for that work; that nothing runs is said beside it."""
    if first.intent is not Intent.QUERY or read_plan_only(shadow) is None:
        return None  # what is not said to be a plan alone would run
    works = (request for request in requests if request.intent in LAUNCH_INTENTS and request.at > first.at)
    return next((work for work in works if _PLAN_FOR.search(shadow.text[: work.at])), None)


_SUPPOSED = re.compile(
    words("if (?:i|we|you|one|they|someone|somebody)|suppose|supposing|assuming|imagine|say (?:i|we)|were (?:i|we) to")
    + r"[^.;!?\n]{0,40}$"
)


def _supposed_rule(shadow: Shadow, first: Request, requests: list[Request]) -> Request | None:
    """Work that is only supposed ("if we trained on 8 H100, ...") is not what a goal asks for; its question is."""
    if first.intent not in LAUNCH_INTENTS or not _SUPPOSED.search(shadow.text[max(0, first.at - 56) : first.at]):
        return None
    asked = _of(requests, Intent.COST) or _of(requests, Intent.QUERY)
    if asked is None and shadow.text.rstrip().endswith("?"):
        return Request(Intent.QUERY, first.level, first.at, first.word, first.span)
    return asked


def _query_rule(shadow: Shadow, first: Request, requests: list[Request]) -> Request | None:
    """A question that also names costs is about costs, unless it asks what was spent."""
    asks_at_end = lexicon.QUERY_END.search(shadow.text) is not None
    if first.intent is Intent.QUERY or (asks_at_end and first.intent is Intent.COST):
        cost = _of(requests, Intent.COST)
        if cost is not None:
            looks_back = lexicon.PAST_SPEND.search(shadow.text) and not lexicon.HYPOTHETICAL.search(shadow.text)
            return (_of(requests, Intent.QUERY) or first) if looks_back else cost
    if first.intent is Intent.QUERY and not first.word.isascii():
        return _foreign_query(shadow, first, requests)
    return None


def _foreign_query(shadow: Shadow, first: Request, requests: list[Request]) -> Request:
    """In Chinese and Japanese question words stand anywhere: work outweighs them unless the text ends as a question."""
    if lexicon.QUERY_END.search(shadow.text):
        return first
    others = [r for r in requests if r.level == _VERB_LEVEL and r.intent is not Intent.QUERY]
    return others[0] if others else first


def _cost_rule(_: Shadow, first: Request, requests: list[Request]) -> Request | None:
    """Reducing spend is about costs, not about scale; comparing it is a question and no benchmark."""
    asked = _of(requests, Intent.QUERY)
    if first.intent is Intent.BENCHMARK and asked is not None and asked.at == first.at:
        return asked if len(asked.word) > len(first.word) else None
    cost = _of(requests, Intent.COST)
    if (
        cost is not None
        and first.intent in (Intent.SCALE, Intent.CANCEL, Intent.BENCHMARK)
        and abs(cost.at - first.at) <= len(cost.word)
    ):
        return cost
    return None


def _tuned_rule(_: Shadow, first: Request, requests: list[Request]) -> Request | None:
    """Training with LoRA, SFT and the like is fine-tuning."""
    method = next((r for r in requests if r.intent is Intent.FINETUNE), None)
    methods = ("lora", "qlora", "peft", "sft", "dpo", "rlhf", "grpo", "orpo", "adapter", "fine")
    if (
        first.intent is Intent.TRAIN
        and method is not None
        and method.word.startswith(methods)
        and method.at - first.at < _OBJECT_CHARS
    ):
        return method
    return None


_FOR_WORK = re.compile(words("for|to") + r"(?: (?:our|my|the|a|an|this|some|\S{1,16})){0,3} $")


def _provision_rule(shadow: Shadow, first: Request, requests: list[Request]) -> Request | None:
    """Capacity that is brought up for some work is that work."""
    if first.intent is not Intent.SCALE or not first.word.startswith(("spin up", "provision")):
        return None
    if objects.POOL.search(shadow.text):
        return None
    works = (r for r in requests if r.intent in LAUNCH_INTENTS and r.at > first.at)
    return next((r for r in works if _FOR_WORK.search(shadow.text[: r.at])), None)


_IMPERATIVE = re.compile(r"(?:^|[,.;:!\n-] ?|(?<![a-z])(?:please|so|and|then|therefore|just|now|pls|hence) )$")


def _reason_rule(shadow: Shadow, first: Request, requests: list[Request]) -> Request | None:
    """A fault told as the reason for work ("the model is broken, retrain it on 8 A100") asks for the work."""
    if first.intent is not Intent.HEAL or lexicon.VERBS[Intent.HEAL].fullmatch(first.word):
        return None
    if any(r.intent is Intent.HEAL and lexicon.VERBS[Intent.HEAL].fullmatch(r.word) for r in requests):
        return None
    for request in requests:
        told = request.intent in LAUNCH_INTENTS and request.level == _VERB_LEVEL and request.at > first.at
        if told and _IMPERATIVE.search(shadow.text[: request.at]) and re.search(lexicon.GPU, shadow.text[request.at :]):
            return request
    return None


_OVER_ITEMS = re.compile(
    rf"inference (?:on|over|for|against)(?: (?:all|the|our|a|of|my|these))* (?:{mark(Kind.NUMBER)}|"
    rf"dataset|corpus|archive|images|documents|backlog|files|test set)"
)


def _batch_rule(shadow: Shadow, first: Request, requests: list[Request]) -> Request | None:
    """Inference over a known set of items is a batch; "batch inference" as well."""
    if first.intent is Intent.INFERENCE and _OVER_ITEMS.search(shadow.text):
        batch = _of(requests, Intent.BATCH, _NOUN_LEVEL)
        return batch or Request(Intent.BATCH, first.level, first.at, first.word, first.span)
    return None


def _symptom_rule(_: Shadow, first: Request, requests: list[Request]) -> Request | None:
    """A fault reported beside a hint of other work is what the goal is about; a cancel beside a fault stays one."""
    cancel = _of(requests, Intent.CANCEL)
    if first.intent is Intent.HEAL and cancel is not None and not lexicon.VERBS[Intent.HEAL].fullmatch(first.word):
        heal_verb = next(
            (r for r in requests if r.intent is Intent.HEAL and lexicon.VERBS[Intent.HEAL].fullmatch(r.word)), None
        )
        return cancel if heal_verb is None else None
    return None


def _cancel_rule(shadow: Shadow, first: Request, requests: list[Request]) -> Request | None:
    """Removing nodes from a pool, or shutting idle ones down, changes scale."""
    scale = _of(requests, Intent.SCALE)
    if first.intent is Intent.CANCEL and scale is not None and scale.at == first.at:
        near = shadow.text[first.at : first.at + _OBJECT_CHARS]
        if re.search(
            r"(?:nodes?|gpus?|replicas?|hosts?|machines?|workers?|instances?|pool|idle|capacity)(?![a-z])|"
            + mark(Kind.GPU),
            near,
        ) and not re.search(r"(?<![a-z])(?:jobs?|runs?|training|tasks?)(?![a-z])", near):
            return scale
    return None
