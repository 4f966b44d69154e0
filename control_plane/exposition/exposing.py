"""Keeps the figures fresh and serves them over HTTP."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog
from prometheus_client import start_http_server

from control_plane.errors import OrQuantaError, PreconditionFailed
from control_plane.exposition import figures
from control_plane.exposition.registry import ServerMetrics
from control_plane.model.ids import JobId
from control_plane.setting_addresses import split_address
from control_plane.store.database import Store

log = structlog.get_logger()

_LOOK_SECONDS: Final = 5.0
_LATE: Final = timedelta(seconds=10)  # what is stamped before a look may be in the books only after it


class Exposing:
    """Looks at the books every few seconds; a scrape costs no look.

    `leads` tells whether this control plane's agents work. Where several share the books, that is one of them, and it
    alone counts what the books say has happened: otherwise each would count it.
    """

    def __init__(self, store: Store, metrics: ServerMetrics, leads: Callable[[], bool] = lambda: True) -> None:
        self._store = store
        self._metrics = metrics
        self._leads = leads
        self._counted: Mapping[JobId, float] = {}

    def serve(self, address: str) -> "Exposing":
        """Serve at host:port, in a thread of its own, for as long as this process lives.

        Raises PreconditionFailed when the port is taken.
        """
        host, port = split_address(address)
        try:
            start_http_server(port, host, registry=self._metrics.registry)
        except OSError as error:
            raise PreconditionFailed(
                f"metrics_address {address} cannot be used: {error}", reason="METRICS_ADDRESS_TAKEN"
            ) from error
        log.info("metrics.serving", address=address)
        return self

    async def run(self) -> None:
        """Look until cancelled."""
        since = self._store.clock.now()
        while True:
            since = await self._look(since)
            due = self._store.clock.monotonic() + _LOOK_SECONDS
            await asyncio.sleep(_LOOK_SECONDS)
            self._metrics.loop_lag.observe(max(0.0, self._store.clock.monotonic() - due))

    async def _look(self, since: datetime) -> datetime:
        now = self._store.clock.now()
        began = self._store.clock.monotonic()
        try:
            found = await self._store.read(partial(figures.read, started_after=since, epoch=self._store.control_epoch))
        except OrQuantaError as error:
            log.warning("metrics.stale", reason=error.reason)
            return since
        self._metrics.reads.observe(self._store.clock.monotonic() - began)
        self._metrics.books = found
        if self._leads():
            for job_id, seconds in found.started.items():
                if job_id not in self._counted:
                    self._metrics.waits.observe(seconds)
        self._counted = found.started
        return max(since, now - _LATE)
