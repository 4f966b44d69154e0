"""The hard limits of a run, checked before each step by the worst that it can use. Pure."""

from collections import Counter
from decimal import Decimal

from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.agents.orchestrator.runs.view import RunView, canonical, load
from control_plane.model.money import format_usd
from control_plane.model.run import RunUsage
from control_plane.model.tool import ToolEffect, ToolStatus

REPLY_TOKENS_LEAST = 64
"""A reply that may be shorter than this is not asked for: it could not hold a call."""

_ERRORS = (ToolStatus.ERROR.value, "failed")


def over_time(view: RunView) -> str:
    """Return which limit on time is used up, or nothing."""
    used, most = view.run.used.seconds, view.run.limits.seconds
    return f"{most:.0f} seconds of work" if used >= most else ""


def before_turn(view: RunView, *, input_tokens: int) -> str:
    """Return which limit another turn of a model could break, or nothing. `input_tokens` is what it would be sent."""
    used, most = view.run.used, view.run.limits
    if late := over_time(view):
        return late
    if used.turns + 1 > most.turns:
        return f"{most.turns} turns"
    if used.input_tokens + input_tokens > most.input_tokens:
        return f"{most.input_tokens} tokens to a model"
    if used.output_tokens + REPLY_TOKENS_LEAST > most.output_tokens:
        return f"{most.output_tokens} tokens from a model"
    if used.cost_usd >= most.cost_usd > 0:
        return f"{format_usd(most.cost_usd)} for the model"
    return ""


def before_call(view: RunView, policy: RunPolicy, tool: str, arguments_json: str, effect: ToolEffect) -> str:
    """Return which limit another call of a tool would break, or nothing."""
    used, most = view.run.used, view.run.limits
    if late := over_time(view):
        return late
    if used.tool_calls + 1 > most.tool_calls:
        return f"{most.tool_calls} calls of tools"
    if effect is ToolEffect.READ and _identical_reads(view, tool, arguments_json) >= policy.identical_reads:
        return f"{policy.identical_reads} identical calls of {tool}"
    return _errors(view, policy)


def _identical_reads(view: RunView, tool: str, arguments_json: str) -> int:
    wanted = (tool, canonical(load(arguments_json)))
    seen: Counter[tuple[str, str]] = Counter()
    for step, _ in view.calls():
        if step.intent.effect is not ToolEffect.READ:
            seen.clear()  # a write may change what a read returns
        else:
            seen[step.intent.name, canonical(load(step.intent.arguments_json))] += 1
    return seen[wanted]


def _errors(view: RunView, policy: RunPolicy) -> str:
    """Return that the newest calls failed in the same way too often in a row, or nothing."""
    newest = [outcome for _, outcome in view.calls()][-policy.errors_in_row :]
    kinds = {(outcome.status in _ERRORS, outcome.error_code) for outcome in newest}
    if len(newest) == policy.errors_in_row and len(kinds) == 1:
        failed, code = next(iter(kinds))
        if failed:
            return f"{policy.errors_in_row} tool errors in a row ({code or 'ERROR'})"
    return ""


def done_before(view: RunView, tool: str, arguments_json: str) -> int | None:
    """Return the number of the step in which the run made this very write already, or None."""
    wanted = (tool, canonical(load(arguments_json)))
    for step, _ in view.calls():
        if step.intent.effect is ToolEffect.READ:
            continue
        if (step.intent.name, canonical(load(step.intent.arguments_json))) == wanted:
            return step.number
    return None


def nearly_used(used: RunUsage, most: RunUsage, percent: int) -> dict[str, str]:
    """Return what is left of each limit of which `percent` or more is used, by its name."""
    pairs: dict[str, tuple[float, float, str]] = {
        "turns": (used.turns, most.turns, f"{most.turns - used.turns} of {most.turns} turns"),
        "tool_calls": (
            used.tool_calls,
            most.tool_calls,
            f"{most.tool_calls - used.tool_calls} of {most.tool_calls} calls of tools",
        ),
        "input_tokens": (
            used.input_tokens,
            most.input_tokens,
            f"{max(most.input_tokens - used.input_tokens, 0)} of {most.input_tokens} tokens to read",
        ),
        "output_tokens": (
            used.output_tokens,
            most.output_tokens,
            f"{max(most.output_tokens - used.output_tokens, 0)} of {most.output_tokens} tokens to write",
        ),
        "cost_usd": (
            float(used.cost_usd),
            float(most.cost_usd),
            f"{format_usd(max(most.cost_usd - used.cost_usd, Decimal(0)))} of {format_usd(most.cost_usd)}",
        ),
        "seconds": (used.seconds, most.seconds, f"{max(most.seconds - used.seconds, 0):.0f} of {most.seconds:.0f} s"),
    }
    return {name: left for name, (spent, limit, left) in pairs.items() if limit > 0 and spent * 100 >= limit * percent}
