"""Goals through the rule-based planner: fields, validity of plans, refusals, and effects that must not be."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any  # JSON values

from bench.goals_accuracy import answer_of
from control_plane.agents.orchestrator.planner import plan_goal
from evals.case import Case, Pack, Verdict
from evals.goal_answers import GoalSet, goal_set, judged, problems_of

FLOOR = 0.95


def pack(goals_file: Path | None = None) -> Pack:
    """Return a case for each goal of a file, or of OrQuanta's own set."""
    goals = goal_set(goals_file)
    return Pack(
        "goals_rules",
        "goals in plain words, read by rules",
        [Case(str(goal["id"]), partial(_attempt, goals, goal)) for goal in goals.goals],
        floor=FLOOR,
    )


async def _attempt(goals: GoalSet, goal: Mapping[str, Any]) -> Verdict:
    plan = plan_goal(goal["text"], now=goals.now, fx_usd=goals.fx_usd)
    return judged(goal, answer_of(goal, plan, goals.now), problems_of(plan, goal["text"], goals.now))
