"""Turns files into a set of rules, and finds everything that is wrong with them first. Pure."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from control_plane.governor.policy.expression import BadExpression, EvaluationFailed, Expression, compiled
from control_plane.governor.policy.fields import FieldReader
from control_plane.governor.policy.files import Entries, Items, Unusable, read
from control_plane.governor.policy.model import (
    FAULTS_MAX,
    FILES_MAX,
    FREEZES_MAX,
    MESSAGE_CHARACTERS_MAX,
    RULES_MAX,
    SET_BYTES_MAX,
    Fault,
    PolicyFile,
    PolicyRule,
    PolicySet,
)
from control_plane.governor.policy.samples import sample_values
from control_plane.governor.ruling import Ruling
from control_plane.model.approval import ApprovalNeed
from control_plane.model.freeze import FORM, Freeze, parse
from control_plane.model.identity import Role

THEN: Final = {
    "allow": Ruling.ALLOW,
    "deny": Ruling.DENY,
    "require_approval": Ruling.REQUIRE_APPROVAL,
    "dry_run_only": Ruling.DRY_RUN_ONLY,
}
"""What a rule of a file may say."""

APPROVALS_MAX: Final = 10
TTL_SECONDS_MIN: Final = 60
TTL_SECONDS_MAX: Final = 7 * 24 * 3600
_ALLOWED_MAX: Final = 32
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_EMAIL: Final = re.compile(r"[^@\s\x00-\x20]{1,64}@[A-Za-z0-9.-]{1,189}")
_SPAN: Final = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_APPROVERS: Final = (Role.OPERATOR.value, Role.ADMIN.value)


def version_of(files: Iterable[PolicyFile]) -> str:
    """Return SHA-256 over names and texts, in hex; no files have the version of the empty set."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda one: one.name):
        for part in (file.name, file.text):
            data = part.encode(errors="surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def check(
    files: Sequence[PolicyFile], *, loaded_at: datetime | None = None
) -> tuple[PolicySet | None, tuple[Fault, ...]]:
    """Return the set that the files make, or None and everything that is wrong with them, at most 100 faults."""
    checker = _Checker()
    checker.take(sorted(files, key=lambda one: one.name))
    faults = tuple(sorted(set(checker.faults)))[:FAULTS_MAX]
    if faults:
        return None, faults
    made = PolicySet(version_of(files), tuple(files), tuple(checker.rules), tuple(checker.freezes), loaded_at)
    return made, ()


