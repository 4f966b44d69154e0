"""Goes by the policies that the leading replica has put into force, whatever this one's own files say."""

import asyncio
from typing import Final

import structlog

from control_plane.errors import PreconditionFailed, Unavailable
from control_plane.governor.policy.book import PolicyBook
from control_plane.governor.policy.checking import check
from control_plane.governor.policy.model import PolicyFile
from control_plane.store import policy_sets
from control_plane.store.database import Store

log = structlog.get_logger()

_LOOK_SECONDS: Final = 0.5
_FIRST_SECONDS: Final = 60.0


class PolicyFollower:
    """Keeps the book at the set in force in the database. Where this replica leads, it has put it there itself."""

    def __init__(self, store: Store, book: PolicyBook) -> None:
        self._store = store
        self._book = book

    async def ready(self) -> None:
        """Return once there is a set to go by. Raises PreconditionFailed when nobody leads, and so nobody makes one."""
        try:
            async with asyncio.timeout(_FIRST_SECONDS):
                while not await self.look():  # noqa: ASYNC110 - another process makes it come true
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise PreconditionFailed(
                "no control plane has put policies into force, for none leads: see that most servers of the NATS "
                "cluster run and that JetStream is on, then start again",
                reason="NOBODY_LEADS",
            ) from None

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.look()
            except Unavailable as error:
                log.debug("policies.not_followed", why=error.message)

    async def look(self) -> bool:
        """Take the set in force, if it is another; return whether there is one. Raises Unavailable."""
        found = await self._store.read(policy_sets.in_force)
        if found is None:
            return False
        if found.version != self._book.current.version:
            files = [PolicyFile(*file) for file in found.files]
            policies, faults = await asyncio.to_thread(lambda: check(files, loaded_at=found.loaded_at))
            if policies is None:
                log.error("policies.cannot_follow", version=found.version, faults=len(faults))
                return True
            self._book.put(policies)
            log.info("policies.followed", version=policies.version, rules=len(policies.rules))
        return True
