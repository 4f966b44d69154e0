"""The policies in the documentation pass the tests beside them; tables of tests say what is wrong with themselves."""

from pathlib import Path

import pytest

from control_plane.governor.policy.checking import check
from control_plane.governor.policy.folder import TEST_ENDINGS, read_folder
from control_plane.governor.policy.model import PolicyFile, PolicySet
from control_plane.governor.policy.testing import TestResult, read_tests, run_tests
from control_plane.governor.ruling import Ruling

EXAMPLES = Path(__file__).parents[4] / "docs" / "examples" / "policies"


def results(policies: str | PolicySet, tests: str) -> tuple[TestResult, ...]:
    if isinstance(policies, str):
        made, faults = check([PolicyFile("p.yaml", policies)])
        assert made is not None, faults
        policies = made
    table, faults = read_tests([PolicyFile("p.test.yaml", tests)])
    assert not faults
    return run_tests(policies, table)


def test_the_examples_pass_their_tests() -> None:
    policies, faults = check(read_folder(EXAMPLES))
    assert policies is not None, faults
    files = [PolicyFile(path.name, path.read_text()) for path in EXAMPLES.iterdir() if path.name.endswith(TEST_ENDINGS)]
    table, faults = read_tests(files)
    assert not faults
    assert len(table) >= 20
    failed = [(one.test.name, one.got, one.outcomes) for one in run_tests(policies, table) if not one.passed]
    assert not failed
    spoken = {rule for test in table for rule in test.rules or ()}
    assert spoken == {rule.id for rule in policies.rules}, "each rule of the examples is tested"


POLICY = "rules:\n  - {id: dear, when: est.usd > 10.0, then: deny, message: m}\n"


def test_a_test_fails_when_the_ruling_or_the_rules_are_others() -> None:
    table = """\
tests:
  - {name: right, given: {est: {usd: 11}}, expect: deny, rules: [dear]}
  - {name: another ruling, given: {est: {usd: 11}}, expect: allow}
  - {name: another rule, given: {est: {usd: 11}}, expect: deny, rules: [cheap]}
  - {name: a rule too many, given: {est: {usd: 11}}, expect: deny, rules: []}
  - {name: a rule missing, given: {est: {usd: 9}}, expect: allow, rules: [dear]}
"""
    found = results(POLICY, table)
    assert [one.passed for one in found] == [True, False, False, False, False]
    assert [one.got for one in found] == [Ruling.DENY] * 4 + [Ruling.ALLOW]


def test_a_denial_by_an_error_is_no_expected_denial() -> None:
    policy = "rules:\n  - {id: odd, when: 1 / (est.gpus - 3) > 100, then: deny, message: m}\n"
    (one,) = results(policy, "tests:\n  - {name: error, given: {est: {gpus: 3}}, expect: deny}\n")
    assert (one.got, one.passed) == (Ruling.DENY, False)
    (named,) = results(policy, "tests:\n  - {name: error, given: {est: {gpus: 3}}, expect: deny, rules: [odd]}\n")
    assert named.passed


def test_the_hour_and_the_day_follow_from_the_time() -> None:
    policy = "rules:\n  - {id: r, when: time.hour == 23 && time.weekday == 'saturday', then: deny, message: m}\n"
    table = "tests:\n  - {name: n, given: {time: {now: 2026-01-11T00:30:00+01:00}}, expect: deny}\n"
    assert results(policy, table)[0].passed


@pytest.mark.parametrize(
    ("test", "part"),
    [
        ("{name: n, expect: deny, given: {est: {dollars: 1}}}", "there is no est.dollars; there are usd, gpus"),
        ("{name: n, expect: deny, given: {est: {gpus: many}}}", "est.gpus should be a int"),
        ("{name: n, expect: deny, given: {est: {gpus: true}}}", "est.gpus should be a int"),
        ("{name: n, expect: deny, given: {action: {nodes: 1}}}", "action.nodes should be a list"),
        ("{name: n, expect: deny, given: {action: {nodes: [{nam: x}]}}}", "there is no action.nodes[0].nam"),
        ("{name: n, expect: deny, given: {time: {now: later}}}", "time.now should be like"),
        ("{name: n, expect: deny, action: {kind: fly}}", "action is no action"),
        ("{name: n, expect: deny, action: {kind: stop_job, arguments: {}}}", "action is no action"),
        ("{name: n, expect: perhaps}", "it should be allow, deny"),
        ("{name: n, expects: deny}", "did you mean expect?"),
        ("{expect: deny}", "name is missing"),
    ],
    ids=range(11),
)
def test_what_is_wrong_with_a_test_is_told_with_its_line(test: str, part: str) -> None:
    _, faults = read_tests([PolicyFile("p.test.yaml", f"tests:\n  - {test}\n")])
    assert any(part in fault.text and fault.line == 2 for fault in faults), faults
