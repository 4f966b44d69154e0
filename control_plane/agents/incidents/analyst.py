"""Has a model asked why an incident is, where the rules end: beside the healing, which never waits for it."""

import asyncio
from functools import partial
from typing import Final

import structlog
from typing_extensions import override

from control_plane.agents.loop import Agent
from control_plane.errors import OrQuantaError
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.ids import IncidentId
from control_plane.model.incident import IncidentState
from control_plane.model.record import Noun
from control_plane.store import diagnoses, incidents
from control_plane.store.database import Store, Tx
from control_plane.store.incidents import IncidentFilter, Parts
from control_plane.store.pages import PageRequest
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.diagnosing import Asker
from control_plane.tools.incident_diagnoses import ask

log = structlog.get_logger()

NAME: Final = "incident_analyst"
DIAGNOSED: Final = "diagnosed"
"""Kind of the entry that tells what a model says."""
EVENT: Final = "incident.diagnosed"
"""Kind of the event after a model has said why an incident is."""

SETTLE_SECONDS: Final = 15.0
"""So long after its last change an incident is looked at: troubles seldom come alone, nor all at once."""

_LOOK_SECONDS: Final = 2.0
_AT_ONCE: Final = 2
"""Models asked at a time."""
_WAITING_MAX: Final = 1_000
"""Incidents that wait to be looked at; what comes beyond is looked at with its next change."""
_PAGE: Final = 500


class Analyst(Agent):
    """Follows incidents. What a model says of them is recorded and shown, and chooses no repair."""

    name = NAME
    event_driven = False

    def __init__(self, store: Store, telemetry: TelemetryWindows, asker: Asker) -> None:
        super().__init__(store, interval_seconds=_LOOK_SECONDS)
        self._telemetry = telemetry
        self._asker = asker
        self._position: int | None = None
        self._due: dict[IncidentId, float] = {}

    @override
    async def round(self) -> str:
        """Look at the incidents that have been quiet for a moment."""
        await self._notice()
        if not self._asker.available:
            return ""
        now = self._store.clock.monotonic()
        due = [incident_id for incident_id, at in self._due.items() if at <= now][:_AT_ONCE]
        for incident_id in due:
            del self._due[incident_id]
        told = await asyncio.gather(*(self._analyse(incident_id) for incident_id in due))
        return "; ".join(filter(None, told))

    async def _analyse(self, incident_id: IncidentId) -> str:
        subject = diagnoses.incident_subject(incident_id)
        before = await self._store.read(lambda tx: diagnoses.get(tx, subject))
        try:
            asked = await ask(self._store, self._telemetry, self._asker, incident_id)
        except OrQuantaError as error:
            log.warning("incident.not_diagnosed", incident_id=incident_id, why=error.message)
            return ""
        after = await self._store.read(lambda tx: diagnoses.get(tx, subject))
        if asked is None or after is None:
            return ""
        found, basis = asked
        if after.asks < diagnoses.ASKS_MAX and not (after.settled and after.basis == basis):
            self._await(incident_id, diagnoses.AGAIN.total_seconds())
        if found.by_rules or (before is not None and before.answer == found):
            return ""
        self.count("incidents_diagnosed")
        return await self._store.write(partial(_record, incident_id=incident_id, found=found))

    async def _notice(self) -> None:
        """Take note of the incidents that have changed."""
        feed = self._store.feed
        if self._position is None:
            await feed.catch_up()
            position = feed.newest
            for incident_id in await self._store.read(_waiting):
                self._await(incident_id, SETTLE_SECONDS)
            self._position = position
            return
        while True:
            page = await feed.since(self._position, nouns=(Noun.INCIDENT,))
            self._position = page.position
            for event in page.events:
                if event.kind != EVENT:
                    self._await(IncidentId(event.id), SETTLE_SECONDS)
            if not page.more:
                return

    def _await(self, incident_id: IncidentId, seconds: float) -> None:
        if incident_id in self._due or len(self._due) < _WAITING_MAX:
            self._due[incident_id] = self._store.clock.monotonic() + seconds


def _waiting(tx: Tx) -> list[IncidentId]:
    """Return the incidents that have not ended, and the newest that wait for a person."""
    escalated = incidents.page(tx, IncidentFilter((IncidentState.ESCALATED,)), PageRequest(_PAGE), Parts.NONE)
    return [*incidents.open_ids(tx).values(), *(one.id for one in escalated.items)]


def _record(tx: Tx, incident_id: IncidentId, found: Diagnosis) -> str:
    """Put what a model says into the incident's history, as its words."""
    incident = incidents.get(tx, incident_id, Parts.NONE)
    if incident is None:
        return ""
    told = f"{found.diagnosed_by}, a model, says: {found.cause}: {found.summary}"
    incidents.add_entry(tx, incident_id, DIAGNOSED, told)
    tx.emit(Noun.INCIDENT, incident_id, EVENT, f"{incident.node_name}: {told}", parent_id=incident.node_id)
    return f"{incident_id} of {incident.node_name}: {found.cause}"
