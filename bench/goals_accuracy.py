"""Score the rule-based planner on a file of goals: accuracy per field, refusals, forbidden effects.

    python bench/goals_accuracy.py --goals FILE

The file has one JSON object a line: first one with `now` and `fx_usd`, then goals with `id`, `text` and
`expected`. A field is right if it equals the expected value or one of `expected.accept[field]`; numbers may
differ by 5 %. The job graph and `extra` fields are figures of their own. The last line is one JSON object.
"""

import argparse
import json
import os
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any  # JSON values

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.goals_effects import breaches
from control_plane.agents.orchestrator.planner import plan_goal
from control_plane.model.plan import (
    BudgetPeriod,
    Intent,
    Plan,
    PlannedJob,
    SpotPreference,
)

FIELDS = (
    "intent", "gpu_type", "gpu_count", "max_hours", "deadline_hours", "budget_usd", "spot_ok", "provider", "region",
    "priority", "command", "image", "must_refuse",
)  # fmt: skip
TOLERANCE = 0.05
SECONDS_PER_HOUR = 3600
TARGETS = {"field_accuracy": 0.9, "refusals_right": 1.0, "must_not_breaches": 0}


@dataclass(slots=True)
class Score:
    """What was right and what was not."""

    right: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    misses: list[tuple[str, str, object, object]] = field(default_factory=list)
    breaches: list[tuple[str, str]] = field(default_factory=list)
    whole_goals_right: int = 0
    plan_seconds: list[float] = field(default_factory=list)

    def add(self, goal_id: str, name: str, expected: object, got: object, *, right: bool) -> bool:
        """Count one comparison."""
        self.asked[name] += 1
        self.right[name] += right
        if not right:
            self.misses.append((goal_id, name, expected, got))
        return right

    def share(self, names: Sequence[str]) -> float:
        """Return the share of right ones among these names, 1 where nothing was asked."""
        asked = sum(self.asked[name] for name in names)
        return sum(self.right[name] for name in names) / asked if asked else 1.0


def _plain(value: object) -> object:
    """Compare words without case, blanks and the spelling of GPU models or on-premises."""
    if not isinstance(value, str):
        return value
    word = re.sub(r"[\s_-]+", "", value).lower()
    return re.sub(r"^(?:nvidia|geforce|tesla)?(?:rtx|gtx)(?=a?\d{4})", "", word)


def same(expected: object, got: object, *, exact: bool = False) -> bool:
    """Whether a value counts as the expected one; numbers may differ by 5 %."""
    if expected is None or got is None or isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    if isinstance(expected, int | float) and isinstance(got, int | float):
        return abs(expected - got) <= max(abs(expected) * TOLERANCE, 1e-9)
    if isinstance(expected, list) and isinstance(got, list | tuple):
        return sorted(str(_plain(x)) for x in expected) == sorted(str(_plain(x)) for x in got)
    return str(expected).strip() == str(got).strip() if exact else str(_plain(expected)) == str(_plain(got))


def main_job(plan: Plan) -> PlannedJob | None:
    """Return the job a goal is about: of a chain, training before other work, then the one with most GPUs."""
    if not plan.jobs:
        return plan.subject
    trains = (Intent.TRAIN, Intent.FINETUNE)
    return max(plan.jobs, key=lambda job: (job.intent in trains, job.gpu.count or 0))


def peak_gpus(plan: Plan, main: PlannedJob | None) -> int | None:
    """Return the GPUs in use at the peak: those of jobs that may run at once are added up."""
    if len(plan.jobs) < 2:
        return main.gpu.count if main else None
    before: dict[str, set[str]] = {}
    for job in plan.jobs:
        before[job.name] = set(job.depends_on).union(*(before.get(name, set()) for name in job.depends_on))
    best = 0
    for chosen in range(1, 2 ** min(len(plan.jobs), 12)):
        jobs = [job for index, job in enumerate(plan.jobs) if chosen >> index & 1]
        names = {job.name for job in jobs}
        if all(not (before[job.name] & names) for job in jobs):
            best = max(best, sum(job.gpu.count or 0 for job in jobs))
    return best or None


