"""Which tools a model is offered, by what the goal asks for. What is not offered is not called."""

from collections.abc import Iterable, Mapping
from typing import Final

from control_plane.model.plan import Intent
from control_plane.model.tool import ToolEffect, ToolSpec
from control_plane.reasoning.contract import ToolDeclaration

_LOOK: Final = (
    "fleet_summary",
    "list_jobs",
    "get_job",
    "list_nodes",
    "get_node",
    "list_incidents",
)
_OFFERED: Final[Mapping[Intent, tuple[str, ...]]] = {
    Intent.QUERY: (
        *_LOOK,
        "diagnose_job",
        "job_logs",
        "job_placement",
        "costs",
        "get_incident",
        "read_result",
    ),
    Intent.COST: (*_LOOK, "costs", "budget_left", "prices", "read_result"),
    Intent.HEAL: (
        "get_node",
        "node_conditions",
        "list_incidents",
        "get_incident",
        "node_telemetry",
        "recall_memory",
        "list_nodes",
        "repair_node",
        "verify_node",
        "cordon_node",
        "drain_node",
        "read_result",
    ),
}


def offered(specs: Iterable[ToolSpec], intent: Intent, most: int) -> tuple[ToolSpec, ...]:
    """Return the tools for a goal of this kind, at most `most`. Questions get none that changes anything."""
    by_name = {spec.name: spec for spec in specs}
    found = [by_name[name] for name in _OFFERED.get(intent, _LOOK) if name in by_name]
    if intent is not Intent.HEAL:
        found = [spec for spec in found if spec.effect is ToolEffect.READ]
    return tuple(found[:most])


def declarations(specs: Iterable[ToolSpec]) -> tuple[ToolDeclaration, ...]:
    """Return the tools as a model is told of them."""
    return tuple(ToolDeclaration(spec.name, spec.description, spec.input_schema) for spec in specs)
