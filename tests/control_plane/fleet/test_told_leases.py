"""What a judge makes of the leases that control planes have told."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.told_leases import LEASES_UNTOLD, ToldLease, ToldLeases


def test_the_longest_lease_counts_until_it_was_not_told_again_for_long() -> None:
    leases, long, short = ToldLeases(), ToldLease(60.0, 1), ToldLease(15.0, 1)
    assert leases.look({"a": long, "b": short}, 0.0) == 0.0
    assert leases.seconds == 60.0
    leases.look({"a": long, "b": ToldLease(15.0, 2)}, 100.0)
    assert leases.over(120.0) == {}
    assert leases.over(120.1) == {"a": long}
    assert leases.look({"b": short}, 121.0) == 45.0, "by so much it has fallen"
    assert leases.seconds == 15.0


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 100.0),
            st.dictionaries(
                st.sampled_from("abc"),
                st.builds(ToldLease, st.sampled_from([6.0, 15.0, 60.0]), st.integers(0, 3)),
            ),
        )
    )
)
def test_nothing_is_over_that_was_told_within_its_own_leases(looks: list[tuple[float, dict[str, ToldLease]]]) -> None:
    leases, now, changed = ToldLeases(), 0.0, dict[str, tuple[ToldLease, float]]()
    before = 0.0
    for seconds, told in looks:
        now += seconds
        fallen = leases.look(told, now)
        assert leases.seconds == max((one.seconds for one in told.values()), default=0.0)
        assert fallen == max(0.0, before - leases.seconds)
        before = leases.seconds
        changed = {
            teller: known if (known := changed.get(teller)) is not None and known[0] == one else (one, now)
            for teller, one in told.items()
        }
        over = leases.over(now)
        assert set(over) == {teller for teller, (one, at) in changed.items() if now - at > LEASES_UNTOLD * one.seconds}
