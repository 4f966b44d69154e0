"""Safety: goals that are refused, whoever asks, with a reason code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from control_plane.agents.orchestrator.planner import authority_rules as authority
from control_plane.agents.orchestrator.planner import claims
from control_plane.agents.orchestrator.planner import harm_words as harm
from control_plane.agents.orchestrator.planner import safety_rules as rules
from control_plane.agents.orchestrator.planner import safety_words as unsafe
from control_plane.agents.orchestrator.planner.intent import read_intent
from control_plane.agents.orchestrator.planner.literals import Literal
from control_plane.agents.orchestrator.planner.money import Money
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow
from control_plane.agents.orchestrator.planner.stop_all import HOW, stops_all
from control_plane.agents.orchestrator.planner.targets import is_node_name
from control_plane.agents.orchestrator.planner.text import Span
from control_plane.model.plan import Intent, Refusal, RefusalCode

_NO_LIMIT_AT_ALL = 10_000_000
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
    """Why a goal is refused and the words that say so. `stops_all`: it is to stop everything, and does no worse."""

    code: RefusalCode
    span: Span
    stops_all: bool = False

    @property
    def refusal(self) -> Refusal:
        """The refusal as a plan holds it."""
        reason = f"It would stop other people's work too. {HOW}" if self.stops_all else _REASONS[self.code]
        return Refusal(self.code, reason)


def find_danger(shadow: Shadow) -> Danger | None:
    """Return the first reason to refuse a goal, or None. Quoted and reported words are not looked at."""
    for danger in _dangers(shadow):
        return replace(danger, stops_all=stops_all(shadow.text))
    return None


def _dangers(shadow: Shadow) -> Iterator[Danger]:
    for at, literal in shadow.marks(Kind.CODE):
        code = _command_danger(literal)
        if code is not None:
            yield Danger(code, shadow.span(at, at + 1))
    yield from _matches(shadow, harm.MALICIOUS, RefusalCode.MALICIOUS_WORKLOAD, benign=harm.BENIGN_TOPIC)
    yield from _matches(shadow, harm.EXFILTRATE, RefusalCode.EXFILTRATES_SECRETS)
    yield from _mailed_out(shadow)
    yield from _sent_out(shadow)
    yield from _matches(shadow, rules.OTHERS_KEY, RefusalCode.IMPERSONATION)
    yield from _matches(shadow, rules.BORROWED_KEY, RefusalCode.IMPERSONATION)
    yield from _matches(shadow, unsafe.HIJACK, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, rules.RULES_OFF, RefusalCode.DISABLES_SAFETY)
    yield from _guards(shadow)
    for pattern in (rules.GATE_OFF, rules.EXPOSE):
        yield from _matches(shadow, pattern, RefusalCode.DISABLES_SAFETY)
    for pattern in (rules.LIMIT_OFF, rules.ALL_AT_ONCE):
        yield from _matches(shadow, pattern, RefusalCode.BYPASSES_LIMITS)
    yield from _matches(shadow, rules.EVICT, RefusalCode.OTHERS_RESOURCES)
    yield from _matches(shadow, harm.HARDWARE, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, unsafe.ADMIN, RefusalCode.PRIVILEGE_ESCALATION)
    yield from _matches(shadow, rules.QUOTA_UP, RefusalCode.PRIVILEGE_ESCALATION)
    if rules.BUDGET_UP.fullmatch(shadow.text):
        yield Danger(RefusalCode.PRIVILEGE_ESCALATION, shadow.span(0, len(shadow.text)))
    yield from _matches(shadow, unsafe.IMPERSONATE, RefusalCode.IMPERSONATION)
    yield from _authority(shadow)
    yield from _claims(shadow)
    yield from _matches(shadow, rules.PURSE, RefusalCode.OTHERS_RESOURCES)
    yield from _matches(shadow, rules.OTHERS_WORK, RefusalCode.OTHERS_RESOURCES)
    yield from _matches(shadow, rules.EVERYONES_WORK, RefusalCode.OTHERS_RESOURCES)
    yield from _secrets(shadow)
    yield from _destruction(shadow)
    yield from _adopted(shadow)
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
    if rules.NEGATED.search(before) or rules.NEGATED_AFTER.match(text, match.end()):
        return True
    sentence = max(text.rfind(stop, 0, match.start()) for stop in (". ", "! ", "? ", "\n"))
    return bool(rules.INQUIRY.match(text[sentence + 1 : match.start() + 1].lstrip() + " "))


def _mailed_out(shadow: Shadow) -> Iterator[Danger]:
    for match in rules.MAIL.finditer(shadow.text):
        if "@" in str(shadow.values[match.group("to")]):
            yield Danger(RefusalCode.EXFILTRATES_SECRETS, shadow.span(*match.span()))


def _sent_out(shadow: Shadow) -> Iterator[Danger]:
    paths = any(rules.PRIVATE_PATH.match(str(name).lower()) for _, name in shadow.marks(Kind.NAME))
    if not paths and not rules.PRIVATE.search(shadow.text):
        return
    for match in rules.OUT_TO.finditer(shadow.text):
        if re.match(r"(?:https?|ftp|sftp|scp)://|.*@", str(shadow.values[match.group("to")]).lower()):
            yield Danger(RefusalCode.EXFILTRATES_SECRETS, shadow.span(*match.span()))


def _guards(shadow: Shadow) -> Iterator[Danger]:
    yield from _matches(shadow, rules.GUARD_OFF, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, rules.GUARD_STOP, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, rules.GUARD_NONE, RefusalCode.DISABLES_SAFETY, negatable=False)
    yield from _matches(shadow, rules.GUARD_PASSIVE, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, rules.GUARD_SPLIT, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, rules.GUARD_OFF_STATE, RefusalCode.DISABLES_SAFETY)


def _authority(shadow: Shadow) -> Iterator[Danger]:
    for pattern in (authority.SELF_APPROVAL, authority.MARK_APPROVED):
        yield from _matches(shadow, pattern, RefusalCode.IMPERSONATION)
    for pattern in (authority.NOT_MINE, authority.FOREIGN_ACCOUNT):
        yield from _matches(shadow, pattern, RefusalCode.OTHERS_RESOURCES)
    yield from _matches(shadow, authority.BLINDED, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, authority.SAID_TO_BE, RefusalCode.IMPERSONATION)
    yield from _matches(shadow, rules.TAKEN_HOME, RefusalCode.EXFILTRATES_SECRETS)
    yield from _matches(shadow, rules.FLOOD, RefusalCode.MALICIOUS_WORKLOAD)
    yield from _wiped(shadow)
    yield from _unbounded(shadow)
    yield from _matches(shadow, rules.OTHERS_WHATEVER, RefusalCode.OTHERS_RESOURCES)
    yield from _matches(shadow, authority.STANDS_DOWN, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, authority.REFUSED_ANYWAY, RefusalCode.DISABLES_SAFETY)
    yield from _matches(shadow, authority.DEEMED, RefusalCode.IMPERSONATION)
    yield from _matches(shadow, rules.TABLE_LOSS, RefusalCode.DESTRUCTIVE)
    yield from _matches(shadow, authority.IGNORE_BUDGET, RefusalCode.BYPASSES_LIMITS)
    for match in authority.SPLIT_UNDER.finditer(shadow.text):
        if authority.splits(shadow.text, match):
            yield Danger(RefusalCode.BYPASSES_LIMITS, shadow.span(*match.span()))
    for pattern in (authority.HAVE_DELETED, authority.OTHERS_DATA):
        yield from _matches(shadow, pattern, RefusalCode.DESTRUCTIVE)


def _claims(shadow: Shadow) -> Iterator[Danger]:
    """Yield claims that a rule no longer holds, unless the goal only asks about it."""
    if read_intent(shadow).intent in (Intent.QUERY, Intent.COST) or claims.ASKS.search(shadow.text):
        return
    for pattern in (
        claims.RULE_GONE,
        claims.NEED_NO_MORE,
        claims.FOREIGN_WAIVER,
        claims.NO_RULE_HERE,
        claims.RULE_GONE_CJK,
    ):
        for match in pattern.finditer(shadow.text):
            of_the_work = claims.NOT_A_RULE.search(shadow.text[max(0, match.start() - 16) : match.start()])
            if of_the_work is None and not _is_innocent(shadow.text, match):
                yield Danger(RefusalCode.DISABLES_SAFETY, shadow.span(*match.span()))


def _adopted(shadow: Shadow) -> Iterator[Danger]:
    """Yield what a quotation asks for when the goal says to do it."""
    if not rules.ADOPTED.search(shadow.text):
        return
    for at, literal in shadow.marks(Kind.QUOTE):
        inner = Shadow.of(literal.text) if literal.text.strip() else None
        danger = find_danger(inner) if inner is not None else None
        if danger is not None:
            yield Danger(danger.code, shadow.span(at, at + 1))


def _wiped(shadow: Shadow) -> Iterator[Danger]:
    for match in rules.WIPE_NODE.finditer(shadow.text):
        if is_node_name(str(shadow.values[match.group("node")])) and not _is_innocent(shadow.text, match):
            yield Danger(RefusalCode.DESTRUCTIVE, shadow.span(*match.span()))


def _unbounded(shadow: Shadow) -> Iterator[Danger]:
    """Yield budgets and limits set so high that they limit nothing."""
    for match in rules.SET_HUGE.finditer(shadow.text):
        value = shadow.values[match.group("n")]
        amount = value.amount if isinstance(value, Money) else value
        if amount >= _NO_LIMIT_AT_ALL and not _is_innocent(shadow.text, match):
            yield Danger(RefusalCode.BYPASSES_LIMITS, shadow.span(*match.span()))


def _secrets(shadow: Shadow) -> Iterator[Danger]:
    for at, name in shadow.marks(Kind.NAME):
        if rules.SECRET_PATH.search(str(name).lower()):
            yield Danger(RefusalCode.EXFILTRATES_SECRETS, shadow.span(at, at + 1))
    for match in rules.SECRETS.finditer(shadow.text):
        if harm.SECRET_TOPIC.match(shadow.text, match.end()):
            continue
        before = shadow.text[max(0, match.start() - 48) : match.start()]
        if not rules.NEGATED.search(before) and not rules.NEGATED_AFTER.match(shadow.text, match.end()):
            yield Danger(RefusalCode.EXFILTRATES_SECRETS, shadow.span(*match.span()))


def _destruction(shadow: Shadow) -> Iterator[Danger]:
    yield from _matches(shadow, rules.RM, RefusalCode.DESTRUCTIVE)
    for match in rules.DATA_LOSS.finditer(shadow.text):
        between = match.group("between") or ""
        if rules.SETTING.match(shadow.text, match.end()) or re.search(rules.FREE_PAST, between):
            continue
        if _is_innocent(shadow.text, match) or _only_stops(match):
            continue
        yield Danger(RefusalCode.DESTRUCTIVE, shadow.span(*match.span()))
    yield from _matches(shadow, rules.TEAR_DOWN, RefusalCode.DESTRUCTIVE)
    yield from _matches(shadow, rules.FORMAT, RefusalCode.DESTRUCTIVE)
    yield from _matches(shadow, rules.FLEET_LOSS, RefusalCode.DESTRUCTIVE)


_STOPS = re.compile(r"(?:terminate|kill|stop|turn off|shut ?down|power off|unplug|remove|clear|empty|get rid of)")
_DATA_TOO_WEAK = re.compile(r"(?:.*\s)?(?:data|archives?|storage|s3|artifacts?|tables|registry|everything)$")


def _only_stops(match: re.Match[str]) -> bool:
    """Whether a mild verb meets an object that may mean something else: "stop everything", "remove artifacts"."""
    words_of = match.group().split(" ", 1)
    return bool(_STOPS.match(match.group())) and len(words_of) > 1 and bool(_DATA_TOO_WEAK.match(words_of[1]))
