"""Policies on the wire."""

import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from control_plane.governor.judging import Examined
from control_plane.governor.policy.book import PolicyBook
from control_plane.governor.policy.model import BUILT_IN, Fault, Outcome, PolicyRule
from control_plane.governor.policy.testing import TestResult
from control_plane.governor.policy_replay import Difference
from control_plane.governor.rules import BUILT_IN_RULES, BuiltInRule, judge_rule
from control_plane.governor.ruling import Ruling
from control_plane.services.convert.actions import action, approval_need
from control_plane.services.convert.scalars import timestamp, wire_enum
from orquanta.v1 import policy_pb2

RULING: Final = wire_enum(Ruling, policy_pb2.PolicyRuling.Value, "POLICY_RULING")
_VALUES_CHARACTERS_MAX: Final = 4000


def policy_set(book: PolicyBook) -> policy_pb2.PolicySet:
    """Return the policies in force, built-in rules first."""
    current = book.current
    return policy_pb2.PolicySet(
        version=current.version,
        rules=[*map(_built_in, BUILT_IN_RULES), *map(_rule, current.rules)],
        loaded_at=timestamp(current.loaded_at),
        error=book.error,
        folder=book.folder,
    )


def fault(value: Fault) -> policy_pb2.PolicyFault:
    """Return what is wrong with a file."""
    return policy_pb2.PolicyFault(file=value.file, line=value.line, rule_id=value.rule_id, text=value.text)


def outcome(value: Outcome) -> policy_pb2.RuleVerdict:
    """Return what a rule of a file said."""
    return policy_pb2.RuleVerdict(
        rule_id=value.rule_id,
        file=value.file,
        matched=value.matched,
        ruling=RULING[value.ruling],
        text=value.text,
        values_json=value.values_json,
    )


def test_result(value: TestResult) -> policy_pb2.PolicyTestResult:
    """Return how a test went."""
    return policy_pb2.PolicyTestResult(
        file=value.test.file,
        name=value.test.name,
        passed=value.passed,
        expected=RULING[value.test.expected],
        got=RULING[value.got],
        verdicts=map(outcome, value.outcomes),
    )


def verdicts(examined: Examined) -> Iterable[policy_pb2.RuleVerdict]:
    """Yield what every rule says, built-in ones first."""
    for rule in BUILT_IN_RULES:
        said = judge_rule(rule, examined.facts)
        seen = {name: _shown(getattr(examined.facts, name)) for name in rule.looks_at}
        values = json.dumps(seen, sort_keys=True, ensure_ascii=False)
        yield policy_pb2.RuleVerdict(
            rule_id=rule.id,
            file=BUILT_IN,
            matched=said is not None,
            ruling=RULING[Ruling.ALLOW if said is None else said.ruling],
            text="does not apply" if said is None else said.text,
            values_json=values if len(values) <= _VALUES_CHARACTERS_MAX else "{}",
        )
    for one in examined.outcomes:
        yield outcome(one)


def difference(value: Difference) -> policy_pb2.ReplayDifference:
    """Return an action that would have been judged otherwise; its arguments are left to GetAction."""
    shown = action(value.action)
    shown.ClearField("arguments_json")
    return policy_pb2.ReplayDifference(
        action=shown,
        before=RULING[value.before],
        after=RULING[value.after],
        verdicts=map(outcome, value.outcomes),
    )


def _built_in(rule: BuiltInRule) -> policy_pb2.PolicyRule:
    return policy_pb2.PolicyRule(id=rule.id, file=BUILT_IN, when=rule.when, then=RULING[rule.then])


def _rule(rule: PolicyRule) -> policy_pb2.PolicyRule:
    return policy_pb2.PolicyRule(
        id=rule.id,
        file=rule.file,
        when=rule.when.text,
        then=RULING[rule.then],
        approvals=None if rule.need is None else approval_need(rule.need),
        message=rule.message,
    )


def _shown(value: object) -> Any:  # Any: nested JSON
    """Return a fact as JSON; what has no plain form is shown as Python prints it."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal() | datetime():
            return str(value)
        case Enum():
            return value.value
        case tuple() | list():
            return [_shown(one) for one in value]
        case _:
            fields = getattr(type(value), "__dataclass_fields__", {})
            return {name: _shown(getattr(value, name)) for name in fields} if fields else str(value)
