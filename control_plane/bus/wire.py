"""nats-py's client, made safe against what a hostile host may put on the wire.

nats-py decodes subjects and inline header lines strictly and lets the error end its read loop, and it swallows a
cancellation that arrives while its buffer is being flushed.
"""

from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from control_plane.bus.cancellation import heeded

_SETTLE_SECONDS: Final = 2


class WireClient(Client):
    """A client that outlives subjects and headers that are not text.

    Such a message arrives with replacement characters in its subject, or without headers: whoever reads it finds
    that it is malformed and discards it.
    """

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        return Msg(
            _client=self,
            subject=subject.decode(errors="replace"),
            reply=reply.decode(errors="replace"),
            data=data,
            headers=headers,
            _sid=sid,
        )

    async def publish(self, *args: Any, **options: Any) -> None:
        """Publish as nats-py does, and be cancelled when the task is. Any: nats-py's own signature."""
        with heeded():
            await super().publish(*args, **options)

    async def settle(self) -> None:
        """Return when the broker has processed all that was sent before.

        nats-py's ping overtakes what is still in its buffer; the second one cannot, for the answer to the first
        comes after the buffer has been written.
        """
        await self.flush(timeout=_SETTLE_SECONDS)
        await self.flush(timeout=_SETTLE_SECONDS)
