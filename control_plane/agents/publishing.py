"""Publishes what must be told in order: many messages in flight at once, and again what is not known to be stored."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from control_plane.bus.client import AT_ONCE_MAX, Bus, Outgoing
from control_plane.errors import Unavailable

log = structlog.get_logger()

_RETRY_SECONDS: Final = 0.5


async def publish_all(bus: Bus, messages: Sequence[Outgoing], *, who: str) -> None:
    """Publish messages to their streams in this order; while the broker is away, wait.

    What the broker refuses for good is left out, and the log says so. `who` publishes, for the log.
    """
    stored, at_once = 0, AT_ONCE_MAX
    while stored < len(messages):
        told = await bus.publish_events(messages[stored : stored + at_once])
        stored += told.stored
        at_once = AT_ONCE_MAX
        if told.failure is None:
            continue
        which, why = messages[stored].message_id, told.failure
        if isinstance(why, Unavailable):
            log.warning("publishing.waiting", who=who, message_id=which, reason=why.reason)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            log.error("publishing.skipped", who=who, message_id=which, reason=why.reason, error=why.message)
            stored, at_once = stored + 1, 1  # the next one tells whether it is refused too
