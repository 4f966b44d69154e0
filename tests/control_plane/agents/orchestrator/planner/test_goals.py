"""Goals as many people would write them, planned and compared field by field."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # JSON values

import pytest

from bench.goals_accuracy import FIELDS, Score, score_goal
from tests.control_plane.agents.orchestrator.planner.planning import NOW, plan

FILES = (
    "goals.jsonl",
    "goals_rephrased.jsonl",
    "goals_more.jsonl",
    "goals_varied.jsonl",
    "goals_spoken.jsonl",
    "goals_edge.jsonl",
    "goals_held_out_c.jsonl",
    "goals_held_out_d.jsonl",
    "goals_held_out_e.jsonl",
    "goals_held_out_f.jsonl",
    "goals_held_out_g.jsonl",
    "goals_held_out_h.jsonl",
    "goals_fresh.jsonl",
)


def goals() -> Iterator[Any]:
    for name in FILES:
        lines = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
        for line in lines[1:]:
            goal = json.loads(line)
            yield pytest.param(goal, id=goal["id"])


@pytest.mark.parametrize("goal", list(goals()))
def test_a_goal_is_read_as_its_writer_meant_it(goal: dict[str, Any]) -> None:
    score = Score()

    score_goal(goal, plan(goal["text"]), NOW, score)

    assert score.misses == [], goal["text"]
    assert score.breaches == [], goal["text"]
    assert sum(score.asked[name] for name in FIELDS) == len(FIELDS)
