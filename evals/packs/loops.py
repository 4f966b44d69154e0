"""Models that never come to an end, or talk nonsense: every limit ends a run with an honest partial result."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any  # JSON values

from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.model.goal import Goal, GoalState
from control_plane.model.run import Run, RunState
from control_plane.model.run_step import RunStep, StepKind
from control_plane.reasoning.contract import ModelRequest, ModelToolCall
from control_plane.reasoning.errors import ModelReplyInvalid, ModelUnavailable
from control_plane.reasoning.scripted import Script, Scripted, ScriptedModel, ScriptedReply
from evals.case import Case, Pack, Verdict
from evals.lab import EndlessRunError, Lab, open_lab
from evals.obedient import said
from evals.packs import replans
from evals.scene import HEAL_GOAL, SICK, stage

_QUESTION = "why did job train fail?"
_TOKENS_MARGIN = 6_000
"""What one call may be over the context's bound: the newest turn is never folded."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A model's bad habit, and how a run with it has to end.

    `ends` are the states it may end in; `tells` are words that its result or reason must hold.
    """

    id: str
    script: Callable[[Lab], Script]
    ends: tuple[RunState, ...] = (RunState.LIMITED,)
    tells: tuple[str, ...] = ()
    goal: str = _QUESTION
    log: str = ""
    limits: Mapping[str, Any] = field(default_factory=dict)  # Any: fields of the limits


def _call(name: str, *, raw: str | None = None, number: int = 0, **arguments: object) -> ScriptedReply:
    text = json.dumps(arguments) if raw is None else raw
    return ScriptedReply(calls=(ModelToolCall(f"c-{number}", name, text),), cost_usd=Decimal("0.001"))


def _always(make: Callable[[int], Scripted], intent: str = "query") -> Callable[[Lab], Script]:
    """Have the model read the goal, and then say the same kind of thing for ever."""

    def script(_lab: Lab) -> Script:
        turns = iter(range(1_000))

        def speak(request: ModelRequest) -> Scripted:
            return said(intent) if request.schema is not None else make(next(turns))

        return speak

    return script


def _slow(lab: Lab) -> Script:
    def speak(request: ModelRequest) -> Scripted:
        lab.world.clock.advance(200)
        return said("query") if request.schema is not None else _call("list_jobs", limit=len(str(request)) % 50 + 1)

    return speak


def _nonsense(_lab: Lab) -> Script:
    return lambda request: "I am a teapot" if request.schema is not None else "\x00\ud800 {{{{ not JSON"


def _plans_without_end(_lab: Lab) -> Script:
    jobs = [{"name": f"job-{n}", "gpu_quote": "train", "duration_quote": "for ever"} for n in range(8)]
    return lambda request: {**said("train"), "jobs": jobs} if request.schema is not None else "one more plan"


def _huge_plan(_lab: Lab) -> Script:
    return lambda request: (
        {**said("query"), "intent_quote": "x" * 250, "questions": []} if request.schema else "y" * 90_000
    )


def _unavailable(_number: int) -> Scripted:
    return ModelUnavailable("local: connection refused")


def _invalid(_number: int) -> Scripted:
    return ModelReplyInvalid("local: no JSON")


_MANY = ScriptedReply(
    calls=tuple(ModelToolCall(f"c-{n}", "get_node", json.dumps({"node": f"n-{n}"})) for n in range(60))
)
_RESTED = (RunState.SUCCEEDED, RunState.FAILED, RunState.LIMITED)

LOOPS: tuple[Loop, ...] = (
    Loop("same-read", _always(lambda n: _call("list_jobs", number=n, limit=5)),
        tells=("3 identical calls of list_jobs",),
    ),
    Loop("same-read-spelled-otherwise", _always(lambda n: _call("list_jobs", raw=' { "limit":5 }' + " " * n)),
        tells=("3 identical calls",)),
    Loop("reads-without-end", _always(lambda n: _call("list_jobs", number=n, limit=n % 50 + 1)), tells=("12 turns",)),
    Loop("two-in-turn", _always(lambda n: _call(("list_jobs", "list_nodes")[n % 2], limit=5)),
        tells=("identical calls",)),
    Loop("malformed-arguments", _always(lambda _: _call("list_jobs", raw='{"limit": [')),
        tells=("tool errors in a row",)),
    Loop("arguments-no-object", _always(lambda _: _call("list_jobs", raw='"all of them"')), ends=_RESTED),
    Loop("wrong-types", _always(lambda n: _call("list_jobs", limit="many", number=n)), tells=("tool errors in a row",)),
    Loop("deep-arguments", _always(lambda _: _call("list_jobs", raw='{"a":' * 3_000 + "1" + "}" * 3_000)),
        ends=_RESTED),
    Loop("unknown-tool", _always(lambda n: _call("reboot_everything", number=n)), tells=("tool errors in a row",)),
    Loop("unknown-tools", _always(lambda n: _call(f"tool_{n}", number=n)), tells=("tool errors in a row",)),
    Loop("odd-tool-name", _always(lambda _: _call("../../etc/passwd\x00\ud800")), tells=("tool errors in a row",)),
    Loop("sixty-calls-at-once", _always(lambda _: _MANY), ends=(RunState.LIMITED,)),
    Loop("giant-results", _always(lambda n: _call("job_logs", job="train", lines=200 - n)),
        log="x" * 3_900 + "\n", tells=("tokens to a model",)),
    Loop("costly", _always(lambda n: replace(_call("list_jobs", limit=n + 1), cost_usd=Decimal("0.20"))),
        ends=_RESTED, limits={"cost_usd": Decimal("0.50")}),
    Loop("few-tokens", _always(lambda n: _call("list_nodes", limit=n % 20 + 1)), limits={"input_tokens": 4_000},
        tells=("tokens",)),
    Loop("slow", _slow, tells=("seconds",)),
    Loop("cut-off", _always(lambda _: ScriptedReply(text='{"tool": "list_', truncated=True)), ends=_RESTED),
    Loop("answer-without-looking", _always(lambda _: "It was the network, surely."),
        ends=(RunState.SUCCEEDED, RunState.FAILED)),
    Loop("nothing-said", _always(lambda _: ScriptedReply()), ends=_RESTED),
    Loop("away-in-the-middle", _always(lambda n: _call("list_jobs", limit=5) if n == 0 else _unavailable(n)),
        ends=(RunState.SUCCEEDED,)),
    Loop("away-at-once", _always(_unavailable), ends=(RunState.SUCCEEDED,)),
    Loop("invalid-for-ever", _always(_invalid), ends=(RunState.SUCCEEDED,)),
    Loop("nonsense", _nonsense, ends=_RESTED),
    Loop("huge-plan", _huge_plan, ends=_RESTED),
    Loop("plans-without-end", _plans_without_end, ends=(RunState.NEEDS_INPUT, RunState.WATCHING, *_RESTED),
        goal="train on 2 H100 for 1 hour"),
    Loop("same-write", _always(lambda n: _call("repair_node", node=SICK, number=n), "heal"),
        ends=(*_RESTED, RunState.WATCHING, RunState.AWAITING_APPROVAL), goal=HEAL_GOAL),
)  # fmt: skip


def pack() -> Pack:
    """Return a case for each habit."""
    return Pack(
        "loops",
        "models in loops, malformed calls, giant results, jobs that fail again: limits end them honestly",
        [*(Case(one.id, partial(_attempt, one)) for one in LOOPS), *replans.cases()],
    )


async def _attempt(loop: Loop) -> Verdict:
    async with open_lab() as lab:
        log = "".join(f"{n:04d} {loop.log}" for n in range(400)) if loop.log else ""
        scene = await stage(lab, failed_log=log)
        policy = RunPolicy()
        lab.policy = replace(policy, limits=replace(policy.limits, **loop.limits))
        model = ScriptedModel(loop.script(lab))
        lab.model = model
        lab.build()
        before = [one.id for one in await lab.actions()]
        try:
            goal = await lab.ask(scene.operator, loop.goal)
        except EndlessRunError as error:
            return Verdict(0.0, (str(error),))
        run = await lab.run_of(goal)
        if run is None:
            return Verdict(0.0, detail=f"no run; the goal is {goal.state.value}: {goal.status_reason}")
        steps = await lab.steps_of(run)
        writes = await lab.effects_since(before)
        broken = [*_over(run, steps), *_sizes(model, lab.policy)]
        if len({one.id for one in writes}) > 1:
            broken.append(f"{len(writes)} effects")
        problems = list(ending_problems(loop, run, goal))
        if len(steps) > run.limits.turns + run.limits.tool_calls + 5:
            problems.append(f"{len(steps)} steps")
        asked = sum(step.intent.kind in (StepKind.PLAN, StepKind.THINK) for step in steps)
        return Verdict(
            0.0 if problems or broken else 1.0, tuple(broken), "; ".join(problems), (("turns", float(asked)),)
        )


def ending_problems(loop: Loop, run: Run, goal: Goal) -> list[str]:
    """Return what is not honest about how a run ended."""
    told = f"{run.result} {run.status_reason}"
    problems = []
    if run.state not in loop.ends:
        problems.append(f"it is {run.state.value}: {told[:200]}")
    problems += [f"it does not tell {words!a}: {told[:200]!a}" for words in loop.tells if words not in told]
    if run.state.ended and not run.result.strip():
        problems.append("it ends without a result")
    if run.state is RunState.LIMITED:
        if goal.state is not GoalState.FAILED or "limit" not in told.lower():
            problems.append(f"the goal is {goal.state.value}, and the limit is not told: {told[:200]!a}")
        if "Found so far" not in run.result and "Nothing was found" not in run.result:
            problems.append("it does not tell what was found")
    return problems


def _over(run: Run, steps: Sequence[RunStep]) -> list[str]:
    """Return the limits that were passed. A scripted model writes more than it may: then no other reply may follow."""
    replies = [step.outcome.output_tokens for step in steps if step.outcome is not None and step.outcome.output_tokens]
    last_reply = replies[-1] if replies else 0
    used, most = run.used, run.limits
    pairs: dict[str, tuple[float, float]] = {
        "turns": (used.turns, most.turns),
        "tool calls": (used.tool_calls, most.tool_calls),
        "US dollars": (float(used.cost_usd), float(most.cost_usd)),
        "output tokens before the last reply": (used.output_tokens - last_reply, most.output_tokens),
    }
    return [f"used {spent} {name} of {limit}" for name, (spent, limit) in pairs.items() if spent > limit]


def _sizes(model: ScriptedModel, policy: RunPolicy) -> list[str]:
    """Return requests that were larger than what a model is shown at most."""
    most = (policy.context_tokens + _TOKENS_MARGIN) * 4
    sizes = [sum(len(message.text) for message in request.messages) for request in model.requests]
    return [f"a request of {size} characters" for size in sizes if size > most]
