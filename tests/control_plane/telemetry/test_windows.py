"""Windows of fixed size: the newest samples, nothing older, and no node speaks for another."""

from datetime import UTC, datetime, timedelta

import pytest

from control_plane.bus.client import Message
from control_plane.model.ids import NODE, NodeId, new_id
from control_plane.telemetry.ingest import TelemetryIngest, read_batch
from control_plane.telemetry.windows import GPUS_PER_NODE_MAX, WINDOW_SAMPLES, TelemetryWindows
from orquanta.v1 import event_pb2

ONE: NodeId = new_id(NODE)
TWO: NodeId = new_id(NODE)


class FakeClock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def batch(*samples: event_pb2.GpuSample) -> event_pb2.TelemetryBatch:
    made = event_pb2.TelemetryBatch(gpus=samples)
    made.sampled_at.FromSeconds(1_800_000_000)
    return made


def sample(uuid: str = "GPU-1", percent: int | None = 50, **values: float) -> event_pb2.GpuSample:
    made = event_pb2.GpuSample(uuid=uuid, utilization_percent=percent)
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def windows(clock: FakeClock) -> TelemetryWindows:
    return TelemetryWindows(clock=clock)


def test_the_mean_is_over_the_asked_seconds_only(windows: TelemetryWindows, clock: FakeClock) -> None:
    for percent in (0, 0, 100, 50):
        windows.add(ONE, batch(sample(percent=percent)))
        clock.seconds += 1
    assert windows.utilization(ONE, "GPU-1", 2.5) == 75
    assert windows.utilization(ONE, "GPU-1", 60) == 37.5
    clock.seconds += 100
    assert windows.utilization(ONE, "GPU-1", 60) is None


def test_a_window_holds_the_newest_samples_and_never_grows(windows: TelemetryWindows, clock: FakeClock) -> None:
    for number in range(3 * WINDOW_SAMPLES):
        windows.add(ONE, batch(sample(percent=number % 101)))
        clock.seconds += 1
    points = windows.points(ONE, "GPU-1", 1e9)
    assert len(points) == WINDOW_SAMPLES
    assert points[-1].age_seconds == 1
    assert points[0].age_seconds == WINDOW_SAMPLES
    assert windows.batches(ONE) == 3 * WINDOW_SAMPLES


def test_what_the_driver_does_not_tell_is_none_not_zero(windows: TelemetryWindows) -> None:
    windows.add(ONE, batch(event_pb2.GpuSample(uuid="GPU-1")))
    (point,) = windows.points(ONE, "GPU-1", 10)
    assert (point.utilization_percent, point.memory_used_bytes, point.temperature_celsius, point.power_watts) == (
        None,
        None,
        None,
        None,
    )
    assert windows.utilization(ONE, "GPU-1", 10) is None
    windows.add(ONE, batch(sample(percent=0, memory_used_bytes=0, temperature_celsius=0, power_watts=0)))
    assert windows.utilization(ONE, "GPU-1", 10) == 0


def test_a_node_cannot_speak_about_the_gpus_of_another(windows: TelemetryWindows) -> None:
    windows.add(ONE, batch(sample(percent=80)))
    windows.add(TWO, batch(sample(percent=0)))
    assert windows.utilization(ONE, "GPU-1", 10) == 80


def test_gpus_of_a_node_are_bounded_and_replaced_ones_make_room(windows: TelemetryWindows) -> None:
    for round_ in range(3):
        windows.add(ONE, batch(*(sample(f"GPU-{round_}-{i}") for i in range(GPUS_PER_NODE_MAX))))
    assert len(windows._nodes[ONE].gpus) == GPUS_PER_NODE_MAX
    assert windows.utilization(ONE, "GPU-2-0", 10) == 50


def test_a_node_that_left_is_forgotten(windows: TelemetryWindows) -> None:
    windows.add(ONE, batch(sample()))
    assert windows.nodes() == (ONE,)
    windows.forget(ONE)
    assert windows.newest(ONE) is None
    assert windows.batches(ONE) == 0


@pytest.mark.parametrize(
    "bad",
    [
        b"\xff\xff\xff",
        b"",
        batch(sample(percent=101)).SerializeToString(),
        batch(sample(uuid="")).SerializeToString(),
        batch(sample(uuid="x" * 200)).SerializeToString(),
        batch(sample(power_watts=float("nan"))).SerializeToString(),
        batch(sample(power_watts=-1)).SerializeToString(),
        batch(sample(memory_used_bytes=2**60)).SerializeToString(),
        batch(sample(temperature_celsius=-3000)).SerializeToString(),
        batch(sample(), sample()).SerializeToString(),
        batch(*(sample(f"GPU-{i}") for i in range(GPUS_PER_NODE_MAX + 1))).SerializeToString(),
        bytes(70_000),
    ],
)
async def test_garbage_is_counted_and_changes_nothing(windows: TelemetryWindows, bad: bytes) -> None:
    ingest = TelemetryIngest(None, windows)  # type: ignore[arg-type]  # `take` needs no bus
    await ingest.take(Message(f"orq.node.{ONE}.telemetry", bad, {}))
    assert (ingest.counts.garbage, ingest.counts.batches) == (1, 0)
    assert windows.nodes() == ()


async def test_the_node_is_the_one_in_the_subject(windows: TelemetryWindows) -> None:
    ingest = TelemetryIngest(None, windows)  # type: ignore[arg-type]  # `take` needs no bus
    body = batch(sample(percent=7)).SerializeToString()
    await ingest.take(Message(f"orq.node.{TWO}.telemetry", body, {}))
    await ingest.take(Message("orq.node.n-nonsense.telemetry", body, {}))
    assert windows.nodes() == (TWO,)
    assert windows.newest(TWO) == read_batch(body)
    assert windows.received_at(TWO) is not None
    assert ingest.counts.garbage == 1
