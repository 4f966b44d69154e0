"""The tool that tells how a host's GPUs have been over the last minutes, in figures alone."""

from collections.abc import Callable, Sequence
from typing import Annotated, Final

from pydantic import Field

from control_plane.model.identity import Principal
from control_plane.model.node import Node
from control_plane.store import nodes
from control_plane.telemetry.windows import WINDOW_SAMPLES, GpuPoint, TelemetryWindows
from control_plane.tools.arguments import Input
from control_plane.tools.definition import Found, ReadTool, Sources
from control_plane.tools.output import Moment, Number, Output, Part, Token
from control_plane.tools.references import NodeReference
from orquanta.v1 import event_pb2

SECONDS_MAX: Final = WINDOW_SAMPLES
"""As far back as samples are kept when they come once a second."""


class NodeTelemetry(Input):
    """Of which node, and over how many seconds."""

    node: NodeReference
    seconds: Annotated[int, Field(ge=1, le=SECONDS_MAX, description="Over how many of the last seconds")] = 60
    gpu: Annotated[int | None, Field(ge=0, le=255, description="Only the GPU with this index")] = None


class Figures(Part):
    """How a value was over the window."""

    mean: Number
    least: Number
    most: Number


class GpuFigures(Part):
    """One GPU. Counters are since the driver was loaded; null is what the driver does not tell."""

    index: int
    uuid: Token
    samples: int
    utilization_percent: Figures | None
    memory_used_bytes: Figures | None
    temperature_celsius: Figures | None
    power_watts: Figures | None
    sm_clock_mhz: int | None
    clock_event_reasons: int | None
    ecc_corrected: int | None
    ecc_uncorrected: int | None
    pcie_replays: int | None
    nvlinks_active: int | None
    remapped_rows_uncorrectable: int | None
    readable: bool


class NodeTelemetryOut(Output):
    """A host's telemetry. `received_at` null means that none came since the control plane started."""

    evidence_id: str
    node_id: str
    received_at: Moment | None
    seconds: int
    cpu_percent: Number | None
    gpus: tuple[GpuFigures, ...]


async def _read(sources: Sources, _principal: Principal, wanted: NodeTelemetry) -> Found[NodeTelemetryOut]:
    node = await sources.store.read(lambda tx: nodes.resolve(tx, wanted.node))
    windows = sources.telemetry
    newest = windows.newest(node.id)
    received_at = windows.received_at(node.id)
    at = received_at.strftime("%Y-%m-%dT%H:%M:%SZ") if received_at is not None else "none"
    host = newest.host if newest is not None and newest.HasField("host") else None
    output = NodeTelemetryOut(
        evidence_id=f"telemetry:{node.id}/{at}",
        node_id=node.id,
        received_at=received_at,
        seconds=wanted.seconds,
        cpu_percent=host.cpu_percent if host is not None and host.HasField("cpu_percent") else None,
        gpus=_gpus(node, windows, newest, wanted),
    )
    return Found(output, output.evidence_id, empty=received_at is None)


def _gpus(
    node: Node, windows: TelemetryWindows, newest: event_pb2.TelemetryBatch | None, wanted: NodeTelemetry
) -> tuple[GpuFigures, ...]:
    samples = {sample.uuid: sample for sample in (newest.gpus if newest is not None else ())}
    return tuple(
        _figures(gpu.index, gpu.uuid, windows.points(node.id, gpu.uuid, wanted.seconds), samples.get(gpu.uuid))
        for gpu in (node.inventory.gpus if node.inventory is not None else ())
        if wanted.gpu in (None, gpu.index)
    )


def _figures(index: int, uuid: str, points: Sequence[GpuPoint], sample: event_pb2.GpuSample | None) -> GpuFigures:
    def counter(name: str) -> int | None:
        return int(getattr(sample, name)) if sample is not None and sample.HasField(name) else None  # type: ignore[arg-type] # one of the names below

    return GpuFigures(
        index=index,
        uuid=uuid,
        samples=len(points),
        utilization_percent=_over(points, lambda point: point.utilization_percent),
        memory_used_bytes=_over(points, lambda point: point.memory_used_bytes),
        temperature_celsius=_over(points, lambda point: point.temperature_celsius),
        power_watts=_over(points, lambda point: point.power_watts),
        sm_clock_mhz=counter("sm_clock_mhz"),
        clock_event_reasons=counter("clock_event_reasons"),
        ecc_corrected=counter("ecc_corrected"),
        ecc_uncorrected=counter("ecc_uncorrected"),
        pcie_replays=counter("pcie_replays"),
        nvlinks_active=counter("nvlinks_active"),
        remapped_rows_uncorrectable=counter("remapped_rows_uncorrectable"),
        readable=sample is not None and not sample.error,
    )


def _over(points: Sequence[GpuPoint], value_of: Callable[[GpuPoint], float | None]) -> Figures | None:
    values = [value for value in map(value_of, points) if value is not None]
    if not values:
        return None
    return Figures(mean=sum(values) / len(values), least=min(values), most=max(values))


NODE_TELEMETRY = ReadTool(
    name="node_telemetry",
    description="Tells how a host's GPUs were over the last seconds: utilisation, memory, temperature, power, and the "
    "error counters now. Figures only.",
    arguments=NodeTelemetry,
    result=NodeTelemetryOut,
    read=_read,
    untrusted=False,
)
