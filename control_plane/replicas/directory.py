"""Which replicas there are: each announces itself every second, and is there for as long as it does."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import structlog

from control_plane.bus.bucket import Bucket
from control_plane.bus.client import Message
from control_plane.clock import Clock
from control_plane.errors import OrQuantaError

log = structlog.get_logger()

KEYS: Final = "replica"

_ANNOUNCE_SECONDS: Final = 1.0
GONE_SECONDS: Final = 3.5
"""A replica that announced nothing for so long is gone, or cannot be reached by the others."""

_REMEMBERED_SECONDS: Final = 60.0
_REPLICAS_MAX: Final = 64
_TEXT_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a replica says of itself. `started_at`: ISO 8601, by its own clock, for people only."""

    name: str
    instance: str
    server: str
    link_server: str
    links: int
    version: str
    policy_version: str
    settings_version: str
    started_at: str


@dataclass(frozen=True, slots=True)
class Replica:
    """An announcement and how long ago it was heard."""

    said: Announcement
    silent_seconds: float


class Directory:
    """The replicas that this one has heard, itself among them. `about` says what it announces of itself.

    `link_servers` are addresses of daemons' ports that are told to hosts whether their replicas are there or not.
    """

    def __init__(self, about: Callable[[], Announcement], *, clock: Clock, link_servers: tuple[str, ...] = ()) -> None:
        self._about = about
        self._clock = clock
        self._configured = link_servers
        self._heard: dict[str, tuple[Announcement, float]] = {}
        self._warned: set[str] = set()

    @property
    def own_name(self) -> str:
        """The name of this replica."""
        return self._about().name

    async def run(self, bucket: Bucket) -> None:
        """Announce and listen until cancelled."""
        subscription = await bucket.watch(f"{KEYS}.*", self._take)
        try:
            while True:
                own = self._about()
                try:
                    await bucket.put(f"{KEYS}.{own.name}", json.dumps(asdict(own)).encode())
                except OrQuantaError as error:
                    log.debug("replica.not_announced", why=error.message)
                await asyncio.sleep(_ANNOUNCE_SECONDS)
        finally:
            await subscription.close()

    async def _take(self, message: Message) -> None:
        try:
            said = _read(message.data)
        except (ValueError, TypeError, KeyError) as error:
            log.warning("replica.announcement_refused", why=str(error)[:_TEXT_MAX])
            return
        own = self._about()
        if said.name == own.name:
            if said.instance != own.instance:
                self._warn(said.instance, "replica.name_taken", name=own.name, server=said.server)
            return
        self._heard[said.name] = (said, self._clock.monotonic())
        for field in ("settings_version", "policy_version", "version"):
            theirs, ours = getattr(said, field), getattr(own, field)
            if theirs and ours and theirs != ours:
                self._warn(f"{said.name} {field} {theirs} {ours}", "replica.differs", name=said.name, in_what=field)
        while len(self._heard) > _REPLICAS_MAX:
            del self._heard[min(self._heard, key=lambda name: self._heard[name][1])]

    def _warn(self, once: str, event: str, **fields: str) -> None:
        if once not in self._warned and len(self._warned) < _REPLICAS_MAX * 16:
            self._warned.add(once)
            log.warning(event, **fields)

    def replicas(self) -> tuple[Replica, ...]:
        """Return who was heard within the last minute, by name; this replica is always among them."""
        now = self._clock.monotonic()
        found = [Replica(said, now - at) for said, at in self._heard.values() if now - at <= _REMEMBERED_SECONDS]
        return tuple(sorted((Replica(self._about(), 0.0), *found), key=lambda one: one.said.name))

    def is_there(self, name: str) -> bool:
        """Return whether a replica announces itself."""
        if name == self.own_name:
            return True
        heard = self._heard.get(name)
        return heard is not None and self._clock.monotonic() - heard[1] <= GONE_SECONDS

    def link_servers(self) -> tuple[str, ...]:
        """Return every address at which hosts may link: the configured ones, and those of replicas that are there."""
        announced = [one.said.link_server for one in self.replicas() if one.silent_seconds <= GONE_SECONDS]
        return tuple(dict.fromkeys((*self._configured, *announced)))


def _read(data: bytes) -> Announcement:
    said = json.loads(data)
    links = int(said["links"])
    texts = {name: said[name] for name in Announcement.__slots__ if name != "links"}
    if any(not isinstance(text, str) or len(text) > _TEXT_MAX or not text.isprintable() for text in texts.values()):
        raise ValueError("a field is no short text")
    return Announcement(links=links, **texts)
