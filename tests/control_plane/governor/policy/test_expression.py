"""Conditions: what they may contain, and that no error of one is ever a yes."""

from dataclasses import replace

import pytest

from control_plane.governor.policy.checking import check
from control_plane.governor.policy.expression import BadExpression, EvaluationFailed, Values, compiled
from control_plane.governor.policy.inputs import ActionInput, JobInput, NodeInput, PolicyInput
from control_plane.governor.policy.judging import CPU_SECONDS_MAX, ask, strictest
from control_plane.governor.policy.model import PolicyFile, PolicySet
from control_plane.governor.ruling import Ruling

INPUT = PolicyInput(
    action=ActionInput(
        kind="launch_jobs",
        arguments={"jobs": [{"id": "a", "tags": ["x", "y"]}]},
        node=NodeInput(labels={"zone": "a"}),
        jobs=(JobInput(name="one", gpus=8, gpu_types=("H100",)), JobInput(name="two", gpus=1)),
    )
)


def holds(text: str) -> bool:
    return Values(INPUT.document()).holds(compiled(text))


@pytest.mark.parametrize(
    "text",
    [
        "action.kind == 'launch_jobs' && !taint",
        "action.jobs.exists(j, j.gpu_types.exists(t, t == 'H100'))",
        "action.jobs.exists_one(j, j.gpus > 4)",
        "size(action.jobs.filter(j, j.gpus > 4)) == 1",
        "action.node.labels.exists(k, k == 'zone')",
        "'zone' in action.node.labels && action.node.labels['zone'] == 'a'",
        "action.arguments.jobs.all(j, j.tags.all(t, t != 'z'))",
        "time.now < timestamp('2026-01-01T00:00:00Z')",
        "time.now - timestamp('1969-12-31T23:00:00Z') == duration('1h')",
        "action.kind.matches('^launch_[a-z]+$')",
        "est.usd == 0.0 ? true : false",
        "action.jobs[0].name + '!' == 'one!'",
        "has(action.kind)",
        "string(action.jobs[0].gpus) == '8'",
    ],
)
def test_what_a_condition_can_say(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "action.jobs.map(j, j.gpus) == []",
        "action.jobs.exists(a, action.nodes.exists(b, true))",
        "action.jobs.exists(a, a.gpu_types.exists(b, action.jobs.exists(c, true)))",
        "action.arguments.a.all(x, x.b.all(y, y.c.all(z, true)))",
        "(action.jobs + action.jobs).all(x, true)",
        "action.jobs.filter(x, true).all(y, true)",
        "[1, 2, 3].all(x, true)",
        "[[1]][0].all(x, true)",
        " && ".join("action.jobs.all(x, true)" for _ in range(5)),
        "action.jobs.all(action, true)",
        "action.jobs.all(j, action.nodes.all(j, true))",
        "action.kind.all(x, true)",
        "action.kind.matches('(a{1,99}){1,99}')",
        "action.kind.matches('\\\\w+')",
        "action.kind.matches(action.proposer)",
        f"action.kind.matches('{'a' * 101}')",
        ".action.kind == 'x'",
        "b'x' == b'x'",
        "'''x''' == 'x'",
        "true // but",
        "JobSpec{name: 'x'} == null",
        "x.y",
        "type(action) == type(est)",
        "action.jobs.all(j)",
        "action.kind == 'x' ; true",
        "`action`.kind == 'x'",
        "true " * 300,
        "(" * 200 + "true" + ")" * 200,
        "",
    ],
    ids=lambda text: text[:40],
)
def test_what_could_be_costly_or_mean_two_things_is_refused_before_it_runs(text: str) -> None:
    with pytest.raises(BadExpression):
        compiled(text)


@pytest.mark.parametrize(
    "text",
    [
        "action.node.labels['rack'] == 'r1'",
        "action.arguments.nothing == 1",
        "action.jobs[9].gpus > 1",
        "1 / est.gpus > 1",
        "timestamp(action.kind) > time.now",
        "duration('soon') > duration('1h')",
        "int(action.kind) > 1",
        "est.usd > action.kind",
        "est.usd + 1 > 1.0",
        "action.kind",
        "est.gpus",
        "!est.gpus",
        "action.arguments.jobs",
        "9223372036854775807 + size(action.jobs) > 0",
        "taint ? 1 : 2",
        "(action).knd == 'x'",
    ],
)
def test_an_error_or_an_answer_that_is_no_bool_fails(text: str) -> None:
    with pytest.raises(EvaluationFailed):
        holds(text)


def policies(*rules: str) -> PolicySet:
    made, faults = check([PolicyFile("a.yaml", "rules:\n" + "".join(rules))])
    assert made is not None, faults
    return made


def rule(rule_id: str, when: str, then: str) -> str:
    return f'  - {{id: {rule_id}, when: "{when}", then: {then}, message: m}}\n'


def test_a_rule_that_cannot_be_evaluated_denies_and_says_why() -> None:
    found = policies(
        rule("bad", "1 / (size(action.jobs) - 2) > 100", "allow"),
        rule("good", "true", "allow"),
    )
    bad, good = ask(found, Values(INPUT.document()))
    assert (bad.ruling, bad.matched, bad.failed) == (Ruling.DENY, True, True)
    assert "could not be evaluated, so it denies" in bad.text
    assert "division by zero" in bad.text
    assert good.ruling is Ruling.ALLOW
    assert strictest((bad, good)) is Ruling.DENY


def test_a_rule_that_does_not_apply_says_nothing() -> None:
    (one,) = ask(policies(rule("never", "est.usd > 5.0", "deny")), Values(INPUT.document()))
    assert (one.matched, one.ruling) == (False, Ruling.ALLOW)
    assert one.values_json == '{"est.usd": 0.0}'
    assert strictest((one,)) is Ruling.ALLOW


@pytest.mark.parametrize(
    ("thens", "expected"),
    [
        (("allow", "dry_run_only", "require_approval", "deny"), Ruling.DENY),
        (("allow", "dry_run_only", "require_approval"), Ruling.REQUIRE_APPROVAL),
        (("allow", "dry_run_only"), Ruling.DRY_RUN_ONLY),
        (("allow",), Ruling.ALLOW),
        ((), Ruling.ALLOW),
    ],
    ids=["deny", "require_approval", "dry_run_only", "allow", "nothing"],
)
def test_the_strictest_rule_counts_in_whatever_order(thens: tuple[str, ...], expected: Ruling) -> None:
    found = policies(*(rule(f"r{index}", "true", then) for index, then in enumerate(thens))) if thens else None
    outcomes = ask(found, Values(INPUT.document())) if found is not None else ()
    assert strictest(outcomes) is strictest(reversed(outcomes)) is expected


def test_rules_that_come_after_too_much_time_deny() -> None:
    found = policies(*(rule(f"r{index}", "true", "allow") for index in range(3)))
    ticks = iter([0.0, 0.0, CPU_SECONDS_MAX / 2, CPU_SECONDS_MAX * 2])
    outcomes = ask(found, Values(INPUT.document()), cpu_seconds=lambda: next(ticks))
    assert [one.ruling for one in outcomes] == [Ruling.ALLOW, Ruling.ALLOW, Ruling.DENY]
    assert "took too long" in outcomes[2].text


def test_long_values_are_not_repeated_in_an_explanation() -> None:
    big = replace(INPUT, action=replace(INPUT.action, jobs=tuple(JobInput(name="n" * 100) for _ in range(100))))
    seen = Values(big.document()).seen(compiled("action.jobs.all(j, true) && action.kind == 'x'"))
    assert "launch_jobs" in seen
    assert len(seen) <= 4000
