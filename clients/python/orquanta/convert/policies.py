"""Policies between the wire and Python."""

import json
from collections.abc import Iterable

from orquanta.convert.actions import read_action, read_approval_need
from orquanta.convert.scalars import read_enum, read_time
from orquanta.types.policies import (
    Explanation,
    PolicyCheck,
    PolicyFault,
    PolicyFile,
    PolicyRule,
    PolicyRuling,
    PolicySet,
    PolicyTestResult,
    PolicyTests,
    Replay,
    ReplayDifference,
    RuleVerdict,
)
from orquanta.v1 import policy_pb2 as pb


def write_files(files: Iterable[PolicyFile]) -> list[pb.PolicyFile]:
    """Files."""
    return [pb.PolicyFile(name=file.name, text=file.text) for file in files]


def read_policy_set(message: pb.PolicySet) -> PolicySet:
    """The policies in force."""
    return PolicySet(
        version=message.version,
        rules=tuple(_rule(rule) for rule in message.rules),
        loaded_at=read_time(message.loaded_at),
        error=message.error,
        folder=message.folder,
    )


def read_check(message: pb.ValidatePoliciesResponse) -> PolicyCheck:
    """What is wrong with files."""
    return PolicyCheck(tuple(_fault(fault) for fault in message.faults), message.version)


def read_tests(message: pb.TestPoliciesResponse) -> PolicyTests:
    """How tests went."""
    return PolicyTests(
        tuple(_test_result(result) for result in message.results), tuple(_fault(fault) for fault in message.faults)
    )


def read_explanation(message: pb.ExplainActionResponse) -> Explanation:
    """What every rule says about an action."""
    return Explanation(
        action=read_action(message.action),
        ruling=_ruling(message.ruling),
        verdicts=tuple(_verdict(verdict) for verdict in message.verdicts),
        input_json=message.input_json,
        version=message.version,
    )


def read_replay(message: pb.ReplayPoliciesResponse) -> Replay:
    """What files would have changed."""
    return Replay(
        message.actions,
        tuple(
            ReplayDifference(
                action=read_action(one.action),
                before=_ruling(one.before),
                after=_ruling(one.after),
                verdicts=tuple(_verdict(verdict) for verdict in one.verdicts),
            )
            for one in message.differences
        ),
    )


def _ruling(number: "pb.PolicyRuling.ValueType") -> PolicyRuling:
    return read_enum(PolicyRuling, pb.PolicyRuling, number)


def _rule(message: pb.PolicyRule) -> PolicyRule:
    return PolicyRule(
        id=message.id,
        file=message.file,
        when=message.when,
        then=_ruling(message.then),
        message=message.message,
        approvals=read_approval_need(message.approvals) if message.HasField("approvals") else None,
    )


def _fault(message: pb.PolicyFault) -> PolicyFault:
    return PolicyFault(message.file, message.line, message.rule_id, message.text)


def _verdict(message: pb.RuleVerdict) -> RuleVerdict:
    try:
        values = json.loads(message.values_json or "{}")
    except ValueError:
        values = {}
    return RuleVerdict(
        rule_id=message.rule_id,
        file=message.file,
        matched=message.matched,
        ruling=_ruling(message.ruling),
        text=message.text,
        values=values if isinstance(values, dict) else {},
    )


def _test_result(message: pb.PolicyTestResult) -> PolicyTestResult:
    return PolicyTestResult(
        file=message.file,
        name=message.name,
        passed=message.passed,
        expected=_ruling(message.expected),
        got=_ruling(message.got),
        verdicts=tuple(_verdict(verdict) for verdict in message.verdicts),
    )
