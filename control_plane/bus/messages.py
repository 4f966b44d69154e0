"""What comes off the bus and what comes back from it."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import Header

from control_plane.errors import OrQuantaError


@dataclass(frozen=True, slots=True)
class Message:
    """A core NATS message. It has no reply subject on purpose: nothing that a host sends is answered."""

    subject: str
    data: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for a stream, and the id by which the broker knows it if it comes again."""

    subject: str
    data: bytes
    message_id: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Published:
    """What became of messages that were sent together: the first `stored` are stored, and why the next one is not.

    Those after that one may be stored too, or not.
    """

    stored: int
    failure: OrQuantaError | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """JetStream's word that a message is stored. `duplicate`: it was there already, under the same id."""

    stream: str
    sequence: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message of a stream, handed to a durable consumer. It comes again until it is settled.

    deliveries: 1 at first. Settling is best effort: if the connection is cut meanwhile the message comes again,
    so whoever consumes must not mind seeing it twice.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str]
    stream_sequence: int
    deliveries: int
    _message: Msg

    @property
    def message_id(self) -> str | None:
        """The id that its publisher gave it."""
        return self.headers.get(Header.MSG_ID.value)

    async def ack(self) -> None:
        """Settle it: it is done with."""
        with contextlib.suppress(nats.errors.Error):
            await self._message.ack()

    async def retry(self, delay_seconds: float = 0) -> None:
        """Have it delivered again, after a delay."""
        with contextlib.suppress(nats.errors.Error):
            await self._message.nak(delay=delay_seconds)

    async def discard(self) -> None:
        """Settle it as one that cannot be processed: it never comes again."""
        with contextlib.suppress(nats.errors.Error):
            await self._message.term()
