"""The lease of the leader: one key in the brokers' store, held by whoever renews it.

No wall clock is compared. A holder counts from when it began to ask for the renewal that succeeded last, everybody
else from when they have seen that renewal, which is later: so the holder stops before another can begin.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from control_plane.bus.bucket import Bucket
from control_plane.clock import Clock

KEY: Final = "leader"


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """Seconds: between renewals, for which a renewal holds, after which others may take over, between their looks."""

    renew_seconds: float = 1.0
    hold_seconds: float = 2.5
    take_seconds: float = 3.0
    look_seconds: float = 0.2


@dataclass(frozen=True, slots=True)
class Holder:
    """What the key says: which replica leads, since its start (`instance`), under which epoch, reached where."""

    replica: str
    instance: str
    epoch: int = 0
    address: str = ""

    def to_json(self) -> bytes:
        """Return the value of the key."""
        return json.dumps(
            {"replica": self.replica, "instance": self.instance, "epoch": self.epoch, "address": self.address}
        ).encode()


def _instance(value: bytes) -> str:
    """Return who holds; nothing if the lease was given back."""
    try:
        return str(json.loads(value)["instance"])
    except (ValueError, KeyError, TypeError):
        return ""


class Lease:
    """One replica's hand on the key. `mine` says who that is; the epoch is filled in when it is known."""

    def __init__(self, bucket: Bucket, mine: Holder, *, clock: Clock, terms: LeaseTerms) -> None:
        self._bucket = bucket
        self._clock = clock
        self._terms = terms
        self.mine = mine
        self._seen = -1
        self._seen_at = 0.0
        self._revision = 0
        self._held_until = 0.0

    @property
    def left_seconds(self) -> float:
        """For how long the lease is surely held; not above 0 if it is not."""
        return self._held_until - self._clock.monotonic()

    @property
    def held(self) -> bool:
        """Whether the lease is surely held at this moment."""
        return self.left_seconds > 0

    async def try_take(self, *, fit: Callable[[], Awaitable[None]] | None = None) -> bool:
        """Take the lease if nobody has renewed it for long enough, or it was given back. Raises Unavailable.

        `fit` is asked before, and raises if the lease would be of no use to this replica.
        """
        entry = await self._bucket.get(KEY)
        now = self._clock.monotonic()
        revision = 0 if entry is None else entry.revision
        if revision != self._seen:
            self._seen, self._seen_at = revision, now
        is_free = entry is None or not _instance(entry.value)
        if not is_free and now - self._seen_at < self._terms.take_seconds:
            return False
        if fit is not None:
            await fit()
        return await self._set(revision)

    async def renew(self) -> bool:
        """Hold the lease for longer; False if somebody else has taken it. Raises Unavailable."""
        if await self._set(self._revision):
            return True
        revision = await self._moved_on()
        return revision is not None and await self._set(revision)

    async def _moved_on(self) -> int | None:
        """Return the key's revision if it is still ours: a renewal whose answer was not heard has moved it on."""
        entry = await self._bucket.get(KEY)
        return None if entry is None or _instance(entry.value) != self.mine.instance else entry.revision

    async def _set(self, revision: int) -> bool:
        asked_at = self._clock.monotonic()
        found = await self._bucket.swap(KEY, self.mine.to_json(), revision=revision)
        if found is None:
            return False
        self._revision = found
        self._held_until = asked_at + self._terms.hold_seconds
        return True

    async def give_back(self) -> None:
        """Let others take the lease at once. Raises Unavailable."""
        self._held_until = 0.0
        nobody = Holder("", "").to_json()
        if await self._bucket.swap(KEY, nobody, revision=self._revision) is None:
            revision = await self._moved_on()
            if revision is not None:
                await self._bucket.swap(KEY, nobody, revision=revision)
