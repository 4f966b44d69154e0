"""What a measurement of scale calls met."""

import pytest

from bench.scale import show

CARRIED: dict[str, object] = {
    "telemetry_mb_per_host": 0.01,
    "steady_sent_per_second": 9_948,
    "steady_taken_per_second": 9_963,
    "peak_sent_per_second": 11_981,
    "peak_taken_per_second": 11_900,
    "peak_batches_per_core_second": 30_000,
}


def test_telemetry_that_is_taken_meets_the_targets() -> None:
    assert show(dict(CARRIED))


@pytest.mark.parametrize("rate", ["steady", "peak"])
def test_telemetry_that_is_shed_misses_the_targets_however_little_the_rest_costs(rate: str) -> None:
    assert not show({**CARRIED, f"{rate}_taken_per_second": 3_000})
