"""Goes by the policies that the leading replica has put into force, whatever this one's own files say."""

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from control_plane.errors import PreconditionFailed, Unavailable
from control_plane.governor.policy.book import PolicyBook, fault_line
from control_plane.governor.policy.checking import check, version_of
from control_plane.governor.policy.closed import closed
from control_plane.governor.policy.folder import Unreadable, read_folder
from control_plane.governor.policy.model import PolicyFile
from control_plane.store import policy_sets
from control_plane.store.database import Store

log = structlog.get_logger()

_LOOK_SECONDS: Final = 0.5
_LOOKS_PER_READING: Final = 20
_FIRST_SECONDS: Final = 60.0


class PolicyFollower:
    """Keeps the book at the set in force in the database. Where this replica leads, it has put it there itself."""

    def __init__(self, store: Store, book: PolicyBook, folder: Path | None) -> None:
        self._store = store
        self._book = book
        self._folder = folder
        self._warned = ""
        self.own_version = ""
        """The version of this replica's own files: what comes into force when it leads, if there are any. "" if they
        cannot be read."""

    async def ready(self, stop: asyncio.Event) -> None:
        """Return once there is a set to go by, or `stop` is set.

        Raises PreconditionFailed when nobody leads, and so nobody makes one.
        """
        try:
            async with asyncio.timeout(_FIRST_SECONDS):
                while not stop.is_set() and not await self.look():  # noqa: ASYNC110 - another process makes it true
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise PreconditionFailed(
                "no control plane has put policies into force, for none leads: see that most servers of the NATS "
                "cluster run and that JetStream is on, then start again",
                reason="NOBODY_LEADS",
            ) from None

    async def run(self) -> None:
        """Follow until cancelled, and tell when this replica's own files are others than those in force."""
        for number in itertools.count():
            try:
                await self.look()
                if number % _LOOKS_PER_READING == 0:
                    await self._compare()
            except Unavailable as error:
                log.debug("policies.not_followed", why=error.message)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _compare(self) -> None:
        try:
            files = () if self._folder is None else await asyncio.to_thread(read_folder, self._folder)
        except Unreadable as error:
            self.own_version = ""
            self._warn(f"they cannot be read: {fault_line(error.fault)}")
            return
        self.own_version = version_of(files)
        if self.own_version == self._book.current.version:
            return
        if files:
            self._warn("they are others than the leader's; give all replicas the same files")
        else:
            self._warn("there are none here, so those in force stay if this one leads; give it the others' files")

    def _warn(self, why: str) -> None:
        if why != self._warned:
            self._warned = why
            log.warning("policies.differ", why=why, folder=str(self._folder or ""), own_version=self.own_version)

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
                # Older rules may allow what those in force refuse: until it can follow, others have to decide.
                policies = await asyncio.to_thread(closed)
                self._book.put(replace(policies, version=found.version))
                self._book.refuse(faults)
                return True
            self._book.put(policies)
            log.info("policies.followed", version=policies.version, rules=len(policies.rules))
        return True
