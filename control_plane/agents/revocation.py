"""Makes a revocation felt at once: what a revoked node still holds open is cut, what is remembered of it forgotten."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from control_plane.errors import Unavailable
from control_plane.model.ids import NodeId
from control_plane.model.node import NodeState
from control_plane.model.record import Event, Noun
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
        feed = self._store.feed
        position = self._store.changes.newest
        while True:
            try:
                position = await feed.reason(_is_one, position)
                page = await feed.since(position, nouns=(Noun.NODE,))
            except Unavailable as error:
                log.warning("revocation.waiting", reason=error.reason)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for event in filter(_is_one, page.events):
                await self._cut(NodeId(event.id))
            position = page.position


def _is_one(event: Event) -> bool:
    return event.noun is Noun.NODE and event.kind == REVOKED
