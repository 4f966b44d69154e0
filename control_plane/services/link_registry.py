"""Which hosts are linked now, and when each was last heard. In memory: a heartbeat costs no write."""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from control_plane.clock import Clock
from control_plane.model.ids import NodeId
from control_plane.services.allowance import Allowance

ChangeHook = Callable[[NodeId, bool], None]
"""Called with a node and whether its link is up now; must not block or raise."""

_REPLACEMENTS_MAX: Final = 6
_REPLACEMENTS_SECONDS: Final = 60.0
_RIVALS_TOLD_SECONDS: Final = 600.0
_ON_THE_WAY_SECONDS: Final = 5.0
"""What was heard of a stream within this time after another boot of its host called may have been said before."""

STREAMS_AT_ONCE: Final = 60
_STREAMS_PER_SECOND: Final = 0.5
"""A host may open this many streams at once, and then one every two seconds: each costs a full state and writes."""


class Link(Protocol):
    """One host's live stream."""

    @property
    def node_id(self) -> NodeId:
        """The node of its certificate."""
        ...

    @property
    def boot_id(self) -> str:
        """The boot of the host that speaks."""
        ...

    def end(self, reason: str, *, permanent: bool = False, retry_after_seconds: float = 0.0) -> None:
        """Say farewell and end the stream; returns at once."""
        ...


@dataclass(frozen=True, slots=True)
class Rival:
    """Why a second stream of a node must not replace the first.

    `may_be_left`: the host may have been booted anew and have left the first one behind. If not, somebody is told.
    """

    why: str
    may_be_left: bool = False


