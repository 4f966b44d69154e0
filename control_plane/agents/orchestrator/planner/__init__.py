"""The rule-based planner: a goal in plain words in, a typed plan out, each field with the words it came from."""

from control_plane.agents.orchestrator.planner.plan import plan_goal

__all__ = ["plan_goal"]
