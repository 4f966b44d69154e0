"""What the link needs from the rest of the daemon; daemon.py puts the real parts behind it."""

from collections.abc import Sequence
from typing import Protocol

from orquanta.v1 import node_link_pb2, node_pb2


class Host(Protocol):
    """The host as the link sees it. No method may block; what takes time is awaited."""

    def inventory(self) -> node_pb2.HostInventory:
        """Return what the host is made of."""
        ...

    def member_reports(self) -> Sequence[node_link_pb2.MemberReport]:
        """Return the state of every member whose end was not acknowledged yet."""
        ...

    async def converge(self, members: Sequence[node_link_pb2.MemberAssignment]) -> None:
        """Start what is missing, stop what is not listed. Called again with the newest list after a failure."""
        ...

    async def acknowledge(self, allocation_id: str, rank: int) -> None:
        """Take note that the end of a member is in the control plane's books."""
        ...

    async def set_fence(self, boottime_seconds: float) -> None:
        """Let jobs run until this moment on CLOCK_BOOTTIME if nothing is heard from the control plane."""
        ...

    def use_nats(self, servers: Sequence[str]) -> None:
        """Send telemetry and logs to these servers; none if empty."""
        ...


class BootClock(Protocol):
    """A clock that goes on while the host sleeps, shared by all its processes."""

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME in seconds."""
        ...
