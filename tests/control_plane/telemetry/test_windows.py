"""Windows of fixed size: the newest samples, nothing older, and no node speaks for another."""

from datetime import UTC, datetime, timedelta

import pytest

from control_plane.bus.client import Message
from control_plane.model.ids import NODE, NodeId, new_id
from control_plane.telemetry.ingest import WAITING_MAX, TelemetryIngest
from control_plane.telemetry.reading import Reading, read_batch
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


def body(*samples: event_pb2.GpuSample) -> bytes:
    made = event_pb2.TelemetryBatch(gpus=samples)
    made.sampled_at.FromSeconds(1_800_000_000)
    return made.SerializeToString()


def batch(*samples: event_pb2.GpuSample) -> Reading:
    return read_batch(body(*samples))


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
    assert len(windows.gpus(ONE)) == GPUS_PER_NODE_MAX
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
        body(sample(percent=101)),
        body(sample(uuid="")),
        body(sample(uuid="x" * 200)),
        body(sample(power_watts=float("nan"))),
        body(sample(power_watts=-1)),
        body(sample(memory_used_bytes=2**60)),
        body(sample(temperature_celsius=-3000)),
        body(sample(), sample()),
        body(*(sample(f"GPU-{i}") for i in range(GPUS_PER_NODE_MAX + 1))),
        bytes(70_000),
    ],
)
async def test_garbage_is_counted_and_changes_nothing(windows: TelemetryWindows, bad: bytes) -> None:
    ingest = TelemetryIngest(None, windows)  # type: ignore[arg-type]  # `take` needs no bus
    await ingest.take(Message(f"orq.node.{ONE}.telemetry", bad, {}))
    ingest.work(1)
    assert (ingest.counts.garbage, ingest.counts.batches) == (1, 0)
    assert windows.nodes() == ()


async def test_the_node_is_the_one_in_the_subject(windows: TelemetryWindows) -> None:
    ingest = TelemetryIngest(None, windows)  # type: ignore[arg-type]  # `take` needs no bus
    said = body(sample(percent=7))
    await ingest.take(Message(f"orq.node.{TWO}.telemetry", said, {}))
    await ingest.take(Message("orq.node.n-nonsense.telemetry", said, {}))
    ingest.work(1)
    assert windows.nodes() == (TWO,)
    assert windows.newest(TWO) == event_pb2.TelemetryBatch.FromString(said)
    assert windows.received_at(TWO) is not None
    assert ingest.counts.garbage == 1


async def test_what_a_newer_batch_of_the_same_host_supersedes_is_given_up_first(windows: TelemetryWindows) -> None:
    ingest = TelemetryIngest(None, windows)  # type: ignore[arg-type]  # `take` needs no bus
    await ingest.take(Message(f"orq.node.{TWO}.telemetry", body(sample(percent=7)), {}))
    for number in range(WAITING_MAX):
        await ingest.take(Message(f"orq.node.{ONE}.telemetry", body(sample(percent=number % 100)), {}))
    assert windows.counts.shed == WAITING_MAX - 1
    assert ingest._overrun, "the broker is to drop what follows"
    while ingest.work(1):
        pass
    assert windows.utilization(TWO, "GPU-1", 10) == 7
    assert windows.utilization(ONE, "GPU-1", 10) == (WAITING_MAX - 1) % 100
    assert windows.counts.batches == 2


def test_a_gpu_keeps_its_samples_when_another_one_falls_off_the_bus(windows: TelemetryWindows) -> None:
    windows.add(ONE, batch(sample("GPU-1", 10), sample("GPU-2", 20)))
    windows.add(ONE, batch(sample("GPU-2", 40), sample("GPU-3", 60)))
    assert windows.utilizations(ONE, 10) == {"GPU-2": 30, "GPU-3": 60}
    assert windows.points(ONE, "GPU-1", 10) == []
    assert [point.utilization_percent for point in windows.points(ONE, "GPU-3", 10)] == [None, 60]


def test_what_is_not_known_here_is_not_kept_for_every_host(windows: TelemetryWindows) -> None:
    padding = b"\xfa\x3e\xe0\xd4\x03" + bytes(60_000)  # field 1007 of a later version
    reading = read_batch(body(sample()) + padding)
    assert len(reading.serialized) < 200


def test_half_of_the_time_is_left_to_everything_else_and_falling_behind_ends_in_a_pause(
    windows: TelemetryWindows,
) -> None:
    ingest = TelemetryIngest(None, windows)  # type: ignore[arg-type]  # nothing is subscribed here
    assert not any(ingest._is_behind(9.0, 10) for _ in range(10)), "late, but not because of telemetry"
    ingest._is_behind(0.0, 0)
    assert [ingest._is_behind(9.0, 500) for _ in range(4)] == [False, False, True, True]


async def test_pauses_that_follow_each_other_grow_and_are_counted(windows: TelemetryWindows, clock: FakeClock) -> None:
    bus, paused = _CountingBus(), list[float]()

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    ingest = TelemetryIngest(bus, windows, clock=clock, pause=pause)  # type: ignore[arg-type]  # it only subscribes
    for _ in range(5):
        await ingest._stay_away()
    clock.seconds += 60
    await ingest._stay_away()
    assert paused == [1, 2, 4, 8, 8, 1]
    assert (windows.counts.pauses, bus.subscribed) == (6, 6)


class _CountingBus:
    """Takes note of who subscribes."""

    def __init__(self) -> None:
        self.subscribed = 0

    async def subscribe(self, _subject: str, _handler: object) -> "_CountingBus":
        self.subscribed += 1
        return self

    async def close(self) -> None:
        """Nothing is open."""
