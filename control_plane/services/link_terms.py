"""What a control plane and its hosts agree on when a stream begins."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Self

from control_plane.fleet.faults import VERDICT_SECONDS
from control_plane.model.ids import NodeId
from orquanta.v1 import node_link_pb2

BEATS_PER_SECOND: Final = 500
"""Heartbeats of all hosts together; where there are more hosts, each beats less often."""

BEATS_IN_A_LEASE: Final = 3
_LATE_SECONDS: Final = 15.0
"""However seldom heartbeats are, none is late by more on its way."""

LONGEST_LEASE_SECONDS: Final = 120.0
"""A lease does not stretch beyond that of twenty thousand hosts."""


@dataclass(frozen=True, slots=True)
class LinkTerms:
    """Intervals of the link, and the life of the certificates that are renewed over it.

    `hello_seconds`: how long a fresh stream may say nothing. `flush_seconds`: how often `last_seen` is written.
    `verdict_seconds`: how long a failed attempt waits for word of a fault of its GPUs.
    """

    heartbeat_seconds: float = 3.0
    lease_seconds: float = 15.0
    fence_seconds: float = 300.0
    certificate_lifetime: timedelta = timedelta(hours=24)
    hello_seconds: float = 10.0
    flush_seconds: float = 5.0
    verdict_seconds: float = VERDICT_SECONDS

    def among(self, hosts: int) -> Self:
        """Return the terms where one control plane has so many hosts: the lease has room for three beats of each.

        It is never shorter than it was set, nor longer than the fence: for so long hosts would let their jobs run then.
        """
        room = min(hosts * BEATS_IN_A_LEASE / BEATS_PER_SECOND, LONGEST_LEASE_SECONDS, self.fence_seconds)
        return self if room <= self.lease_seconds else replace(self, lease_seconds=room)

    def heartbeat_of(self, hosts: int) -> float:
        """Return how often a host beats where there are so many, in seconds: thrice in a lease is always enough.

        A heartbeat and its answer cost the control plane 0.3 ms; ten thousand hosts would keep a core busy with nothing
        else.
        """
        return max(self.heartbeat_seconds, min(hosts / BEATS_PER_SECOND, self.lease_seconds / BEATS_IN_A_LEASE))

    def alive_seconds_of(self, hosts: int) -> float:
        """Where there are so many hosts, a stream silent for longer than this may be one that its host left behind."""
        beat = self.heartbeat_of(hosts)
        return min(beat + min(1.5 * beat, _LATE_SECONDS), self.lease_seconds)

    def welcome(
        self,
        node_id: NodeId,
        control_epoch: int,
        nats_servers: tuple[str, ...],
        now: datetime,
        link_servers: tuple[str, ...] = (),
        *,
        hosts: int = 0,
    ) -> node_link_pb2.ConnectResponse:
        """Return the first message of an accepted stream; `hosts`: how many there are in all."""
        welcome = node_link_pb2.Welcome(
            node_id=node_id, control_epoch=control_epoch, nats_servers=nats_servers, link_servers=link_servers
        )
        welcome.heartbeat_interval.FromTimedelta(timedelta(seconds=self.heartbeat_of(hosts)))
        welcome.lease.FromTimedelta(timedelta(seconds=self.lease_seconds))
        welcome.fence.FromTimedelta(timedelta(seconds=self.fence_seconds))
        welcome.server_time.FromDatetime(now)
        return node_link_pb2.ConnectResponse(welcome=welcome)

    def fence_of(self, counted_seconds_ago: float | None) -> float:
        """Return for how many seconds the jobs of a host may run whose silence began so long ago; 0 if for none."""
        return 0.0 if counted_seconds_ago is None else max(0.0, self.fence_seconds - counted_seconds_ago)


def farewell(reason: str, *, permanent: bool = False, retry_after_seconds: float = 0.0) -> node_link_pb2.Disconnect:
    """Return the last message of a stream."""
    made = node_link_pb2.Disconnect(reason=reason, permanent=permanent)
    made.retry_after.FromTimedelta(timedelta(seconds=retry_after_seconds))
    return made
