"""Makes a revocation felt at once: what a revoked node still holds open is cut, what is remembered of it forgotten."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from control_plane.errors import Unavailable
from control_plane.model.ids import NodeId
from control_plane.model.node import NodeState
from control_plane.model.record import Noun
from control_plane.store import events
from control_plane.store.database import Store

log = structlog.get_logger()

_RETRY_SECONDS = 0.5

REVOKED = f"node.{NodeState.REVOKED.value}"


class Revocation:
    """Follows the store's events and calls `cut` once for each node that is revoked from now on.

    It only hurries: certificates of revoked nodes are refused by every check of their own.
    """

    def __init__(self, store: Store, cut: Callable[[NodeId], Awaitable[None]]) -> None:
        self._store = store
        self._cut = cut

    async def run(self) -> None:
        """Follow until cancelled."""
        position = self._store.changes.newest
        while True:
            newest = await self._store.changes.wait_beyond(position)
            try:
                page = await self._store.read(partial(events.after, sequence=position, nouns=(Noun.NODE,)))
            except Unavailable as error:
                log.warning("revocation.waiting", reason=error.reason)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for event in page:
                if event.kind == REVOKED:
                    await self._cut(NodeId(event.id))
            # An empty page means that nothing up to `newest` was about nodes.
            position = page[-1].sequence if page else newest
