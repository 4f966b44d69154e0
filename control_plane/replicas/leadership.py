"""Has the leader's work done by the replica that holds the lease, and by nobody whose lease has run out."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog

from control_plane.errors import OrQuantaError, Unavailable
from control_plane.replicas.lease import Lease, LeaseTerms
from control_plane.store.database import Store

log = structlog.get_logger()

Work = Callable[[Store], Awaitable[None]]
"""Does the leader's work with a store of its epoch until it is cancelled."""

_RETRY_SECONDS: Final = 0.1
_FAILURES_MAX: Final = 5  # looks at the database, one a second
_REASON_MAX: Final = 300
_PAUSE_SECONDS: Final = 1.0  # after a term that ended by itself


class Leadership:
    """The loop of one replica: wait for the lease, take the next epoch, work, step down."""

    def __init__(self, store: Store, lease: Lease, work: Work, *, terms: LeaseTerms) -> None:
        self._store = store
        self._lease = lease
        self._work = work
        self._terms = terms
        self.leads = False
        """Whether this replica does the leader's work at this moment."""

    async def run(self) -> None:
        """Stand for the lead until cancelled; then give the lease back, so that the next one need not wait."""
        try:
            while True:
                await self._campaign()
                await self._lead()
                await self._give_back()
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await self._give_back()

    async def _give_back(self) -> None:
        if self._lease.held:
            with contextlib.suppress(OrQuantaError):
                await self._lease.give_back()

    async def _campaign(self) -> None:
        while True:
            try:
                if await self._lease.try_take(fit=self._store.confirm):
                    return
            except Unavailable as error:
                log.debug("replica.lease_unknown", why=error.message)
            await asyncio.sleep(self._terms.look_seconds)

    async def _lead(self) -> None:
        """Work for as long as the lease holds. An error of the work that is no trouble with the database is raised."""
        mine = self._lease.mine
        keeping = asyncio.create_task(self._keep(), name="lease")
        working = asyncio.create_task(self._begin(), name="leader")
        try:
            await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.leads = False
            for task in (working, keeping):
                task.cancel()
            await asyncio.wait({keeping, working})
            self._lease.mine = replace(mine, epoch=0)
        log.warning("replica.steps_down", replica=mine.replica, why=_why(keeping, working))
        for task in (keeping, working):
            for error in _errors(task):
                if not isinstance(error, Unavailable):
                    raise error

    async def _begin(self) -> None:
        epoch = await self._store.take_epoch(self._lease.mine.replica, allowed=lambda: self._lease.held)
        self._lease.mine = replace(self._lease.mine, epoch=epoch)
        self.leads = True
        log.info("replica.leads", replica=self._lease.mine.replica, epoch=epoch)
        own = self._store.of_epoch(epoch)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch(own))
            tasks.create_task(_alone(self._work(own), watching))

    async def _watch(self, own: Store) -> None:
        """Raises Unavailable as soon as a newer epoch is in force, or the database is away: it may be so here alone."""
        failures = 0
        while True:
            await asyncio.sleep(self._terms.renew_seconds)
            try:
                await own.confirm()
            except Unavailable:
                failures += 1
                if own.superseded or failures >= _FAILURES_MAX:
                    raise
            else:
                failures = 0

    async def _keep(self) -> None:
        """Return when the lease is lost, or could be."""
        asked_at = 0.0
        troubled = False
        clock = self._store.clock
        while self._lease.held:
            try:
                asked_at = clock.monotonic()
                async with asyncio.timeout(self._lease.left_seconds):
                    if not await self._lease.renew():
                        return
            except TimeoutError:
                return
            except Unavailable as error:
                if not troubled:
                    log.warning("replica.not_renewed", why=error.message)
                troubled = True
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                troubled = False
                await asyncio.sleep(max(0.0, self._terms.renew_seconds - (clock.monotonic() - asked_at)))


async def _alone(work: Awaitable[None], watching: asyncio.Task[None]) -> None:
    try:
        await work
    finally:
        watching.cancel()


def _errors(task: asyncio.Task[None]) -> list[BaseException]:
    """Return what a task that is over has failed by, groups taken apart."""
    error = None if task.cancelled() else task.exception()
    found = [] if error is None else [error]
    while any(isinstance(one, BaseExceptionGroup) for one in found):
        found = [part for one in found for part in (one.exceptions if isinstance(one, BaseExceptionGroup) else (one,))]
    return found


def _why(keeping: asyncio.Task[None], working: asyncio.Task[None]) -> str:
    for error in (*_errors(working), *_errors(keeping)):
        return f"{type(error).__name__}: {error}"[:_REASON_MAX]
    return "the lease was not renewed in time, or another replica has it"
