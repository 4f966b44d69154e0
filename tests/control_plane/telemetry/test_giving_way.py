"""While many hosts have failed at once, a flood of telemetry stays away, and says so; a trickle is in nobody's way."""

import pytest

from control_plane.telemetry.ingest import TelemetryIngest
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.urgency import Urgency
from tests.fake_clock import FakeClock


class Broker:
    """Takes note of who subscribes."""

    def __init__(self) -> None:
        self.subscribed = 0

    async def subscribe(self, _subject: str, _handler: object) -> "Broker":
        self.subscribed += 1
        return self

    async def close(self) -> None:
        """Nothing is open."""


class Place:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.windows = TelemetryWindows(clock=self.clock)
        self.urgency = Urgency(linger_seconds=0.0)
        self.broker = Broker()
        self.seconds_away = 0.0
        self.calm_after: float | None = None
        self.ingest = TelemetryIngest(
            self.broker,  # type: ignore[arg-type]  # it only subscribes
            self.windows,
            clock=self.clock,
            pause=self.pause,
            urgency=self.urgency,
        )

    async def pause(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.seconds_away += seconds
        if self.calm_after is not None and self.seconds_away >= self.calm_after:
            self.urgency._calm.set()

    def comes(self, per_second: int) -> None:
        self.clock.advance(1.0)
        self.ingest._rate.add(per_second)


@pytest.fixture
def place() -> Place:
    return Place()


async def test_a_flood_gives_way_and_a_trickle_does_not(place: Place) -> None:
    place.comes(10_000)
    assert not place.ingest._gives_way(), "nothing is urgent"
    with place.urgency.urgent():
        assert place.ingest._gives_way()
        place.comes(100)
        assert not place.ingest._gives_way()


async def test_it_comes_back_once_it_is_calm_and_the_pause_is_counted(place: Place) -> None:
    place.calm_after = 2.0
    with place.urgency.urgent():
        await place.ingest._give_way()
        assert place.seconds_away == pytest.approx(2.0, abs=0.2)
    assert (place.windows.counts.pauses, place.broker.subscribed) == (1, 1)


async def test_it_comes_back_after_ten_seconds_however_long_it_is_urgent_and_stays_for_as_long(place: Place) -> None:
    with place.urgency.urgent():
        await place.ingest._give_way()
        assert place.seconds_away == pytest.approx(10.0, abs=0.2)
        place.comes(10_000)
        place.comes(10_000)
        assert not place.ingest._gives_way()
        place.clock.advance(8.0)
        assert place.ingest._gives_way()
