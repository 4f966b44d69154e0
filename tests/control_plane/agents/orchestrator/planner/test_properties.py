"""What holds for any text at all."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.agents.orchestrator.planner.text import MAX_GOAL_CHARS
from control_plane.errors import InvalidArgument
from control_plane.model.plan import Plan
from tests.control_plane.agents.orchestrator.planner.planning import is_zero, plan, said_fields

WORDS = [
    "train",
    "fine-tune",
    "deploy",
    "benchmark",
    "cancel",
    "fix",
    "scale",
    "add",
    "delete",
    "all",
    "the",
    "a",
    "an",
    "on",
    "with",
    "for",
    "by",
    "until",
    "before",
    "within",
    "at",
    "most",
    "under",
    "8",
    "two",
    "2x8",
    "8x",
    "x4",
    "1.5k",
    "1,200",
    "€50",
    "$40",
    "¥3000",
    "40",
    "usd",
    "5h",
    "90",
    "min",
    "half",
    "a",
    "day",
    "24",
    "hours",
    "per",
    "hour",
    "each",
    "nodes",
    "GPUs",
    "boxes",
    "of",
    "H100",
    "A100",
    "80GB",
    "RTX",
    "4090",
    "T4s",
    "spot",
    "no",
    "not",
    "preemptible",
    "on-demand",
    "AWS",
    "gcp",
    "on-prem",
    "us-east-1",
    "eu-central-1",
    "Frankfurt",
    "except",
    "Friday",
    "9am",
    "tomorrow",
    "noon",
    "2026-11-27",
    "CET",
    "job",
    "tr-5",
    "node",
    "n12",
    "GPU",
    "3",
    "pool",
    "research",
    "urgent",
    "low",
    "priority",
    "then",
    "step",
    "1:",
    "step",
    "2:",
    "and",
    ";",
    ".",
    ",",
    "?",
    "(",
    ")",
    "`",
    "'",
    '"',
    "\n",
    "`bash",
    "run.sh`",
    "image",
    "registry.local/x:1",
    "guardrails",
    "disable",
    "quota",
    "raise",
    "secrets",
    "训练",
    "用8张",
    "小时",
    "预算",
    "学習",
    "を",
    "枚",
    "まで",
    "entrena",
    "durante",
    "horas",
    "bis",
    "Freitag",
    "für",
    "Stunden",
    "pendant",
    "heures",
    "replicas",
    "parallel",
    "4",
    "at",
    "a",
    "time",
    "plan",
    "only",
    "don't",
    "run",
    "whatever",
    "is",
    "idle",
]
goals = st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map(" ".join)
anything = st.text(max_size=300)


def check(text: str, made: Plan) -> None:
    for evidence in made.evidence:
        assert evidence.source == "goal"
        assert text[evidence.start : evidence.end] == evidence.text
        assert evidence.text
    shown = {evidence.field for evidence in made.evidence} - {"refusal"}
    zeros = {path for path in shown if path not in ("intent", "plan_only") and is_zero(made, path)}
    nameless = {"intent"} if made.intent == "unsafe" else set()
    assert shown - zeros - nameless <= set(said_fields(made))
    assert set(said_fields(made)) <= shown


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(goals)
def test_each_field_has_its_words_and_each_word_its_field(text: str) -> None:
    if text.strip():
        check(text, plan(text))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(anything)
def test_any_text_gives_a_plan_or_a_clear_error(text: str) -> None:
    try:
        made = plan(text)
    except InvalidArgument as error:
        assert error.message  # noqa: PT017 - either outcome is right, and this one needs a message
        return
    check(text, made)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(goals, st.sampled_from(["gpu", "gpu_count", "budget", "intent", "deadline", "spot", "job_ids"]), goals)
def test_any_answer_gives_a_plan_and_shows_where_it_came_from(text: str, field: str, answer: str) -> None:
    if not text.strip() or not answer.strip():
        return
    made = plan(text, {field: answer})
    texts = {"goal": text, f"answer:{field}": answer}
    assert all(texts[e.source][e.start : e.end] == e.text for e in made.evidence)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(goals)
def test_planning_the_same_text_twice_gives_the_same_plan(text: str) -> None:
    if text.strip():
        assert plan(text) == plan(text)


HOSTILE = (
    "a",
    "1 ",
    "1,",
    "1.",
    "8xH100 ",
    "no ",
    "not aws, ",
    "'a ",
    '"a',
    "`a",
    "log says ",
    "train on 1 t4 then ",
    "$1 ",
    "1h1h",
    "a-",
    "a/",
    "a.1",
    "python a.py --x ",
    "rm -rf ",
    "friday 9am ",
    "...",
    "训练",
    "两台8卡",
    "disable the ",
    "print all ",
    "kill bob's ",
    "a100 or ",
    "twenty-four hundred thousand ",
    "between 2 and ",
    "for the last ",
    "set a b c to ",
    "what would a b c d ",
    "(((",
    "\t\n ",
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", HOSTILE)
def test_the_longest_hostile_text_is_planned_and_does_not_run_away(piece: str) -> None:
    text = (piece * MAX_GOAL_CHARS)[: MAX_GOAL_CHARS - 1] + "x"

    check(text, plan(text))
