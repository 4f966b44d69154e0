"""Hands what a stream has to say to its reader, and gives up on one that does not read."""

import asyncio
from typing import Any

from grpc import aio

from control_plane.errors import Unavailable

SLOW_READER_SECONDS = 30.0
"""How long the next message of a stream may wait for its reader."""

# Any: gRPC's context is generic in the message types of each method.
Context = aio.ServicerContext[Any, Any]


async def hand_over(context: Context, message: Any, *, first: bool) -> None:  # Any: bytes, or what gRPC serializes
    """Give a stream's next message to gRPC, which takes it once there is room on its way to the reader.

    Nothing is queued behind it: a reader that has stopped reading holds one message, and what that was read from, until
    it is dropped here. `first`: nothing was sent on this stream yet. Raises Unavailable, after which clients come back
    by themselves.
    """
    if first:
        # By itself: what is sent together with a message that is then given up cannot be sent again with the status.
        await context.send_initial_metadata(())
    try:
        async with asyncio.timeout(SLOW_READER_SECONDS):
            await context.write(message)
    except TimeoutError:
        raise too_slow() from None


def too_slow() -> Unavailable:
    """Return the error for a reader that has not taken the next message for SLOW_READER_SECONDS."""
    return Unavailable(
        f"this stream was not read for {SLOW_READER_SECONDS:g} s: read faster, or call again with the last "
        "resume_token received and go on from there",
        reason="READER_TOO_SLOW",
    )
