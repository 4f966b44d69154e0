"""Telling others what changed, without ever making them or us wait."""

import asyncio
from collections.abc import Iterable

from node_agent.jobs.spec import MemberKey
from node_agent.jobs.status import MemberStatus


class StatusFeed:
    """The latest status of each member that changed since the reader last looked: bounded by the number of members."""

    def __init__(self, current: Iterable[MemberStatus]) -> None:
        self._pending: dict[MemberKey, MemberStatus] = {status.key: status for status in current}
        self._wake = asyncio.Event()

    def put(self, status: MemberStatus) -> None:
        """Add a change; it replaces an older one of the same member that was not read yet."""
        self._pending.pop(status.key, None)
        self._pending[status.key] = status
        self._wake.set()

    async def get(self) -> MemberStatus:
        """Wait for a change and return it."""
        while not self._pending:
            self._wake.clear()
            await self._wake.wait()
        return self._pending.pop(next(iter(self._pending)))
