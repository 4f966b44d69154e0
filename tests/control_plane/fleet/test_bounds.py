import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.bounds import allowed, exceeded
from control_plane.model.bounds import Bound, BoundScope, Level

bounds = st.builds(Bound, st.integers(0, 100), st.floats(0, 100))


@pytest.mark.parametrize(
    ("most", "percent", "total", "expected"),
    [
        (50, 10, 1000, 50),  # the number is stricter
        (50, 10, 100, 10),  # the share is stricter
        (50, 10, 3, 1),  # one is always possible
        (0, 100, 1000, 0),  # unless either is 0
        (5, 0, 1000, 0),
    ],
)
def test_the_stricter_of_number_and_share_counts_but_one_is_possible(
    most: int, percent: float, total: int, expected: int
) -> None:
    assert allowed(Bound(most, percent), total) == expected


@given(bounds, st.integers(0, 10_000))
def test_a_bound_is_never_above_its_number_or_beyond_its_share_but_for_one(bound: Bound, total: int) -> None:
    most = allowed(bound, total)
    assert 0 <= most <= bound.most
    assert most <= max(1, total * bound.percent / 100)


@given(bounds, st.integers(0, 200), st.integers(0, 200))
def test_one_more_is_refused_exactly_when_it_would_exceed_the_bound(bound: Bound, total: int, out: int) -> None:
    refused = exceeded([Level(BoundScope.FLEET, "", total, out)], {BoundScope.FLEET: bound})
    assert bool(refused) == (out + 1 > allowed(bound, total))


def test_every_scope_that_a_node_belongs_to_counts() -> None:
    loose, strict = Bound(10, 100), Bound(1, 100)
    levels = [Level(BoundScope.FLEET, "", 10, 1), Level(BoundScope.RACK, "r7", 4, 1)]
    assert exceeded(levels, {BoundScope.FLEET: loose, BoundScope.RACK: loose}) == ""
    text = exceeded(levels, {BoundScope.FLEET: loose, BoundScope.RACK: strict})
    assert text == "1 of 1 hosts of rack r7 are out of service"
