"""Policies, tests and verdicts for a person."""

import json
from collections.abc import Iterable

from orquanta.cli.formats import one_line, or_dash, relative, short, words
from orquanta.cli.output import Output
from orquanta.types.policies import Explanation, PolicyFault, PolicyTests, Replay, RuleVerdict

_VALUES_WIDTH = 120


def print_faults(output: Output, faults: Iterable[PolicyFault]) -> None:
    """What is wrong with files, a line for each fault."""
    for fault in faults:
        place = ":".join(part for part in (fault.file, str(fault.line) if fault.line else "") if part)
        about = f"rule {fault.rule_id}: " if fault.rule_id else ""
        output.say(f"{place}: {about}{fault.text}" if place else f"{about}{fault.text}")


def print_tests(output: Output, tests: PolicyTests) -> None:
    """The tests that failed, with what each rule said, then how many passed."""
    if tests.faults:
        print_faults(output, tests.faults)
        return
    for result in tests.results:
        if result.passed:
            continue
        output.say(f"FAILED {result.file}: {result.name}")
        output.say(f"  expected {words(result.expected)}, got {words(result.got)}")
        for verdict in result.verdicts:
            output.say(f"  {verdict.rule_id} ({verdict.file}): {words(verdict.ruling)}: {verdict.text}")
            output.say(f"    {_values(verdict)}")
        if not result.verdicts:
            output.say("  no rule spoke")
    passed = sum(result.passed for result in tests.results)
    output.say(f"{passed} of {len(tests.results)} tests passed.")


def print_explanation(output: Output, found: Explanation, *, values: bool) -> None:
    """What every rule says."""
    action = found.action
    output.fields(
        [
            ("action", action.id),
            ("what", action.summary or action.kind),
            ("state", words(action.state)),
            ("decided then", "\n".join(action.decision)),
            ("ruling now", words(found.ruling)),
            ("policies", found.version),
        ]
    )
    output.table(
        ("rule", "file", "says", "why", "values"),
        [
            (
                verdict.rule_id,
                verdict.file,
                words(verdict.ruling) if verdict.matched else "-",
                verdict.text,
                or_dash(one_line(_values(verdict), _VALUES_WIDTH) if verdict.matched and verdict.values else ""),
            )
            for verdict in found.verdicts
        ],
        empty="No rules.",
    )
    if values:
        output.say(json.dumps(json.loads(found.input_json or "{}"), indent=2, ensure_ascii=False))


def print_replay(output: Output, found: Replay) -> None:
    """The actions that would have been judged otherwise."""
    output.table(
        ("action", "proposed", "what", "then", "now", "by"),
        [
            (
                one.action.id,
                relative(one.action.created_at),
                short(one.action.summary or one.action.kind),
                words(one.before),
                words(one.after),
                or_dash(", ".join(verdict.rule_id for verdict in one.verdicts)),
            )
            for one in found.differences
        ],
        empty="No difference.",
    )
    output.say(f"{len(found.differences)} of {found.actions} actions would have been judged otherwise.")
    output.note("Compared is what files say; built-in rules judge as before.")


def _values(verdict: RuleVerdict) -> str:
    return ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in verdict.values.items())
