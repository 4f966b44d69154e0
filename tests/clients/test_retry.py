"""When a call is tried again, with plain values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orquanta.errors import CLASS_BY_CODE, DeadlineExceeded, Unavailable, UntrustedServer
from orquanta.retry import RetryPolicy, may_retry

POLICY = RetryPolicy(max_attempts=5, first_pause_seconds=1.0, max_pause_seconds=3.0, total_seconds=20.0)


@pytest.mark.parametrize(("attempt", "cap"), [(1, 1.0), (2, 2.0), (3, 3.0), (4, 3.0), (10_000, 3.0)])
def test_cap_doubles_up_to_the_longest_pause(attempt: int, cap: float) -> None:
    assert POLICY.cap_seconds(attempt) == cap


@given(attempt=st.integers(1, 100), elapsed=st.floats(0, 1000), jitter=st.floats(0, 1), asked=st.floats(0, 100))
def test_no_pause_overruns_the_total(attempt: int, elapsed: float, jitter: float, asked: float) -> None:
    failure = Unavailable("down", retry_after_seconds=asked)
    pause = POLICY.pause_seconds(failure, attempt, elapsed, jitter)
    assert pause is None or (elapsed + pause < POLICY.total_seconds and attempt < POLICY.max_attempts)


def test_pause_is_as_long_as_the_server_asks() -> None:
    assert POLICY.pause_seconds(Unavailable("down", retry_after_seconds=7.0), 1, 0.0, 0.5) == 7.0


def test_only_unavailable_and_deadline_exceeded_may_be_retried() -> None:
    retried = {kind for kind in CLASS_BY_CODE.values() if may_retry(kind("it failed"))}
    assert retried == {Unavailable, DeadlineExceeded}
    assert not may_retry(UntrustedServer("wrong CA"))


def test_policy_without_an_attempt_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one attempt"):
        RetryPolicy(max_attempts=0)
