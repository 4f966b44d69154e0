"""Tells webhooks what waits for people: approvals that are asked for, decided or about to run out, and incidents.

What is to be told is written down first and sent afterwards, until it has arrived or was tried too often: at least
once, and after a crash too. The address of a webhook is a secret and is in no log, error or table.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import httpx2
import structlog

from control_plane.agents import notice_texts as texts
from control_plane.agents.loop import Agent
from control_plane.agents.notice_texts import WebhookKind
from control_plane.store import notices
from control_plane.store.database import Store, Tx
from control_plane.store.notices import Notice

log = structlog.get_logger()

NAME: Final = "notifier"
ATTEMPTS_MAX: Final = 8
"""A notice that has not arrived after so many attempts is given up; with the waits between them, after 8 minutes."""

_CHECK_SECONDS = 1.0
_AT_ONCE = 4
_BATCH = 40
_SEND_SECONDS = 10.0
_FIRST_WAIT_SECONDS = 4
_WAIT_SECONDS_MAX = 240
_EXPIRING_WITHIN = timedelta(minutes=5)
_ESCALATED_WITHIN = timedelta(hours=1)
_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint. Its URL is a secret; `name` tells it from others without giving it away."""

    url: str
    kind: WebhookKind

    @property
    def name(self) -> str:
        """Half of the URL's SHA-256, in hex."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:32]

    @property
    def shown(self) -> str:
        """What people see of it: its host."""
        return httpx2.URL(self.url).host


class Notifier(Agent):
    """Sends notices."""

    name = NAME
    event_driven = False

    def __init__(self, store: Store, webhooks: Sequence[Webhook], *, check_seconds: float = _CHECK_SECONDS) -> None:
        super().__init__(store, interval_seconds=check_seconds)
        self._webhooks = {webhook.name: webhook for webhook in webhooks}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        # The library tells of each request with its URL, at a level that is not shown; it shall never be.
        logging.getLogger("httpx2").setLevel(logging.WARNING)

    async def round(self) -> str:
        """Write down what is to be told, and send what is due."""
        fresh = await self._store.read(self._untold)
        if fresh:
            await self._store.write(lambda tx: notices.add(tx, fresh))
        due = await self._store.read(lambda tx: notices.due(tx, self._webhooks, limit=_BATCH))
        if not due:
            return ""
        async with self._client() as client:
            errors = await asyncio.gather(*(self._send(client, notice) for notice in due))
        after = await self._store.write(lambda tx: _book(tx, list(zip(due, errors, strict=True))))
        return self._told(due, errors, after)

    def _client(self) -> httpx2.AsyncClient:
        # No redirect is followed: what waits for approval is told to nobody but who was named.
        return httpx2.AsyncClient(timeout=_SEND_SECONDS, follow_redirects=False, trust_env=False)

    def _untold(self, tx: Tx) -> tuple[Notice, ...]:
        found: list[Notice] = []
        for name, webhook in self._webhooks.items():
            for action in notices.untold_waiting(tx, notices.REQUESTED, name):
                body = texts.of_action(notices.REQUESTED, action, webhook.kind)
                found.append(Notice(action.id, notices.REQUESTED, name, body))
            soon = tx.now + _EXPIRING_WITHIN
            for action in notices.untold_waiting(tx, notices.EXPIRING, name, expires_before=soon):
                # One that never waits for longer has been told of just now.
                if action.expires_at is not None and action.expires_at - action.created_at > 2 * _EXPIRING_WITHIN:
                    body = texts.of_action(notices.EXPIRING, action, webhook.kind)
                    found.append(Notice(action.id, notices.EXPIRING, name, body))
            for action in notices.untold_decided(tx, name):
                body = texts.of_action(notices.DECIDED, action, webhook.kind)
                found.append(Notice(action.id, notices.DECIDED, name, body))
            for incident in notices.untold_escalated(tx, name, since=tx.now - _ESCALATED_WITHIN):
                body = texts.of_incident(incident, webhook.kind)
                found.append(Notice(incident.id, notices.ESCALATED, name, body))
        return tuple(found)

    async def _send(self, client: httpx2.AsyncClient, notice: Notice) -> str:
        """Send a notice; return what went wrong, without the address, or an empty text."""
        webhook = self._webhooks[notice.endpoint]
        try:
            async with self._slots, asyncio.timeout(_SEND_SECONDS):
                headers = {"content-type": "application/json", "user-agent": "orquanta"}
                async with client.stream("POST", webhook.url, content=notice.body, headers=headers) as response:
                    status = response.status_code  # whatever else it says is not read
        except TimeoutError:
            return f"no answer within {_SEND_SECONDS:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return type(error).__name__
        if status in _SUCCESS:
            return ""
        return f"HTTP {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")  # noqa: PLR2004 - HTTP's own ranges

    def _told(self, due: Sequence[Notice], errors: Sequence[str], after: notices.Counts) -> str:
        arrived = sum(not error for error in errors)
        self.count("notices_sent", arrived)
        self.count("notices_failed", len(due) - arrived)
        self._counters["notices_waiting"] = after.waiting
        self._counters["notices_dead"] = after.dead
        told = [f"{arrived} notices sent"] if arrived else []
        for notice, error in zip(due, errors, strict=True):
            if error:
                host = self._webhooks[notice.endpoint].shown
                given_up = notice.attempts + 1 >= ATTEMPTS_MAX
                log.warning("notice.failed", subject_id=notice.subject_id, host=host, error=error, given_up=given_up)
                told.append(f"{notice.subject_id} to {host}: {error}{' (given up)' if given_up else ''}")
        return "; ".join(told[:4])


def _book(tx: Tx, outcomes: Sequence[tuple[Notice, str]]) -> notices.Counts:
    for notice, error in outcomes:
        if not error:
            notices.sent(tx, notice)
        else:
            notices.failed(tx, notice, error, again_after=_wait(notice.attempts + 1))
    return notices.counts(tx)


def _wait(attempts: int) -> timedelta | None:
    """Return how long to wait after so many attempts: twice as long each time; None to give up."""
    if attempts >= ATTEMPTS_MAX:
        return None
    return timedelta(seconds=min(_FIRST_WAIT_SECONDS << (attempts - 1), _WAIT_SECONDS_MAX))
