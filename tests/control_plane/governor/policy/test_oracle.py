"""The CEL library in use agrees with another implementation: on the examples, and on conditions made at random."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import celpy
import pytest
from celpy import celtypes
from celpy.adapter import json_to_cel
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.governor.policy.checking import check
from control_plane.governor.policy.expression import EvaluationFailed, Values, compiled
from control_plane.governor.policy.folder import read_folder
from control_plane.governor.policy.inputs import (
    ActionInput,
    BudgetInput,
    EstimateInput,
    FleetInput,
    JobInput,
    NodeInput,
    PolicyInput,
    TenantInput,
    time_input,
)
from control_plane.governor.policy.samples import sample_inputs

EXAMPLES = Path(__file__).parents[4] / "docs" / "examples" / "policies"
RULES, FAULTS = check(read_folder(EXAMPLES))
ENVIRONMENT = celpy.Environment()
PROGRAMS: dict[str, Any] = {}  # celpy's compiled programs, which take long to make

KINDS = sorted(sample_inputs())
TEXTS = ["", "h100", "H100", "spot", "production", "registry.example/a", "ada@students.example", *KINDS]


def oracle(text: str, document: Mapping[str, Any]) -> bool | None:
    """Return what the other implementation says; None for an error, and for an answer that is no bool."""
    if text not in PROGRAMS:
        PROGRAMS[text] = ENVIRONMENT.program(ENVIRONMENT.compile(text))
    values = {name: json_to_cel(value) for name, value in document.items()}
    values["time"] = celtypes.MapType(
        {
            celtypes.StringType(name): celtypes.TimestampType(value) if name == "now" else json_to_cel(value)
            for name, value in document["time"].items()
        }
    )
    try:
        answer = PROGRAMS[text].evaluate(values)
    except CELEvalError:
        return None
    return bool(answer) if isinstance(answer, celtypes.BoolType | bool) else None


def ours(text: str, document: Mapping[str, Any]) -> bool | None:
    try:
        return Values(document).holds(compiled(text))
    except EvaluationFailed:
        return None


texts = st.sampled_from(TEXTS)
small = st.integers(0, 200)
dollars = st.floats(0, 5000, allow_nan=False).map(lambda value: round(value, 2))
nodes = st.builds(
    NodeInput,
    pool=st.sampled_from(["", "production", "training"]),
    labels=st.dictionaries(st.sampled_from(["capacity", "zone"]), st.sampled_from(["spot", "own"])),
    gpus=small,
    gpu_types=st.lists(st.sampled_from(["H100", "A100"]), max_size=2).map(tuple),
)
jobs = st.builds(JobInput, image=texts, gpus=small, owner=texts)
actions = st.builds(
    ActionInput,
    kind=st.sampled_from(KINDS),
    is_person=st.booleans(),
    destructive=st.booleans(),
    rung=st.sampled_from(["", "reset_gpu", "reboot_host"]),
    node=nodes,
    nodes=st.lists(nodes, max_size=3).map(tuple),
    jobs=st.lists(jobs, max_size=3).map(tuple),
    pools=st.lists(st.sampled_from(["production", "training"]), max_size=2).map(tuple),
)
inputs = st.builds(
    PolicyInput,
    action=actions,
    est=st.builds(EstimateInput, dollars, small, small, small),
    tenant=st.builds(TenantInput, email=texts),
    budget=st.builds(BudgetInput, limited=st.booleans(), usd=dollars, left_usd=dollars),
    fleet=st.builds(FleetInput, small, small, st.sampled_from([0.0, 0.01, 0.02, 0.021, 0.5])),
    time=st.integers(0, 14 * 24 * 60).map(
        lambda minutes: time_input(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes))
    ),
    taint=st.booleans(),
)


def test_the_examples_are_right() -> None:
    assert not FAULTS
    assert RULES is not None
    assert len(RULES.rules) >= 8


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(inputs)
def test_the_examples_mean_the_same_to_both(one: PolicyInput) -> None:
    assert RULES is not None
    document = one.document()
    for rule in RULES.rules:
        assert ours(rule.when.text, document) == oracle(rule.when.text, document), rule.id


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_mean_the_same_to_both_for_each_kind_of_action(kind: str) -> None:
    assert RULES is not None
    document = sample_inputs()[kind].document()
    for rule in RULES.rules:
        assert ours(rule.when.text, document) == oracle(rule.when.text, document)


def _literal(text: str) -> str:
    return f"'{text}'"


strings = st.one_of(
    st.sampled_from(["action.kind", "action.rung", "tenant.email", "time.weekday", "action.node.pool"]),
    texts.map(_literal),
    st.just("action.node.labels['zone']"),
)
integers = st.recursive(
    st.one_of(
        st.sampled_from(["est.gpus", "est.nodes", "time.hour", "size(action.jobs)", "action.nodes[0].gpus"]),
        st.integers(-9, 300).map(lambda value: f"({value})"),
    ),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "%"]), inner).map(
        lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
    ),
    max_leaves=4,
)
doubles = st.one_of(
    st.sampled_from(["est.usd", "budget.usd", "budget.left_usd", "fleet.share", "double(est.gpus)"]),
    dollars.map(lambda value: f"{value:.2f}"),
)
comparisons = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


def _compared(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(values, comparisons, values).map(lambda parts: f"{parts[0]} {parts[1]} {parts[2]}")


atoms = st.one_of(
    _compared(strings),
    _compared(integers),
    _compared(doubles),
    st.sampled_from(
        [
            "taint",
            "action.is_person",
            "budget.limited",
            "'production' in action.pools",
            "'zone' in action.node.labels",
            "action.jobs.exists(j, j.gpus > 8)",
            "action.nodes.all(n, n.gpu_types.exists(t, t == 'H100'))",
            "action.jobs.exists_one(j, j.owner == tenant.email)",
            "size(action.nodes.filter(n, n.gpus > 0)) > 1",
            "action.nodes.exists(n, n.labels['zone'] == 'own')",
            "time.now > timestamp('2026-01-05T00:00:00Z')",
            "tenant.email.matches('^[a-z]+@')",
            "1",
        ]
    ),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"),
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} ? {parts[1]} : {parts[2]})"),
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(conditions, inputs)
def test_random_conditions_mean_the_same_to_both(text: str, one: PolicyInput) -> None:
    document = replace(one, action=replace(one.action, arguments={})).document()
    try:
        expected = oracle(text, document)
    except CELParseError:
        return
    assert ours(text, document) == expected
