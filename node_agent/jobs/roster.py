"""The members of this host and what is wanted of them, as the parts of the runner share it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from typing import Any

from node_agent.clock import Clock
from node_agent.jobs import retention
from node_agent.jobs.feed import StatusFeed
from node_agent.jobs.logs import JobLogs
from node_agent.jobs.member import Member
from node_agent.jobs.settings import RunnerSettings
from node_agent.jobs.spec import MemberKey, MemberSpec
from node_agent.jobs.status import MemberState, MemberStatus

_MAX_REFUSED = 10_000

Spawn = Callable[[Coroutine[Any, Any, None]], None]
"""Has something done on the side, until the runner is left."""


class Roster:
    """Every member that this host knows, those that it refused, those that are wanted, and who is told of changes."""

    def __init__(self, settings: RunnerSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.members: dict[MemberKey, Member] = {}
        self.refused: dict[MemberKey, MemberStatus] = {}
        self.desired: dict[MemberKey, MemberSpec] = {}
        self.logs = JobLogs(settings.jobs_dir, self._is_ended)
        self._feeds: set[StatusFeed] = set()

    def open(self) -> None:
        """Read what ran here before. Raises OSError."""
        self.forgotten = retention.Forgotten(self.settings.jobs_dir)

    def statuses(self) -> dict[MemberKey, MemberStatus]:
        """Return every member, until it is acknowledged and its retention is over."""
        return {**self.refused, **{key: member.current() for key, member in self.members.items()}}

    async def changes(self) -> AsyncGenerator[MemberStatus, None]:
        """Yield every known status, then each change; a reader that lags sees only the latest of each member."""
        feed = StatusFeed(self.statuses().values())
        self._feeds.add(feed)
        try:
            while True:
                yield await feed.get()
        finally:
            self._feeds.discard(feed)

    def publish(self, status: MemberStatus) -> None:
        """Tell whoever follows changes."""
        for feed in self._feeds:
            feed.put(status)

    def refuse(self, status: MemberStatus) -> None:
        """Keep the end of a member that is not started here."""
        self.refused[status.key] = status
        self.publish(status)

    def trim_refused(self) -> None:
        """Keep a bounded number of them."""
        for key in list(self.refused)[:-_MAX_REFUSED]:
            del self.refused[key]

    def is_followed(self, key: MemberKey) -> bool:
        """Tell whether a supervisor stands over the member, or is about to."""
        member = self.members.get(key)
        return member is not None and member.live

    def _is_ended(self, key: MemberKey) -> bool:
        member = self.members.get(key)
        return member is None or member.status.state is MemberState.ENDED

    # Forgetting.

    async def forget(self, keys: Iterable[MemberKey]) -> None:
        """Note, on disk, that these may never start here again though nothing is left of them. Raises OSError."""
        await asyncio.to_thread(self.forgotten.add, list(keys))

    async def forget_expired(self) -> None:
        """Delete what is acknowledged and beyond the retention."""
        settings = self.settings
        gone = retention.expired(self.members.values(), settings.retained_members, settings.retained_bytes)
        gone = [member for member in gone if member.spec.key not in self.desired]
        if not gone:
            return
        await self.forget(member.spec.key for member in gone)
        for member in gone:
            self.members.pop(member.spec.key, None)
        await asyncio.to_thread(retention.delete, gone)
