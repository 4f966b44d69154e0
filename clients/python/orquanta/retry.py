"""When to try a call again, and after how long."""

from dataclasses import dataclass

from orquanta.errors import DeadlineExceeded, OrQuantaError, Unavailable, UntrustedServer


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Full jitter under a doubling cap, within a number of attempts and a total time.

    The pause before attempt n + 1 is drawn evenly from [0, min(cap, first * 2^(n-1))] seconds, or is what the
    server asked for, if that is longer. A pause that would overrun `total_seconds` is not begun: the
    failure is raised instead.
    """

    # Defaults: the pauses add up to 18.2 s at most and 9.1 s on average, so a restart of the control plane
    # passes unseen. Worst case of one call: `total_seconds`, or `timeout_seconds` of the client if longer.
    max_attempts: int = 8
    first_pause_seconds: float = 0.2
    max_pause_seconds: float = 6.0
    total_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or min(self.first_pause_seconds, self.max_pause_seconds) < 0:
            raise ValueError("a retry policy needs at least one attempt and no negative pause")

    def cap_seconds(self, attempt: int) -> float:
        """The longest pause after the given attempt (from 1)."""
        doublings = min(attempt - 1, 32)  # 2^32 times any pause is beyond every cap; larger powers overflow
        return float(min(self.max_pause_seconds, self.first_pause_seconds * 2**doublings))

    def pause_seconds(
        self, failure: OrQuantaError, attempt: int, elapsed_seconds: float, jitter: float
    ) -> float | None:
        """How long to wait before the next attempt, or None to give up. `jitter` is from [0, 1]."""
        if not may_retry(failure) or attempt >= self.max_attempts:
            return None
        pause = max(self.cap_seconds(attempt) * jitter, failure.retry_after_seconds or 0.0)
        return None if elapsed_seconds + pause >= self.total_seconds else pause


# A watch outlives a longer outage: it goes on trying for five minutes after the last sign of life.
WATCH_RETRY = RetryPolicy(max_attempts=200, total_seconds=300.0)


def may_retry(failure: OrQuantaError) -> bool:
    """True if the same call, repeated, may succeed and cannot do harm.

    Both kinds leave open whether the server acted. Only calls that read, or that carry a request id, may be
    repeated after them; the transport sees to that.
    """
    return isinstance(failure, Unavailable | DeadlineExceeded) and not isinstance(failure, UntrustedServer)
