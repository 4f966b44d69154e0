"""Table tests of policies: what is given, what is expected. Pure."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from control_plane.governor.policy.checking import THEN
from control_plane.governor.policy.expression import Values
from control_plane.governor.policy.fields import FieldReader
from control_plane.governor.policy.files import Entries, Items, Scalar, Unusable, Value, read
from control_plane.governor.policy.given import BadGiven, base, merged
from control_plane.governor.policy.judging import ask, strictest
from control_plane.governor.policy.model import FILES_MAX, SET_BYTES_MAX, Fault, Outcome, PolicyFile, PolicySet
from control_plane.governor.ruling import Ruling

TESTS_MAX: Final = 1000
CPU_SECONDS_MAX: Final = 20.0
_NAME_CHARACTERS_MAX: Final = 200
_RULES_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """One row of a table. `rules` are the ids of exactly the rules that should speak; None does not look at that."""

    file: str
    line: int
    name: str
    document: dict[str, Any]  # Any: nested JSON
    expected: Ruling
    rules: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class TestResult:
    """How one test went; `outcomes` are those of the rules that spoke."""

    __test__ = False

    test: PolicyTest
    passed: bool
    got: Ruling
    outcomes: tuple[Outcome, ...]


def read_tests(files: Sequence[PolicyFile]) -> tuple[tuple[PolicyTest, ...], tuple[Fault, ...]]:
    """Return the tests of files, in order, and what is wrong with the files."""
    faults: list[Fault] = []
    tests: list[PolicyTest] = []
    if len(files) > FILES_MAX or sum(len(file.text) for file in files) > SET_BYTES_MAX:
        return (), (Fault("", 0, "", f"at most {FILES_MAX} files of tests, of {SET_BYTES_MAX // 1024} KiB together"),)
    for file in files:
        reader = FieldReader(file.name, faults)
        try:
            root = read(file)
        except Unusable as error:
            faults.append(error.fault)
            continue
        reader.only(root, ("tests",))
        listed = root.entries.get("tests")
        if not isinstance(listed, Items):
            reader.blame(root.line, "tests: with a list below it is missing")
            continue
        for item in listed.items:
            test = _test(reader, item)
            if test is not None:
                tests.append(test)
    if len(tests) > TESTS_MAX:
        faults.append(Fault("", 0, "", f"{len(tests)} tests; at most {TESTS_MAX} are run at once"))
    return tuple(tests), tuple(faults)


def run_tests(
    policies: PolicySet, tests: Sequence[PolicyTest], *, cpu_seconds: Callable[[], float] = time.thread_time
) -> tuple[TestResult, ...]:
    """Ask the rules about each test; tests that come after too much time on the processor have failed."""
    began = cpu_seconds()
    results = []
    for test in tests:
        if cpu_seconds() - began > CPU_SECONDS_MAX:
            results.append(TestResult(test, passed=False, got=Ruling.DENY, outcomes=()))
            continue
        spoke = tuple(one for one in ask(policies, Values(test.document)) if one.matched)
        got = strictest(spoke)
        as_expected = test.rules is None or set(test.rules) == {one.rule_id for one in spoke}
        failed = any(one.failed for one in spoke) and test.rules is None
        results.append(TestResult(test, got is test.expected and as_expected and not failed, got, spoke))
    return tuple(results)


def _test(reader: FieldReader, item: Value) -> PolicyTest | None:
    if not isinstance(item, Entries):
        reader.blame(item.line, "a test should have names and values: name, given, expect")
        return None
    reader.only(item, ("name", "action", "given", "expect", "rules"))
    name = reader.text(item, "name", most=_NAME_CHARACTERS_MAX)
    expected = reader.one_of(item, "expect", THEN)
    rules = reader.texts(item, "rules", most=_RULES_MAX) if "rules" in item.entries else None
    action, given = item.entries.get("action"), item.entries.get("given")
    try:
        document = base(None if action is None else _mapping(action))
        if given is not None:
            document = merged(document, _mapping(given))
    except BadGiven as error:
        reader.blame(item.line, f"{name or 'the test'}: {error}")
        return None
    if not name or expected is None:
        return None
    return PolicyTest(reader.file, item.line, name, document, expected, rules)


def _mapping(value: Value) -> dict[str, Any]:  # Any: nested JSON
    found = _plain(value)
    if not isinstance(found, dict):
        raise BadGiven("action and given should have names and values")
    return found


def _plain(value: Value) -> Any:  # Any: nested JSON
    match value:
        case Scalar():
            return value.plain()
        case Items(items):
            return [_plain(item) for item in items]
        case Entries(entries):
            return {name: _plain(item) for name, item in entries.items()}
