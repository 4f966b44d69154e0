from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.errors import InvalidArgument
from control_plane.fleet.cost import attempt_usd, estimate_usd, usd
from control_plane.fleet.prices import DEFAULT_PRICES, FALLBACK_TYPE, PriceTable
from control_plane.model.money import from_micros, to_micros
from tests.control_plane.fleet.values import allocation, member
from tests.control_plane.world import spec

PRICES = PriceTable()


def test_an_estimate_is_all_gpus_of_the_dearest_acceptable_model_for_the_whole_time() -> None:
    assert estimate_usd(spec(gpu=8, types=("H100",), seconds=7200), PRICES) == Decimal("63.84")
    assert estimate_usd(spec(gpu=1, types=("L4", "H200")), PRICES) == Decimal("6.305")
    assert estimate_usd(spec(gpu=1, types=()), PRICES) == max(price.usd_per_gpu_hour for price in DEFAULT_PRICES)
    assert estimate_usd(spec(gpu=1, types=("no such model",)), PRICES) == Decimal("3.99")
    assert estimate_usd(spec(gpu=0), PRICES) == 0


def test_a_price_table_needs_a_price_for_models_without_one() -> None:
    with pytest.raises(InvalidArgument):
        PriceTable([price for price in DEFAULT_PRICES if price.gpu_type != FALLBACK_TYPE])


@given(st.floats(0, 1e9), st.decimals("0", "1000", places=6), st.decimals("0", "1000000", places=6), st.booleans())
def test_a_charge_is_never_above_the_reservation_and_nothing_if_the_fleet_lost_the_work(
    gpu_seconds: float, price: Decimal, reserved: Decimal, waived: bool
) -> None:
    attempt = replace(allocation(member(0, gpu_seconds=gpu_seconds)), price_usd_per_gpu_hour=price, waived=waived)
    charge = attempt_usd(attempt, reserved_usd=reserved)
    assert 0 <= charge <= reserved
    assert charge == (0 if waived else min(usd(price, gpu_seconds), reserved))
    assert from_micros(to_micros(charge)) == charge


@given(st.decimals("0", "1000", places=6), st.lists(st.floats(0, 1e6), max_size=20))
def test_parts_of_an_attempt_cost_what_the_whole_does_to_half_a_millionth_each(
    price: Decimal, parts: list[float]
) -> None:
    whole = usd(price, sum(parts))
    assert abs(sum((usd(price, part) for part in parts), Decimal(0)) - whole) <= Decimal("0.000001") * (len(parts) + 1)