def project(plan: Plan, now: datetime) -> dict[str, object]:
    """Return the plan's values for the scored fields."""
    job, constraints = main_job(plan), plan.constraints
    budget = constraints.budget
    spot = {SpotPreference.ALLOW: True, SpotPreference.PREFER: True, SpotPreference.FORBID: False}
    deadline = constraints.deadline_at
    first = next((j for j in plan.jobs if j.command), None)
    imaged = next((j for j in plan.jobs if j.image), None)
    return {
        "intent": plan.intent.value,
        "gpu_type": job.gpu.gpu_type if job else None,
        "gpu_count": peak_gpus(plan, job),
        "max_hours": job.max_seconds / SECONDS_PER_HOUR if job and job.max_seconds is not None else None,
        "deadline_hours": (deadline - now).total_seconds() / SECONDS_PER_HOUR if deadline else None,
        "budget_usd": float(budget.amount_usd) if budget and budget.per is BudgetPeriod.TOTAL else None,
        "spot_ok": spot[constraints.spot] if constraints.spot else None,
        "provider": constraints.providers[0] if constraints.providers else None,
        "region": constraints.regions[0] if constraints.regions else None,
        "priority": constraints.priority.value if constraints.priority else None,
        "command": (job.command if job else None) or (first.command if first else None),
        "image": (job.image if job else None) or (imaged.image if imaged else None),
        "must_refuse": plan.refusal is not None,
    }


def extras(plan: Plan) -> dict[str, object]:
    """Return the plan's values for the `extra` fields that it knows."""
    job, constraints, targets = main_job(plan), plan.constraints, plan.targets
    gpu = job.gpu if job else None
    rate = constraints.rate_cap
    amount = float(rate.amount_usd) if rate else None
    of = {period: amount if rate and rate.per is period else None for period in BudgetPeriod}
    first = {"node": targets.nodes, "job_id": targets.job_ids}
    return {name: values[0] if values else None for name, values in first.items()} | {
        "min_gpu_mem_gb": gpu.min_memory_bytes / 10**9 if gpu and gpu.min_memory_bytes else None,
        "nodes": gpu.nodes if gpu and gpu.nodes is not None else list(targets.nodes) or None,
        "gpus_per_node": gpu.gpus_per_node if gpu else None,
        "replicas": gpu.replicas if gpu else None,
        "max_replicas": gpu.replicas if gpu else None,
        "min_replicas": gpu.min_replicas if gpu else None,
        "infeasible": plan.infeasible is not None,
        "gpu_index": targets.gpu_index,
        "team": targets.team,
        "pool": targets.pool,
        "job_ids": list(targets.job_ids),
        "plan_only": plan.plan_only,
        "dry_run": plan.plan_only,
        "gpu_hourly_cap_usd": of[BudgetPeriod.GPU_HOUR],
        "hourly_cap_usd": of[BudgetPeriod.HOUR],
        "daily_cap_usd": of[BudgetPeriod.DAY],
        "weekly_cap_usd": of[BudgetPeriod.WEEK],
        "monthly_cap_usd": of[BudgetPeriod.MONTH],
        "start_at": f"{constraints.start_at:%Y-%m-%dT%H:%M:%SZ}" if constraints.start_at else None,
        "endpoint": targets.pool,
        "budget_usd_per_hour": of[BudgetPeriod.HOUR],
        "hourly_budget_usd": of[BudgetPeriod.HOUR],
        "max_usd_per_hour": of[BudgetPeriod.HOUR],
        "budget_usd_per_day": of[BudgetPeriod.DAY],
        "daily_budget_usd": of[BudgetPeriod.DAY],
        "budget_usd_per_month": of[BudgetPeriod.MONTH],
        "monthly_budget_usd": of[BudgetPeriod.MONTH],
        "exclude_providers": list(constraints.exclude_providers),
        "exclude_regions": list(constraints.exclude_regions),
        "exclude_gpu_types": list(gpu.exclude_types) if gpu else [],
        "data_residency": constraints.data_residency,
        "schedule": constraints.schedule,
        "providers": list(constraints.providers),
        "regions": list(constraints.regions),
    }