class _Checker:
    """Collects the rules of files, and what is wrong."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.rules: list[PolicyRule] = []
        self.freezes: list[Freeze] = []
        self._ids: dict[str, str] = {}

    def take(self, files: Sequence[PolicyFile]) -> None:
        if len(files) > FILES_MAX:
            self.faults.append(Fault("", 0, "", f"{len(files)} files; at most {FILES_MAX} are allowed"))
            return
        if sum(len(file.text) for file in files) > SET_BYTES_MAX:
            self.faults.append(Fault("", 0, "", f"the files have over {SET_BYTES_MAX // 1024} KiB together"))
            return
        names: set[str] = set()
        for file in files:
            if file.name in names:
                self.faults.append(Fault(file.name, 0, "", "two files have this name"))
            names.add(file.name)
            try:
                self._file(FieldReader(file.name, self.faults), read(file))
            except Unusable as error:
                self.faults.append(error.fault)

    def _file(self, reader: FieldReader, root: Entries) -> None:
        reader.only(root, ("rules", "freezes"))
        for entry in _listed(reader, root, "rules"):
            if len(self.rules) >= RULES_MAX:
                reader.blame(entry.line, f"there are more than {RULES_MAX} rules")
                return
            self._rule(reader, entry)
        for entry in _listed(reader, root, "freezes"):
            if len(self.freezes) >= FREEZES_MAX:
                reader.blame(entry.line, f"there are more than {FREEZES_MAX} freezes")
                return
            self._freeze(reader, entry)

    def _id(self, reader: FieldReader, entry: Entries) -> str:
        found = reader.text(entry, "id", most=63)
        reader.rule_id = found
        if found and not _ID.fullmatch(found):
            reader.blame(entry.lines["id"], "an id is 1 to 63 lower-case letters, digits and '-', like big-launch")
            reader.rule_id = found = ""
        place = f"{reader.file}:{entry.line}"
        if found and self._ids.setdefault(found, place) != place:
            reader.blame(entry.lines["id"], f"the id {found} is there twice, first in {self._ids[found]}")
        return found

    def _rule(self, reader: FieldReader, entry: Entries) -> None:
        reader.rule_id = ""
        rule_id = self._id(reader, entry)
        reader.only(entry, ("id", "when", "then", "approvals", "message"))
        when = reader.text(entry, "when", most=10_000)
        message = reader.text(entry, "message", most=MESSAGE_CHARACTERS_MAX)
        then = reader.one_of(entry, "then", THEN)
        need = _need(reader, entry, then)
        expression = _condition(reader, entry, when) if when else None
        if rule_id and expression is not None and then is not None:
            self.rules.append(PolicyRule(rule_id, reader.file, entry.line, expression, then, need, message))
        reader.rule_id = ""

    def _freeze(self, reader: FieldReader, entry: Entries) -> None:
        reader.rule_id = ""
        freeze_id = self._id(reader, entry)
        reader.only(entry, ("id", "window", "reason"))
        window = reader.text(entry, "window", most=100)
        reason = reader.text(entry, "reason", most=MESSAGE_CHARACTERS_MAX)
        if window:
            try:
                self.freezes.append(parse(freeze_id, window, reason, source=reader.file))
            except ValueError as error:
                reader.blame(entry.lines["window"], f"window {error}" if FORM in str(error) else str(error))
        reader.rule_id = ""


def _listed(reader: FieldReader, root: Entries, name: str) -> tuple[Entries, ...]:
    found = root.entries.get(name)
    if found is None:
        return ()
    if not isinstance(found, Items):
        reader.blame(found.line, f"{name} should be a list, each entry with a '-' before it")
        return ()
    for item in found.items:
        if not isinstance(item, Entries):
            reader.blame(item.line, f"an entry of {name} should have names and values, such as id: and so on")
    return tuple(item for item in found.items if isinstance(item, Entries))


def _condition(reader: FieldReader, entry: Entries, text: str) -> Expression | None:
    """Compile a condition and try it on an input of every kind of effect."""
    line = entry.lines["when"]
    try:
        expression = compiled(text)
    except BadExpression as error:
        for reason in error.wrong:
            reader.blame(line, f"when: {reason}")
        return None
    for kind, values in sample_values().items():
        try:
            values.holds(expression)
        except EvaluationFailed as error:
            reader.blame(line, f"when: fails for an action {kind}: {error}")
            return None
    return expression


def _need(reader: FieldReader, entry: Entries, then: Ruling | None) -> ApprovalNeed | None:
    found = entry.entries.get("approvals")
    if then is not Ruling.REQUIRE_APPROVAL:
        if found is not None and then is not None:
            reader.blame(entry.lines["approvals"], "only a rule with then: require_approval has approvals")
        return None
    if found is None:
        return ApprovalNeed()
    if not isinstance(found, Entries):
        reader.blame(found.line, "approvals should look like {count: 2, from: [operator], ttl: 30m}")
        return None
    reader.only(found, ("count", "from", "ttl"))
    default = ApprovalNeed()
    return ApprovalNeed(
        reader.number(found, "count", least=1, most=APPROVALS_MAX, otherwise=default.count),
        _allowed(reader, found),
        _ttl(reader, found, default.ttl_seconds),
    )


def _allowed(reader: FieldReader, entry: Entries) -> tuple[str, ...]:
    names = reader.texts(entry, "from", most=_ALLOWED_MAX)
    for name in names:
        if name not in _APPROVERS and not _EMAIL.fullmatch(name):
            reader.blame(
                entry.lines["from"], f"{name!a} can approve nothing; name {' or '.join(_APPROVERS)}, or an e-mail"
            )
    return names


def _ttl(reader: FieldReader, entry: Entries, otherwise: int) -> int:
    text = reader.text(entry, "ttl", most=20, required=False)
    if not text:
        return otherwise
    match = _SPAN.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match is not None else 0
    if not TTL_SECONDS_MIN <= seconds <= TTL_SECONDS_MAX:
        reader.blame(entry.lines["ttl"], "ttl is from 1m to 7d, for example 30m or 8h")
        return otherwise
    return seconds
