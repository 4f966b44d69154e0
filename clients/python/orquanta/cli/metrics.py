"""`orquanta metrics`: the fleet in figures."""

from collections.abc import Mapping
from typing import Annotated

import typer

from orquanta.cli.formats import moment, money, now, relative, size, words
from orquanta.cli.options import AsJson, parse_span
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.metrics import FleetMetrics, NodeTelemetry, TelemetryRollup


def metrics(
    ctx: typer.Context,
    telemetry: Annotated[bool, typer.Option("--telemetry", help="Show each GPU's newest sample.")] = False,
    node: Annotated[str, typer.Option("--node", help="With --telemetry: only this node.")] = "",
    gaps: Annotated[
        str, typer.Option("--gaps", help="With --node: minutes without raw samples in the last 8h, 7d, ...")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show the fleet in figures, or the newest telemetry of its GPUs."""
    session = session_of(ctx, as_json=as_json)
    if gaps and not node:
        raise typer.BadParameter("--gaps needs --node")
    with session.connect() as client:
        if gaps:
            minutes = client.metrics.rollups(node, since=now() - parse_span(gaps))
            if session.as_json:
                session.output.document({"rollups": minutes})
            else:
                _print_gaps(session.output, minutes)
            return
        if telemetry or node:
            samples = client.metrics.telemetry(node)
            if session.as_json:
                session.output.document({"nodes": samples})
            else:
                _print_telemetry(session.output, samples)
            return
        fleet = client.metrics.fleet()
    if session.as_json:
        session.output.document(fleet)
    else:
        _print_fleet(session.output, fleet)


def _print_fleet(output: Output, fleet: FleetMetrics) -> None:
    output.table(
        ("gpu", "total", "allocated", "in part", "used", "free", "utilisation", "per GPU hour"),
        [
            (
                entry.gpu_type,
                str(entry.total),
                str(entry.allocated),
                str(entry.partly_allocated),
                f"{entry.used_milli / 1000:g}",
                str(entry.free),
                _percent(entry.utilization_percent),
                money(entry.price_usd_per_gpu_hour),
            )
            for entry in fleet.gpu_types
        ],
        empty="No GPUs. Let a host join: orquanta node token create",
    )
    output.say()
    output.fields(
        [
            ("nodes", _counts(fleet.nodes_by_state)),
            ("conditions", _kinds(fleet.conditions_by_kind)),
            ("incidents", _counts(fleet.incidents_by_state)),
            ("jobs", _counts(fleet.jobs_by_state)),
            ("goals", _counts(fleet.goals_by_state)),
            ("spent", money(fleet.spent_usd)),
            ("reserved", money(fleet.reserved_usd)),
            ("measured", moment(fleet.measured_at)),
        ]
    )


def _print_telemetry(output: Output, nodes: tuple[NodeTelemetry, ...]) -> None:
    output.table(
        ("node", "gpu", "utilisation", "memory", "temperature", "power", "sampled"),
        [
            (
                node.node_id,
                gpu.uuid,
                _percent(gpu.utilization_percent),
                "-" if gpu.memory_used_bytes is None else size(gpu.memory_used_bytes),
                "-" if gpu.temperature_celsius is None else f"{gpu.temperature_celsius} C",
                gpu.error or ("-" if gpu.power_watts is None else f"{gpu.power_watts:.0f} W"),
                relative(node.sampled_at),
            )
            for node in nodes
            for gpu in node.gpus
        ],
        empty="No telemetry yet.",
    )


def _print_gaps(output: Output, minutes: tuple[TelemetryRollup, ...]) -> None:
    output.table(
        ("minute", "samples", "gpu", "utilisation", "memory at most", "temperature at most", "power"),
        [
            (
                moment(minute.started_at),
                str(minute.samples),
                gpu.uuid,
                _percent(gpu.utilization_percent),
                size(gpu.memory_used_bytes_max),
                f"{gpu.temperature_celsius_max} C",
                f"{gpu.power_watts:.0f} W",
            )
            for minute in minutes
            for gpu in minute.gpus
        ],
        empty="No such minutes: every sample came through.",
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} %"


def _counts(by_state: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {words(state)}" for state, count in sorted(by_state.items()) if count) or "none"


def _kinds(by_kind: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(by_kind.items()) if count) or "none"