class LinkRegistry:
    """The live links of this control plane; belongs to one event loop.

    A node that was not heard since this control plane started counts as heard at its start: while the control
    plane was away nobody could be heard, and that is nobody's fault.

    Make it after the store was opened: from then on this control plane is the one in charge, until another takes over.
    With `shared` several are in charge of links at once, and what one hears counts when it is written down.
    """

    def __init__(self, *, clock: Clock, shared: bool = False) -> None:
        self._clock = clock
        self._shared = shared
        self._reported: dict[NodeId, float] = {}
        self._started = clock.monotonic()
        self._in_charge_at = self._started
        self._links: dict[NodeId, Link] = {}
        self._last_heard: dict[NodeId, float] = {}
        self._heard_since_taken: set[NodeId] = set()
        self._excused: dict[NodeId, float] = {}
        self._no_more: set[NodeId] = set()  # no more than there are hosts
        self._replaced: dict[NodeId, deque[float]] = {}
        self._rivals: dict[NodeId, float] = {}
        self._called: dict[NodeId, float] = {}  # since when another boot of a linked node has called
        self._boots: dict[NodeId, tuple[str, str]] = {}  # which was linked last, and which one before it
        self._openings: dict[NodeId, Allowance] = {}
        self._hooks: list[ChangeHook] = []
        self.hosts = 0
        """How many hosts may be linked in all: those that are not lost or revoked, the most since the start."""
        self._lease_seconds = 0.0
        self._told_at = -math.inf
        self._told_before_seconds = 0.0
        self._in_charge_seconds = math.inf

    def connected(self, node_id: NodeId) -> bool:
        """Return whether the node's link is up."""
        return node_id in self._links

    def connected_nodes(self) -> tuple[NodeId, ...]:
        """Return every node whose link is up."""
        return tuple(self._links)

    @property
    def lease_seconds(self) -> float:
        """The longest lease that a host was told, by this control plane or by one before it that may still count."""
        return max(self._lease_seconds, self._told_before_seconds)

    def note_lease(self, seconds: float, *, in_charge_seconds: float) -> None:
        """Take note that hosts are told this lease from now on, and for how long this control plane is in charge.

        The latter must not stretch with the lease: whoever takes over counts on the one that was set.
        """
        self._lease_seconds = max(self._lease_seconds, seconds)
        self._in_charge_seconds = in_charge_seconds

    def note_told(self, at: float) -> None:
        """Take note that at this monotonic time it was still to be written how long a lease this control plane tells.

        It was written since, so whoever judges silence knows of it.
        """
        self._told_at = at

    def note_told_before(self, seconds: float) -> None:
        """Take note of the longest lease that control planes before this one have told.

        When it counts no more, hosts that were not heard since still have as long as it said.
        """
        before, self._told_before_seconds = self.lease_seconds, seconds
        self._started += max(0.0, before - self.lease_seconds)

    def note_in_charge(self, at: float) -> None:
        """Take note that at this monotonic time no other control plane had taken over."""
        self._in_charge_at = at

    def in_charge_within(self, seconds: float) -> bool:
        """Return whether this control plane was surely in charge so many seconds ago, or later.

        One that was not may not acknowledge heartbeats: another one may be counting the silence of the same hosts.
        """
        return self._clock.monotonic() - self._in_charge_at <= seconds

    def note_reported(self, node_ids: Iterable[NodeId], at: float) -> None:
        """Take note that it is written down for all replicas that these nodes were heard before this monotonic time."""
        self._reported.update(dict.fromkeys(node_ids, at))

    def may_acknowledge(self, node_id: NodeId, seconds: float) -> bool:
        """Return whether a heartbeat may be acknowledged: whoever counts this node's silence surely knows of it.

        That is so if nobody else counted so many seconds ago; where replicas share the work, if the one that counts
        could read that recently that the node was heard, and how long a lease it may have been told.
        """
        if not self._shared:
            return self.in_charge_within(min(seconds, self._in_charge_seconds))
        known_at = min(self._told_at, self._reported.get(node_id, -math.inf))
        return self._clock.monotonic() - known_at <= seconds

    def counted_seconds_ago(self, node_id: NodeId, boot_id: str) -> float | None:
        """Return how long ago the node's silence begins at the earliest, whoever counts it; None if nobody knows.

        One that is to come back later than now, and whose standing was looked up, is not silent yet. Of another boot
        than the one that is linked nothing is known.
        """
        present = self._links.get(node_id)
        if present is not None and present.boot_id != boot_id:
            return None
        now = self._clock.monotonic()
        if self._shared:
            at = self._reported.get(node_id)
        else:
            known = [at for at in (self._last_heard.get(node_id), self._excused.get(node_id)) if at is not None]
            at = min(max(known), now, self._in_charge_at) if known else None
        return None if at is None else now - at

    def last_heard(self, node_id: NodeId) -> float:
        """Return the monotonic time at which the node was last heard, at the earliest this control plane's start."""
        return self._last_heard.get(node_id, self._started)

    def silent_for_seconds(self, node_id: NodeId) -> float:
        """Return for how long nothing was heard of the node, or since when it was to come back."""
        return max(0.0, self._clock.monotonic() - max(self.last_heard(node_id), self._excused.get(node_id, 0.0)))

    def on_change(self, hook: ChangeHook) -> None:
        """Have `hook` called whenever a link comes up or goes down."""
        self._hooks.append(hook)

    def link(self, node_id: NodeId) -> Link | None:
        """Return the node's live link."""
        return self._links.get(node_id)

    def links(self) -> tuple[Link, ...]:
        """Return every live link."""
        return tuple(self._links.values())

    def heard(self, node_id: NodeId) -> None:
        """Take note that something was heard of a node."""
        self._last_heard[node_id] = self._clock.monotonic()
        self._heard_since_taken.add(node_id)

    def look_up_excuses(self) -> Collection[NodeId]:
        """Return the nodes which, from now until the next call, are linked after all, linked elsewhere, or forgotten.

        What is looked up meanwhile about one of them says nothing any more: it must not be excused.
        """
        self._no_more = set()
        return self._no_more

    def excuse(self, node_id: NodeId, until: float) -> None:
        """Take note that a host was told to come back at this monotonic time: until then its silence is no fault."""
        self._excused[node_id] = until

    def excuse_no_more(self, node_id: NodeId) -> None:
        """Take note that a host which was to come back here is linked to another control plane: that one hears it.

        When it was last heard here says no more for how long its jobs may run.
        """
        self._no_more.add(node_id)
        self._excused.pop(node_id, None)
        self._reported.pop(node_id, None)

    def take_heard(self) -> tuple[NodeId, ...]:
        """Return the nodes heard since the last call, and those that were told to come back later than now."""
        now = self._clock.monotonic()
        excused = [node_id for node_id, until in self._excused.items() if until > now]
        heard, self._heard_since_taken = tuple(sorted(self._heard_since_taken.union(excused))), set()
        return heard

    def give_back_heard(self, node_ids: Iterable[NodeId]) -> None:
        """Return nodes whose being heard could not be recorded."""
        self._heard_since_taken.update(node_ids)

    def may_open(self, node_id: NodeId) -> bool:
        """Count a stream that a node opens; return whether it has not opened too many lately."""
        allowance = self._openings.get(node_id)
        if allowance is None:
            allowance = Allowance(self._clock, at_once=STREAMS_AT_ONCE, per_second=_STREAMS_PER_SECOND)
            self._openings[node_id] = allowance
        return allowance.take()

    def rival(self, node_id: NodeId, boot_id: str, *, alive_seconds: float) -> Rival | None:
        """Return why a second stream of a node must not replace the first, or nothing if it may.

        A host that reconnects has the same boot id, and one that was booted anew leaves a silent stream behind.
        Anything else is two hosts with one identity, or two daemons on one host that keep replacing each other.
        """
        present = self._links.get(node_id)
        if present is None:
            return None
        if present.boot_id != boot_id:
            # Heard, not excused: it was the newcomer that was put off.
            if self._clock.monotonic() - self.last_heard(node_id) >= alive_seconds:
                return None
            self._called.setdefault(node_id, self._clock.monotonic())
            why = "another host is connected with the same certificate"
            return Rival(why, may_be_left=not (self._is_back(node_id, boot_id) or self._told_lately(node_id)))
        now = self._clock.monotonic()
        times = self._replaced.setdefault(node_id, deque(maxlen=_REPLACEMENTS_MAX))
        if len(times) == _REPLACEMENTS_MAX and now - times[0] < _REPLACEMENTS_SECONDS:
            return Rival("two daemons of one host keep replacing each other")
        times.append(now)
        return None

    def _is_back(self, node_id: NodeId, boot_id: str) -> bool:
        """Return whether this boot was linked before another one was: no host goes back to a boot that is over."""
        return boot_id == self._boots.get(node_id, ("", ""))[1]

    def two_at_once(self) -> tuple[NodeId, ...]:
        """Return the nodes whose live stream has spoken on after another boot of theirs called; of each but once.

        Also those which were linked with one boot, then with another, and then with the first again.
        """
        spoke = [node_id for node_id, at in self._called.items() if self.last_heard(node_id) > at + _ON_THE_WAY_SECONDS]
        for node_id in spoke:
            del self._called[node_id]
        return tuple(node_id for node_id in spoke if self.first_rival(node_id))

    def first_rival(self, node_id: NodeId) -> bool:
        """Return whether no rival of this node was told of in the last ten minutes."""
        if self._told_lately(node_id):
            return False
        self._rivals[node_id] = self._clock.monotonic()
        return True

    def _told_lately(self, node_id: NodeId) -> bool:
        return self._clock.monotonic() - self._rivals.get(node_id, -math.inf) < _RIVALS_TOLD_SECONDS

    def add(self, link: Link) -> None:
        """Make this the node's live link; the one before is ended."""
        before = self._links.get(link.node_id)
        self._links[link.node_id] = link
        if before is not None and before.boot_id != link.boot_id:
            self._called.pop(link.node_id, None)
        if self._is_back(link.node_id, link.boot_id):
            self._called[link.node_id] = -math.inf
        last, _ = self._boots.get(link.node_id, ("", ""))
        if last != link.boot_id:
            self._boots[link.node_id] = (link.boot_id, last)
        self._no_more.add(link.node_id)
        self._excused.pop(link.node_id, None)
        self.heard(link.node_id)
        if before is not None:
            before.end("replaced: a newer stream of this node took over")
        else:
            self._tell(link.node_id, up=True)

    def remove(self, link: Link) -> bool:
        """Take a link out; return whether it was its node's live one."""
        if self._links.get(link.node_id) is not link:
            return False
        del self._links[link.node_id]
        self._called.pop(link.node_id, None)
        self._tell(link.node_id, up=False)
        return True

    def forget(self, node_id: NodeId) -> None:
        """Drop what is known of a node that left the fleet."""
        self._no_more.add(node_id)
        self._last_heard.pop(node_id, None)
        self._excused.pop(node_id, None)
        self._reported.pop(node_id, None)
        self._heard_since_taken.discard(node_id)
        self._replaced.pop(node_id, None)
        self._rivals.pop(node_id, None)
        self._called.pop(node_id, None)
        self._boots.pop(node_id, None)
        self._openings.pop(node_id, None)

    def _tell(self, node_id: NodeId, *, up: bool) -> None:
        for hook in self._hooks:
            hook(node_id, up)
