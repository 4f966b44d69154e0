"""How far reasoning runs may go, as the settings say."""

from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.model.run import RunUsage
from control_plane.settings import Settings


def run_policy(settings: Settings) -> RunPolicy:
    """Return what bounds every run."""
    return RunPolicy(
        limits=RunUsage(
            turns=settings.run_turns_max,
            tool_calls=settings.run_tool_calls_max,
            input_tokens=settings.run_input_tokens_max,
            output_tokens=settings.run_output_tokens_max,
            cost_usd=settings.run_cost_max_usd,
            seconds=settings.run_seconds_max,
        )
    )
