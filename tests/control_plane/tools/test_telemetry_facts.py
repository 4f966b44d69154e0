"""Telemetry as evidence: figures of the time before an end, each GPU with an id, and nothing of what is not known."""

from control_plane.model.diagnosis import EvidenceKind
from control_plane.model.ids import NodeId
from control_plane.telemetry.reading import reading_of
from control_plane.tools.telemetry_facts import gpu_facts
from orquanta.v1 import event_pb2
from tests.control_plane.tools.bench import Bench

UUID = "GPU-alpha-0"


async def test_figures_are_those_before_the_end_and_not_of_what_came_later(bench: Bench) -> None:
    node_id = NodeId(await bench.node())
    for celsius in (60, 80, 40, 41):
        sample = event_pb2.GpuSample(uuid=UUID, temperature_celsius=celsius, memory_used_bytes=8 << 30)
        bench.telemetry.add(node_id, reading_of(event_pb2.TelemetryBatch(gpus=[sample])))
        bench.world.clock.advance(10)

    (found,) = gpu_facts(bench.telemetry, node_id, "alpha", [UUID, "GPU-of-nobody"], age_seconds=25)

    assert found.kind is EvidenceKind.TELEMETRY
    assert found.id.startswith(f"telemetry:{node_id}/")
    assert found.id.endswith(UUID)
    assert "2 samples over 10 s" in found.text
    assert "memory used 8 to 8 GiB, at the end 8" in found.text
    assert "temperature 60 to 80 C, at the end 80" in found.text
    assert "power" not in found.text


async def test_of_a_host_that_sent_nothing_nothing_is_told(bench: Bench) -> None:
    assert gpu_facts(bench.telemetry, NodeId(await bench.node()), "alpha", [UUID]) == ()
