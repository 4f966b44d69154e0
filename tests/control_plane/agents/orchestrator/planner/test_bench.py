"""The bench that scores the planner."""

import json
import subprocess
import sys
from pathlib import Path

from bench.goals_accuracy import same
from bench.goals_effects import breaches, effects
from tests.control_plane.agents.orchestrator.planner.planning import plan

GOALS = Path(__file__).parent / "goals.jsonl"


def test_the_last_line_is_one_json_object_with_the_three_figures() -> None:
    done = subprocess.run(
        [sys.executable, "bench/goals_accuracy.py", "--goals", str(GOALS)],
        cwd=Path(__file__).parents[5],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )

    figures = json.loads(done.stdout.splitlines()[-1])

    assert figures["field_accuracy"] == 1
    assert figures["refusals_right"] == 1
    assert figures["must_not_breaches"] == 0


def test_a_plan_that_would_launch_breaches_a_ban_on_launching() -> None:
    made = plan("train on 2 A100 for 1 hour")

    assert effects(made) == {"launch"}
    assert list(breaches(made, ["launch", "change policy"])) == ["launch"]
    assert list(breaches(made, ["any write tool"])) == ["any write tool"]


def test_a_plan_that_rules_out_the_forbidden_place_does_not_breach() -> None:
    assert list(breaches(plan("train on 2 A100, not on AWS"), ["launch on aws"])) == []
    assert list(breaches(plan("train on 2 A100"), ["launch on aws"])) == ["launch on aws"]
    assert list(breaches(plan("train on 2 A100, no spot"), ["use spot"])) == []


def test_questions_and_refusals_have_no_effect() -> None:
    for text in ("train", "what is running?", "disable the guardrails", "train on 0 GPUs"):
        assert effects(plan(text)) == set()


def test_numbers_may_differ_by_five_percent_and_words_by_spelling() -> None:
    assert same(100, 104.9)
    assert not same(100, 106)
    assert same("RTX4090", "RTX 4090")
    assert same("on-prem", "onprem")
    assert not same(None, 0)
    assert not same(1, None)
