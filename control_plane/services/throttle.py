"""Slows down the guessing of passwords, without locking out the person whose password is guessed."""

from dataclasses import dataclass
from typing import Final

from control_plane.clock import Clock
from control_plane.errors import ResourceExhausted
from control_plane.services.status import RETRY_AFTER_SECONDS

FREE_ATTEMPTS: Final = 5
"""Failures that cost nothing: people mistype."""

_FIRST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 300.0
_FORGIVEN_AFTER_SECONDS: Final = 900.0
_COUNTERS_MAX: Final = 10_000
_PEER_ALLOWANCE: Final = 10  # one address may fail this many times as often over all accounts


@dataclass(slots=True)
class _Counter:
    failures: int
    last_at: float


class LoginThrottle:
    """Counts failed logins by account and peer address, and by address alone; each failure doubles the wait.

    An attempt counts as failed from its start, so that guesses made at the same time are counted too.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counters: dict[tuple[str, str], _Counter] = {}

    def begin(self, email: str, peer: str) -> None:
        """Count an attempt.

        Raises:
            ResourceExhausted: LOGIN_THROTTLED; too many failed; the metadata say when to try again.
        """
        address = peer_address(peer)
        wait = max(self._wait((email, address), 1), self._wait(("", address), _PEER_ALLOWANCE))
        if wait > 0:
            raise ResourceExhausted(
                f"too many failed logins; try again in {wait:.0f} seconds, or use an API key",
                reason="LOGIN_THROTTLED",
                metadata={RETRY_AFTER_SECONDS: f"{wait:.3f}"},
            )
        self._count((email, address))
        self._count(("", address))

    def succeeded(self, email: str, peer: str) -> None:
        """Take back the failures of this account at this address, and this attempt of the address."""
        address = peer_address(peer)
        self._counters.pop((email, address), None)
        self.undo("", address)

    def undo(self, email: str, address: str) -> None:
        """Take back one attempt that was not a guess."""
        counter = self._counters.get((email, address))
        if counter is not None:
            counter.failures -= 1

    def _wait(self, key: tuple[str, str], allowance: int) -> float:
        counter = self._counters.get(key)
        if counter is None:
            return 0.0
        since = self._clock.monotonic() - counter.last_at
        if since >= _FORGIVEN_AFTER_SECONDS:
            del self._counters[key]
            return 0.0
        over = counter.failures - FREE_ATTEMPTS * allowance
        if over < 0:
            return 0.0
        return min(_FIRST_WAIT_SECONDS * 2.0 ** min(over, 20), _LONGEST_WAIT_SECONDS) - since

    def _count(self, key: tuple[str, str]) -> None:
        counter = self._counters.pop(key, None) or _Counter(0, 0.0)
        counter.failures += 1
        counter.last_at = self._clock.monotonic()
        while len(self._counters) >= _COUNTERS_MAX:
            del self._counters[next(iter(self._counters))]
        self._counters[key] = counter


def peer_address(peer: str) -> str:
    """Return the address of a gRPC peer such as `ipv4:10.0.0.1:51234`, without its port."""
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer
