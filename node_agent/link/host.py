"""What the link needs from the rest of the daemon; daemon.py puts the real parts behind it."""

from collections.abc import Sequence
from typing import Protocol

from orquanta.v1 import health_pb2, node_link_pb2, node_pb2, repair_pb2


class Host(Protocol):
    """The host as the link sees it. No method may block; what takes time is awaited."""

    def inventory(self) -> node_pb2.HostInventory:
        """Return what the host is made of."""
        ...

    def member_reports(self) -> Sequence[node_link_pb2.MemberReport]:
        """Return the state of every member whose end was not acknowledged yet."""
        ...

    async def converge(
        self, members: Sequence[node_link_pb2.MemberAssignment], stops: Sequence[node_link_pb2.MemberStop]
    ) -> None:
        """Start what is missing, stop what is not listed: as `stops` says, or else with a checkpoint first.

        Called again with the newest lists after a failure.
        """
        ...

    async def acknowledge(self, allocation_id: str, rank: int) -> None:
        """Take note that the end of a member is in the control plane's books."""
        ...

    async def set_fence(self, boottime_seconds: float) -> None:
        """Let jobs run until this moment on CLOCK_BOOTTIME if nothing is heard from the control plane."""
        ...

    async def extend_fence(self, boottime_seconds: float) -> None:
        """Let jobs run until this moment on CLOCK_BOOTTIME, or for as long as they may already if that is longer."""
        ...

    def conditions(self) -> Sequence[health_pb2.Condition]:
        """Return every condition of now, worst first, at most 500 and 1 MiB together."""
        ...

    def repair_report(self) -> repair_pb2.RepairReport | None:
        """Return the repair in progress, or else the last one; None if the host remembers none."""
        ...

    def policy_version(self) -> int:
        """Return the version of the local policy that the host holds; 0 if it holds none."""
        ...

    async def heed(self, order: node_link_pb2.DesiredState) -> None:
        """Take up what an order says beside its members: a repair, the local policy, words about conditions.

        Called with each order, and again after each reconnect, so it must do nothing twice. Does not wait for a repair.
        """
        ...

    def use_nats(self, servers: Sequence[str]) -> None:
        """Send telemetry and logs to these servers; none if empty."""
        ...


class Records(Protocol):
    """The host's spool as the link sees it. Sequences only grow."""

    @property
    def spool_id(self) -> str:
        """The spool that records come from."""
        ...

    @property
    def acknowledged(self) -> int:
        """Records up to this sequence are in the control plane's books."""
        ...

    @property
    def visible(self) -> int:
        """Records up to this sequence can be read."""
        ...

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until a record after `sequence` can be read."""
        ...

    async def read_from(self, sequence: int) -> node_link_pb2.SpoolBatch | None:
        """Return the oldest records from `sequence` on, as many as one message may hold; None to try again later."""
        ...

    async def acknowledge(self, spool_id: str, sequence: int) -> None:
        """Take note that records up to `sequence` are in the control plane's books."""
        ...


class BootClock(Protocol):
    """A clock that goes on while the host sleeps, shared by all its processes."""

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME in seconds."""
        ...
