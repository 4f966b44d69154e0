"""Safety: goals that are refused, whoever asks, with a reason code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from control_plane.agents.orchestrator import harm_words as harm
from control_plane.agents.orchestrator import safety_words as unsafe
from control_plane.agents.orchestrator.literals import Literal
from control_plane.agents.orchestrator.shadow import Kind, Shadow, mark, words
from control_plane.agents.orchestrator.text import Span
from control_plane.model.plan import Refusal, RefusalCode

_REASONS = {
    RefusalCode.DESTRUCTIVE: (
        "It would destroy data or take down what others rely on. Ask the owner, and use the storage's own"
        " tools with a backup at hand."
    ),
    RefusalCode.DISABLES_SAFETY: (
        "It would switch off or get around guardrails, policy, approval or audit. An administrator can pr"
        "opose a policy change."
    ),
    RefusalCode.BYPASSES_LIMITS: "It would get around a budget, quota or limit. Ask an administrator for a higher one.",
    RefusalCode.EXFILTRATES_SECRETS: (
        "It would expose secrets or private data. Use the secret store, which hands them to the job alone."
    ),
    RefusalCode.MALICIOUS_WORKLOAD: "The workload itself is not allowed on this fleet.",
    RefusalCode.IMPERSONATION: "It would act as somebody else or stand in for an approver. Act under your own account.",
    RefusalCode.OTHERS_RESOURCES: "It would touch jobs, budgets or accounts of other people. Ask them, or an operator.",
    RefusalCode.PRIVILEGE_ESCALATION: "Roles, quotas and limits are changed by administrators, not by goals.",
}


@dataclass(frozen=True, slots=True)
class Danger:
    """Why a goal is refused and the words that say so."""

    code: RefusalCode
    span: Span

    @property
    def refusal(self) -> Refusal:
        """The refusal as a plan holds it."""
        return Refusal(self.code, _REASONS[self.code])


_NEGATED = re.compile(
    words(
        "don't|do not|dont|never|without|not|must not|mustn't|shouldn't|should not|can't|cannot|"
        "won't|avoid|instead of|rather than|no need to|no",
        "no|sin|nunca|nicht|ohne|niemals|ne|sans|jamais|non|senza|mai|nao|sem",
        "不要|不能|别|请勿|不会|しないで|せずに",
    )
    + (
        r"(?: (?:ever|to|be|please|just|you|actually|accidentally|even|under any circumstances|try to|"
        r"attempt to))* $"
    )
)
_NEGATED_AFTER = re.compile(r"[^.!?\n]{0,12}(?:しないで|せずに|しない|なしで|ずに)")
_INQUIRY = re.compile(
    r"(?:^|[.!?\n] ?)(?:hi|hey|hello|please|so|also|quick question|question|[,:!-]| )*"
    + words(
        "why|who|what|when|which|where|did|was|were|has|have|had|is|are|does|how many|how much|"
        "how often|how (?:does|do|did|is|are|was|were)|explain|describe|show me (?:who|when|which|"
        "why|how)|list (?:who|which|when)|tell me (?:who|when|which|why|whether|if)|por que|quien|"
        "cuando|que|warum|wer|wann|welche[rs]?|pourquoi|qui|quand|quel(?:le)?s?|perche|chi|quando|"
        "quale",
        "为什么|谁|什么时候|哪些|なぜ|誰が|いつ",
    )
    + r"(?![^.!?\n]{0,40}"
    + words("how (?:can|do|could) i|keys?|passwords?|secrets?|credentials?|密码|密钥|パスワード")
    + r")"
)
_MANNER = r"(?:{first}{gap}{second}|{second}{back}{first})"
_SOV_GAP = r"(?=[^\x00-\x7f])[^.;!?\n ]{0,10}?"
_GUARD_OFF = re.compile(_MANNER.format(first=unsafe.SWITCH_OFF, gap=harm.SHORT, second=unsafe.GUARD, back=_SOV_GAP))
_GUARD_OFF_STATE = re.compile(
    unsafe.GUARD_STRICT
    + r" ?(?:should be |must be |to be |to |=|: ?|is to be |set to )? ?"
    + words(
        "off|disabled|false|none|turned off|switched off|aus|desactivad[oa]s?|desactivee?s?|"
        "disattivat[ei]|desativad[oa]s?"
    )
    + r"(?! (?:by default|yesterday|last))"
)
_GUARD_NONE = re.compile(
    words("no|without|w/o|minus|zero|keine|ohne|sin|sans|senza|sem")
    + r"(?: (?:any|more|active|the|all|alle|die|ningun[ao]?|les|aucun))? "
    + words(
        "guard-?rails?|safety (?:checks?|limits?|rails|net|governor)|policy (?:checks?|enforcement)|"
        "audit (?:logging|log|trail)|safeguards|kill[- ]?switch|leitplanken|salvaguardas|garde-fous|"
        "barreras"
    )
)
_GUARD_SPLIT = re.compile(
    r"(?<![a-z])(?:turn|switch|shut|take|put)(?: \w+){0,3}? ?"
    + unsafe.GUARD
    + r"(?: \w+){0,2}? (?:off|down|out of service)(?![a-z])"
)
_GUARD_STOP = re.compile(
    _MANNER.format(first=unsafe.SWITCH_OFF_WEAK, gap=r"(?: \w+){0,3}? ?", second=unsafe.GUARD_STRICT, back=_SOV_GAP)
)
_RULES_OFF = re.compile(
    _MANNER.format(
        first=words(
            "ignore|disregard|forget|override|bypass|break|drop|violate|ignora|olvida|ignoriere|"
            "vergiss|ignorez|oublie|oubliez|dimentica|esqueca|ignorar",
            "忽略|无视|忘记|無視|忘れ",
        ),
        gap=r"(?: \w+){0,3}? ?",
        second=unsafe.INSTRUCTIONS,
        back=r"を?",
    )
)
_QUOTA_UP = re.compile(
    _MANNER.format(first=unsafe.RAISE, gap=r"(?: \w+){0,4}? ?(?:的)?", second=unsafe.QUOTA, back=_SOV_GAP)
)
_SECRETS = re.compile(_MANNER.format(first=harm.TAKE, gap=harm.SHORT, second=harm.SECRET, back=_SOV_GAP))
_DATA_LOSS = re.compile(
    _MANNER.format(first=harm.DESTROY, gap=r"(?P<between>[^.;!?\n,]{0,40}?)", second=harm.DATA, back=_SOV_GAP)
)
_FLEET_LOSS = re.compile(_MANNER.format(first=harm.DESTROY, gap=r"(?: \w+){0,2}? ?", second=harm.FLEET, back=_SOV_GAP))
_FORMAT = re.compile(
    r"(?<![a-z])(?:re-?)?format(?:ting)? (?:\w+ ){0,4}?(?:disks?|drives?|volumes?|file ?systems?|"
    r"partitions?|nodes?|hosts?|ssds?|nvmes?|storage)(?![a-z])"
)
_SECRET_PATH = re.compile(
    r"/etc/(?:shadow|passwd|sudoers)|id_rsa|id_ed25519|\.ssh/|\.aws/credentials|kube/?config|"
    r"/run/secrets|/proc/\d*/?environ|\.env$|\.netrc"
)
_RM = re.compile(r"(?<![a-z])rm -[a-z]*r[a-z]*(?![a-z])")
_OTHER = rf"(?:{unsafe.OTHERS}|{unsafe.NAMED_OTHER})"
_OTHERS_WORK = re.compile(
    rf"{unsafe.DISTURB}(?: (?!my |our |own )\w+){{0,3}}? ?(?:{_OTHER}(?: [a-z-]+){{0,3}}? ?(?:"
    rf"{unsafe.WORK}|gpus?|nodes?|{mark(Kind.NAME)})|{unsafe.WORK} (?:of|from|by|belonging to|"
    rf"owned by|submitted by|de|von|des|di|da|do) (?:the |los |les |)?(?!my |our |me|"
    rf"mine)(?:{_OTHER}|[a-z]{{2,16}} team|team [a-z]+|user [a-z]+|other))|"
    rf"(?:{unsafe.OTHERS})(?:{unsafe.WORK})?を?(?:全部|都|すべて|全て)?(?:{unsafe.DISTURB})"
)
_EVERYONES_WORK = re.compile(
    rf"{unsafe.DISTURB}(?: \w+){{0,2}}? (?:every|all|any)(?: (?:of )?(?:the )?(?:running|other|"
    rf"active|queued))*(?: [a-z]+)?? {unsafe.WORK} (?:on|in|across|of) (?:the |our )?(?:whole |"
    rf"entire )?(?:cluster|fleet|company|production|prod|everyone|platform|all (?:users|teams))|"
    rf"{unsafe.DISTURB}(?: (?:every|all))(?: (?:the|running|of the))* {unsafe.WORK} (?:except|but|"
    rf"other than) (?:mine|my|ours?)"
)
_PURSE = re.compile(
    rf"(?:{unsafe.SPEND})(?: \w+){{0,4}}? ?(?:{_OTHER})(?: [a-z-]+){{0,3}}? ?{unsafe.PURSE}|"
    rf"(?:{unsafe.SPEND}) ?(?:{unsafe.OTHERS}){unsafe.PURSE}|"
    rf"(?:{unsafe.OTHERS}){unsafe.PURSE}[にをで]{{0,2}}(?:{unsafe.SPEND})|(?:from|against|to|on|"
    rf"on the|out of|with|by) (?:{_OTHER}) (?:[a-z-]+ )?(?:budget|credits|quota|account|credentials?|"
    rf"login|token|reservation|cost cent(?:er|re))"
)
_FREE_PAST = words(
    "from|into|with|that|which|while|after|before|when|if|once|jobs?|cache|caches|duplicates?|"
    "outliers?|noise|layers?|columns?|rows?|stopwords|labels?|nulls?|pii|header|headers|bias|"
    "background|silence|job|run|task|trial|node|checkpointing|memory|idle|failed|stuck|hung|my own|"
    "mine|for|and|on (?=demand)|desde|aus|depuis"
)


def find_danger(shadow: Shadow) -> Danger | None:
    """Return the first reason to refuse a goal, or None. Quoted and reported words are not looked at."""
    for danger in _dangers(shadow):
        return danger
    return None


def _dangers(shadow: Shadow) -> Iterator[Danger]:
    for at, literal in shadow.marks(Kind.CODE):
        code = _command_danger(literal)
        if code is not None:
            yield Danger(code, shadow.span(at, at + 1))
    yield from _matches(shadow, harm.MALICIOUS, RefusalCode.MALICIOUS_WORKLOAD, benign=harm.BENIGN_TOPIC)
    yield from _matches(shadow, harm.EXFILTRATE, RefusalCode.EXFILTRATES_SECRETS, benign=harm.BENIGN_TOPIC)
    yield from _matches(shadow, unsafe.HIJACK, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, _RULES_OFF, RefusalCode.DISABLES_SAFETY)
    yield from _guards(shadow)
    yield from _matches(shadow, harm.HARDWARE, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, unsafe.ADMIN, RefusalCode.PRIVILEGE_ESCALATION)
    yield from _matches(shadow, _QUOTA_UP, RefusalCode.PRIVILEGE_ESCALATION)
    yield from _matches(shadow, unsafe.IMPERSONATE, RefusalCode.IMPERSONATION)
    yield from _matches(shadow, _PURSE, RefusalCode.OTHERS_RESOURCES)
    yield from _matches(shadow, _OTHERS_WORK, RefusalCode.OTHERS_RESOURCES)
    yield from _matches(shadow, _EVERYONES_WORK, RefusalCode.OTHERS_RESOURCES)
    yield from _secrets(shadow)
    yield from _destruction(shadow)
    yield from _matches(shadow, unsafe.COVERT, RefusalCode.DISABLES_SAFETY, negatable=False)


def _command_danger(literal: Literal) -> RefusalCode | None:
    if not literal.is_command:
        return None
    command = literal.text.lower()
    return next((code for code, pattern in harm.COMMANDS if pattern.search(command)), None)


def _matches(
    shadow: Shadow,
    pattern: re.Pattern[str],
    code: RefusalCode,
    *,
    benign: re.Pattern[str] | None = None,
    negatable: bool = True,
) -> Iterator[Danger]:
    for match in pattern.finditer(shadow.text):
        around = shadow.text[max(0, match.start() - 60) : match.end() + 40]
        if benign is not None and benign.search(around):
            continue
        if negatable and _is_innocent(shadow.text, match):
            continue
        yield Danger(code, shadow.span(*match.span()))


def _is_innocent(text: str, match: re.Match[str]) -> bool:
    """Whether the wish is negated ("never skip approval") or only asked about ("why was ...")."""
    before = text[max(0, match.start() - 48) : match.start()]
    if _NEGATED.search(before) or _NEGATED_AFTER.match(text, match.end()):
        return True
    sentence = max(text.rfind(stop, 0, match.start()) for stop in (". ", "! ", "? ", "\n"))
    return bool(_INQUIRY.match(text[sentence + 1 : match.start() + 1].lstrip() + " "))


def _guards(shadow: Shadow) -> Iterator[Danger]:
    yield from _matches(shadow, _GUARD_OFF, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, _GUARD_STOP, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, _GUARD_NONE, RefusalCode.DISABLES_SAFETY, negatable=False)
    yield from _matches(shadow, _GUARD_SPLIT, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, _GUARD_OFF_STATE, RefusalCode.DISABLES_SAFETY)


def _secrets(shadow: Shadow) -> Iterator[Danger]:
    for at, name in shadow.marks(Kind.NAME):
        if _SECRET_PATH.search(str(name).lower()):
            yield Danger(RefusalCode.EXFILTRATES_SECRETS, shadow.span(at, at + 1))
    for match in _SECRETS.finditer(shadow.text):
        if harm.SECRET_TOPIC.match(shadow.text, match.end()):
            continue
        before = shadow.text[max(0, match.start() - 48) : match.start()]
        if not _NEGATED.search(before) and not _NEGATED_AFTER.match(shadow.text, match.end()):
            yield Danger(RefusalCode.EXFILTRATES_SECRETS, shadow.span(*match.span()))


def _destruction(shadow: Shadow) -> Iterator[Danger]:
    yield from _matches(shadow, _RM, RefusalCode.DESTRUCTIVE)
    for match in _DATA_LOSS.finditer(shadow.text):
        between = match.group("between") or ""
        if re.search(_FREE_PAST, between) or _is_innocent(shadow.text, match) or _only_stops(match):
            continue
        yield Danger(RefusalCode.DESTRUCTIVE, shadow.span(*match.span()))
    yield from _matches(shadow, _FORMAT, RefusalCode.DESTRUCTIVE)
    yield from _matches(shadow, _FLEET_LOSS, RefusalCode.DESTRUCTIVE)


_STOPS = re.compile(r"(?:terminate|kill|stop|turn off|shut ?down|power off|unplug|remove|clear|empty|drop|get rid of)")
_DATA_TOO_WEAK = re.compile(r"(?:.*\s)?(?:data|archives?|storage|s3|artifacts?|tables|registry|everything)$")


def _only_stops(match: re.Match[str]) -> bool:
    """Whether a mild verb meets an object that may mean something else: "stop everything", "remove artifacts"."""
    words_of = match.group().split(" ", 1)
    return bool(_STOPS.match(match.group())) and len(words_of) > 1 and bool(_DATA_TOO_WEAK.match(words_of[1]))
