import pytest

from control_plane.errors import ResourceExhausted
from control_plane.services.throttle import FREE_ATTEMPTS, LoginThrottle, peer_address
from tests.fake_clock import FakeClock

HERE, THERE = "ipv4:10.0.0.1:50000", "ipv4:10.0.0.2:50000"


def wait_of(throttle: LoginThrottle, email: str, peer: str) -> float:
    with pytest.raises(ResourceExhausted) as caught:
        throttle.begin(email, peer)
    return float(caught.value.metadata["retry_after_seconds"])


def test_each_failure_beyond_the_free_ones_doubles_the_wait_up_to_a_bound(clock: FakeClock) -> None:
    throttle = LoginThrottle(clock)
    for _ in range(FREE_ATTEMPTS):
        throttle.begin("ada@example.com", HERE)
    waits = []
    for _ in range(12):
        waits.append(wait_of(throttle, "ada@example.com", HERE))
        clock.advance(waits[-1])
        throttle.begin("ada@example.com", HERE)
    assert waits[:4] == [1, 2, 4, 8]
    assert max(waits) == 300


def test_a_person_elsewhere_is_not_slowed_down_by_guesses(clock: FakeClock) -> None:
    throttle = LoginThrottle(clock)
    for _ in range(FREE_ATTEMPTS):
        throttle.begin("ada@example.com", HERE)
    wait_of(throttle, "ada@example.com", HERE)
    throttle.begin("ada@example.com", THERE)
    throttle.begin("bob@example.com", HERE)


def test_guessing_at_many_accounts_from_one_address_is_slowed_down_too(clock: FakeClock) -> None:
    throttle = LoginThrottle(clock)
    for number in range(50):
        throttle.begin(f"user-{number}@example.com", HERE)
    assert wait_of(throttle, "another@example.com", HERE) > 0
    throttle.begin("another@example.com", THERE)


def test_a_success_forgives_and_so_does_time(clock: FakeClock) -> None:
    throttle = LoginThrottle(clock)
    for _ in range(FREE_ATTEMPTS):
        throttle.begin("ada@example.com", HERE)
    throttle.succeeded("ada@example.com", HERE)
    throttle.begin("ada@example.com", HERE)
    for _ in range(FREE_ATTEMPTS - 1):
        throttle.begin("ada@example.com", HERE)
    clock.advance(900)
    throttle.begin("ada@example.com", HERE)


def test_the_memory_of_failures_is_bounded(clock: FakeClock) -> None:
    throttle = LoginThrottle(clock)
    for number in range(10_500):
        throttle.begin("ada@example.com", f"ipv4:10.{number // 65536}.{number // 256 % 256}.{number % 256}:1")
    assert len(throttle._counters) <= 10_000


@pytest.mark.parametrize(
    ("peer", "address"),
    [("ipv4:10.0.0.1:50000", "ipv4:10.0.0.1"), ("ipv6:[::1]:50000", "ipv6:[::1]"), ("unix:", "unix:")],
)
def test_the_port_does_not_count(peer: str, address: str) -> None:
    assert peer_address(peer) == address
