"""Finds out whether a stream was left behind by a host that has been booted anew."""

from control_plane.services.link_registry import Link
from control_plane.services.link_session import LinkSession


def ask_for_a_sign(link: Link | None) -> None:
    """Say something on a stream that means nothing: a host that knows of no such connection any more resets it.

    What waits to be said already is as good.
    """
    if isinstance(link, LinkSession) and not link.outbox.closed and not link.outbox.waiting:
        link.outbox.put_heartbeat_ack(0)  # heartbeats are counted from 1
