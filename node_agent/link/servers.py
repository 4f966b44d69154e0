"""Which link server to call: each host has an order of its own, so that a fleet spreads over them."""

import hashlib
import itertools
import random
from collections.abc import Iterable

import structlog

from node_agent.errors import SettingsInvalid
from node_agent.link.backoff import Backoff
from node_agent.link.tls import Address

log = structlog.get_logger()

SERVERS_MAX = 16
_ADDRESS_MAX = 300
_SPREAD_SECONDS = 0.25  # between a lost server and the next, so that not all of its hosts call there at once


class LinkServers:
    """The addresses that are known, in the host's order, and the one to call next.

    The order follows from the host's id and the addresses alone: it is the same after a restart, and where one server
    is gone its hosts spread over all others.
    """

    def __init__(self, node_id: str, known: Iterable[str], chance: random.Random | None = None) -> None:
        self._node_id = node_id
        self._known = self._ordered(known)
        self._next = 0
        self._failures = 0
        self._chance = chance or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._backoff = Backoff(self._chance)

    @property
    def known(self) -> tuple[str, ...]:
        """Every address, the preferred one first."""
        return self._known

    @property
    def current(self) -> str:
        """The address to call now."""
        return self._known[self._next % len(self._known)]

    def learn(self, told: Iterable[str]) -> bool:
        """Add addresses that a control plane has told; return whether any was not known.

        Those of before stay, behind them where there are too many: a control plane that is away just now comes back.
        """
        together = tuple(dict.fromkeys((*told, *self._known)))[:SERVERS_MAX]
        if set(together) == set(self._known):
            return False
        current = self.current
        self._known = self._ordered(together)
        self._next = self._known.index(current) if current in self._known else 0
        return True

    def start_over(self) -> None:
        """Call the preferred server next: hosts that followed a lost one come back to it in time."""
        self._next = 0

    def ended(self, *, welcomed: bool, lived_seconds: float, stay: bool) -> float:
        """Take note that a stream is over, and choose the next server; return how many seconds to wait before.

        `stay`: the server itself wants the host to call again. Each other server is tried at once; only when none of
        them has answered the pauses grow.
        """
        if welcomed:
            self._failures = 0
        self._failures += 1
        if not stay:
            self._next += 1
        if self._failures < len(self._known):
            return self._chance.uniform(0.0, _SPREAD_SECONDS)
        return self._backoff.next_seconds(lived_seconds)

    def _ordered(self, servers: Iterable[str]) -> tuple[str, ...]:
        def rank(server: str) -> bytes:
            return hashlib.sha256(f"{self._node_id} {server}".encode()).digest()

        return tuple(sorted(dict.fromkeys(servers), key=rank))


def addresses(told: Iterable[str]) -> tuple[str, ...]:
    """Return those of the texts that are addresses, as `host:port`; what else a control plane tells is left out."""
    found = []
    for text in itertools.islice(told, SERVERS_MAX):
        try:
            found.append(str(Address.parse(text[:_ADDRESS_MAX])))
        except SettingsInvalid:
            log.warning("link.server_address_refused", address=ascii(text[:_ADDRESS_MAX]))
    return tuple(found)