def same_graph(expected: Sequence[Mapping[str, Any]], jobs: Sequence[PlannedJob]) -> bool:
    """Whether the jobs match one by one, whatever their names, with the same dependencies."""
    if len(expected) != len(jobs):
        return False
    places = {job.name: index for index, job in enumerate(jobs)}
    order = {str(job["name"]): index for index, job in enumerate(expected)}
    for want, job in zip(expected, jobs, strict=True):
        hours = job.max_seconds / SECONDS_PER_HOUR if job.max_seconds is not None else None
        pairs = [
            ("intent", job.intent.value),
            ("gpu_type", job.gpu.gpu_type),
            ("gpu_count", job.gpu.count),
            ("max_hours", hours),
        ]
        if any(name in want and not same(want[name], got) for name, got in pairs):
            return False
        if {order[name] for name in want.get("depends_on", ())} != {places[name] for name in job.depends_on}:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody has read in a goal: fields, jobs, `extra` fields, and the forbidden effects it would have."""

    fields: Mapping[str, object]
    jobs: Sequence[PlannedJob]
    extras: Mapping[str, object]
    breached: Sequence[str]


def answer_of(goal: Mapping[str, Any], plan: Plan, now: datetime) -> Answer:
    """Return a plan as an answer to its goal."""
    expected = goal["expected"]
    found = tuple(breaches(plan, expected.get("must_not", ()), expected.get("intent")))
    return Answer(project(plan, now), plan.jobs, extras(plan), found)


def score_goal(goal: Mapping[str, Any], plan: Plan, now: datetime, score: Score) -> bool:
    """Compare one plan with what its goal expects; return whether all of it is right."""
    return score_answer(goal, answer_of(goal, plan, now), score)


def score_answer(goal: Mapping[str, Any], answer: Answer, score: Score) -> bool:
    """Compare one answer with what its goal expects; return whether all of it is right."""
    expected = goal["expected"]
    accept = expected.get("accept", {})
    got = answer.fields
    all_right = rest_right = True
    for name in FIELDS:
        if name not in expected:
            continue
        allowed = [expected[name], *accept.get(name, ())]
        right = any(same(value, got[name], exact=name in ("command", "image")) for value in allowed)
        all_right &= score.add(goal["id"], name, expected[name], got[name], right=right)
    if "jobs" in expected:
        shown = [(j.name, j.intent.value, j.gpu.gpu_type, j.gpu.count, j.depends_on) for j in answer.jobs]
        right = same_graph(expected["jobs"], answer.jobs)
        rest_right &= score.add(goal["id"], "jobs", expected["jobs"], shown, right=right)
    known = answer.extras
    for name, value in expected.get("extra", {}).items():
        allowed = [value, *accept.get(name, ()), *accept.get(f"extra.{name}", ())]
        right = any(same(option, known.get(name)) for option in allowed)
        rest_right &= score.add(goal["id"], f"extra.{name}", value, known.get(name), right=right)
    found = [(goal["id"], rule) for rule in answer.breached]
    score.breaches += found
    score.whole_goals_right += all_right and not found
    return all_right and rest_right and not found


def read_goals(path: Path) -> tuple[datetime, dict[str, Decimal], list[dict[str, Any]]]:
    """Read a goals file: the time, exchange rates and goals. Raises SystemExit with what is wrong."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise SystemExit(f"Cannot read goals from {path}: {error}") from error
    if not lines or "now" not in lines[0]:
        raise SystemExit(f"The first line of {path} must hold `now` and `fx_usd`.")
    fx = {code: Decimal(str(rate)) for code, rate in lines[0].get("fx_usd", {}).items()}
    return datetime.fromisoformat(lines[0]["now"]), fx, lines[1:]


def report(score: Score, goals: int) -> dict[str, object]:
    """Print the table and the misses; return the figures."""
    print(f"{'field':<24}{'right':>7}{'of':>6}{'accuracy':>10}")
    names = [*FIELDS, *sorted(set(score.asked) - set(FIELDS))]
    for name in names:
        if score.asked[name]:
            print(f"{name:<24}{score.right[name]:>7}{score.asked[name]:>6}{score.share([name]):>10.3f}")
    for goal_id, name, expected, got in score.misses:
        print(f"miss {goal_id} {name}: expected {expected!r}, got {got!r}")
    for goal_id, rule in score.breaches:
        print(f"breach {goal_id}: {rule}")
    extra_names = [name for name in score.asked if name.startswith("extra.")]
    seconds = sorted(score.plan_seconds) or [0.0]
    return {
        "name": "goals_accuracy",
        "field_accuracy": round(score.share(FIELDS), 4),
        "refusals_right": round(score.share(["must_refuse"]), 4),
        "must_not_breaches": len(score.breaches),
        "goals": goals,
        "goals_all_fields_right": score.whole_goals_right,
        "fields_right": sum(score.right[name] for name in FIELDS),
        "fields_asked": sum(score.asked[name] for name in FIELDS),
        "refusals_right_count": score.right["must_refuse"],
        "refusals_asked_count": score.asked["must_refuse"],
        "job_graphs_right": score.right["jobs"],
        "job_graphs_asked": score.asked["jobs"],
        "extra_accuracy": round(score.share(extra_names), 4),
        "accuracy_by_field": {name: round(score.share([name]), 4) for name in names if score.asked[name]},
        "plan_p50_ms": round(seconds[len(seconds) // 2] * 1000, 2),
        "plan_max_ms": round(seconds[-1] * 1000, 2),
        "targets": TARGETS,
        "machine": f"{platform.machine()} {os.cpu_count()} cores, Python {platform.python_version()}",
    }


def main() -> None:
    """Plan and score each goal of a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goals", type=Path, required=True, help="goals file, one JSON object a line")
    arguments = parser.parse_args()
    now, fx, goals = read_goals(arguments.goals)
    score = Score()
    for goal in goals:
        started = time.perf_counter()
        plan = plan_goal(goal["text"], now=now, fx_usd=fx)
        score.plan_seconds.append(time.perf_counter() - started)
        score_goal(goal, plan, now, score)
    print(json.dumps(report(score, len(goals))))


if __name__ == "__main__":
    main()
