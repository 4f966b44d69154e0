"""Keeps the store bounded, and ends approvals that nobody gave in time, and goals that nobody decided about."""

from datetime import timedelta

from control_plane.agents.loop import Agent
from control_plane.governor import goal_ends
from control_plane.governor.governor import NAME, Governor
from control_plane.store import conditions, events, incidents, notices, repairs, requests, rollups, runs, traces
from control_plane.store.database import Store, Tx

_CHECK_SECONDS = 5.0
_EVENTS_KEPT = 200_000
_NOTICES_KEPT = timedelta(days=30)
_REQUESTS_KEPT = timedelta(days=7)
_HEALTH_EVENTS_KEPT = timedelta(days=30)
_CONDITION_ORDERS_KEPT = timedelta(days=30)
_INCIDENTS_KEPT = timedelta(days=180)
_TRACES_KEPT = timedelta(days=90)
_RUNS_KEPT = timedelta(days=90)  # their events stay in the audit
_ROLLUPS_KEPT = timedelta(days=7)
_ROLLUPS_MAX = 1_000_000  # minutes of one host each
_PRUNE_EVERY = 720  # rounds of 5 s: about once an hour


class Housekeeping(Agent):
    """Runs under the governor's own name: expiry is the governor's rule."""

    name = NAME
    event_driven = False

    def __init__(self, store: Store, governor: Governor) -> None:
        super().__init__(store, interval_seconds=_CHECK_SECONDS)
        self._governor = governor
        self._until_prune = 0
        self._began = store.clock.monotonic()

    async def round(self) -> str:
        """Expire approvals, and once in a while prune."""
        if await self._store.read(self._governor.approvals.has_left):
            resumed = await self._store.write(self._governor.approvals.resume)
            self.count("actions_resumed", resumed)
            return f"{resumed} approved actions went on"
        if await self._store.read(self._has_late):
            expired = await self._store.write(self._governor.expire)
            self.count("approvals_expired", expired)
            return f"{expired} approvals ran out"
        if self._store.clock.monotonic() - self._began >= goal_ends.DECIDED_WITHIN.total_seconds() and (
            await self._store.read(goal_ends.has_left_over)
        ):  # while no control plane led, no run could decide: each gets its time again
            closed = await self._store.write(goal_ends.close_left_over)
            self.count("goals_left_over", closed)
            if closed:  # one that cannot be read is left over for good
                return f"{closed} goals ended whose runs did not decide in time"
        if self._until_prune == 0:
            await self._store.write(_prune)
        self._until_prune = (self._until_prune - 1) % _PRUNE_EVERY
        return ""

    def _has_late(self, tx: Tx) -> bool:
        return self._governor.has_expired(tx)


def _prune(tx: Tx) -> None:
    events.prune(tx, keep=_EVENTS_KEPT)
    traces.prune(tx, before=tx.now - _TRACES_KEPT)
    notices.prune(tx, before=tx.now - _NOTICES_KEPT)
    requests.prune(tx, older_than=tx.now - _REQUESTS_KEPT)
    conditions.prune(tx, events_before=tx.now - _HEALTH_EVENTS_KEPT, orders_before=tx.now - _CONDITION_ORDERS_KEPT)
    rollups.prune(tx, before=tx.now - _ROLLUPS_KEPT, most=_ROLLUPS_MAX)
    incidents.prune(tx, before=tx.now - _INCIDENTS_KEPT)
    repairs.prune(tx, before=tx.now - _INCIDENTS_KEPT)
    runs.prune(tx, before=tx.now - _RUNS_KEPT)
