"""However hosts, replicas, database and lead come and go: no host's jobs start elsewhere before it has stopped them."""

import asyncio
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from sqlmodel import col

from control_plane.agents.healing import Leases
from control_plane.model.ids import NodeId
from control_plane.model.node import NodeState
from control_plane.replicas.directory import Announcement, Directory
from control_plane.replicas.silence import FleetSilence
from control_plane.services import link_terms
from control_plane.services.link_lease import LinkLease
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_terms import LinkTerms
from control_plane.store import nodes, told_leases
from control_plane.store.database import Store, Tx
from control_plane.store.tables import NodeRow
from tests.control_plane.world import World
from tests.fake_clock import FakeClock

TERMS: Final = LinkTerms(heartbeat_seconds=1.0, lease_seconds=3.0, fence_seconds=20.0)
SET: Final = Leases(TERMS.lease_seconds, TERMS.fence_seconds, margin_seconds=0.0)
FLEET: Final = 8
NAMES: Final = ("alpha", "beta")
SAID: Final = Announcement("alpha", "1", "a:1", "a:2", 0, "0.1.0", "p", "s", "2026-05-04T12:00:00+00:00")


@dataclass
class Replica:
    """The parts of one control plane that tell leases and acknowledge heartbeats."""

    registry: LinkRegistry
    lease: LinkLease
    sees_books: bool = True
    tells: bool = True


@dataclass
class Host:
    """The host in question, as it knows itself."""

    node_id: NodeId
    linked_to: str = ""
    lease_seconds: float = 0.0
    fence_at: float = 0.0
    beats_at: float = 0.0
    is_cut_off: bool = False


@dataclass
class Site:
    """Two replicas, a host, and who leads: real parts over one real database, moved by hand."""

    store: Store
    clock: FakeClock
    host: Host
    silence: FleetSilence
    replicas: dict[str, Replica] = field(default_factory=dict)
    leader_stands_still: bool = False

    async def start(self, name: str) -> None:
        """Start a replica, in the place of one that was killed."""
        registry = LinkRegistry(clock=self.clock, shared=True)
        replica = Replica(registry, LinkLease(self.store, registry, clock=self.clock, terms=TERMS))
        self.replicas[name] = replica
        await replica.lease.count()
        if self.host.linked_to == name:
            self.host.linked_to = ""

    async def fleet(self, hosts: int) -> None:
        """Make the fleet so large, and have whoever sees the books count it."""
        await self.store.write(partial(_resize, hosts=hosts))
        for replica in self.replicas.values():
            if replica.sees_books:
                await replica.lease.count()

    async def link(self, name: str) -> None:
        """Link the host to a replica, if that can write it down."""
        replica, host = self.replicas[name], self.host
        if host.is_cut_off or not replica.sees_books:
            return
        asked_at = self.clock.monotonic()
        await self.store.write(lambda tx: nodes.seen(tx, [host.node_id], self.clock.now()))
        replica.registry.note_reported([host.node_id], asked_at)
        host.linked_to, host.beats_at = name, asked_at
        host.lease_seconds = TERMS.among(replica.registry.hosts).lease_seconds
        host.fence_at = asked_at + TERMS.fence_seconds

    async def second(self) -> None:
        """Let a second pass, in which everybody does what is due."""
        self.clock.advance(1.0)
        host, now = self.host, self.clock.monotonic()
        for name, replica in self.replicas.items():
            if name == host.linked_to and not host.is_cut_off and now >= host.beats_at:
                host.beats_at = now + host.lease_seconds / 3
                replica.registry.heard(host.node_id)
                if replica.registry.may_acknowledge(host.node_id, host.lease_seconds) and now < host.fence_at:
                    host.fence_at = now + TERMS.fence_seconds
            if replica.sees_books and (heard := replica.registry.take_heard()):
                await self.store.write(partial(nodes.seen, node_ids=heard, at=self.clock.now()))
                replica.registry.note_reported(heard, now)
            if replica.sees_books and replica.tells:
                await replica.lease.tell_again()
        if not self.leader_stands_still:
            await self.silence.look()
            self.check()

    def check(self) -> None:
        """The invariant: who has given a host up is right in that its jobs have stopped."""
        host, now = self.host, self.clock.monotonic()
        judged = Leases(max(SET.lease_seconds, self.silence.lease_seconds), SET.fence_seconds, SET.margin_seconds)
        if self.silence.silent_for_seconds(host.node_id) > judged.give_up_seconds(0.0):
            assert now >= host.fence_at, "its jobs start elsewhere while it runs them"
        if host.linked_to:
            registry = self.replicas[host.linked_to].registry
            if registry.may_acknowledge(host.node_id, host.lease_seconds):
                assert judged.lease_seconds >= host.lease_seconds, "it is judged by less than it was told"


def _resize(tx: Tx, hosts: int) -> None:
    ids = sorted(node.id for node in nodes.states(tx, None))
    for members, state in ((ids[:hosts], NodeState.READY), (ids[hosts:], NodeState.LOST)):
        tx.session.execute(update(NodeRow).where(col(NodeRow.id).in_(members)).values(state=state.value))


Step = tuple[str, str | int | None]

STEPS: Final[st.SearchStrategy[Step]] = st.one_of(
    st.tuples(st.just("pass"), st.integers(1, 30)),
    st.tuples(st.just("pass"), st.integers(1, 3)),
    st.tuples(st.just("fleet"), st.integers(1, FLEET)),
    st.tuples(st.sampled_from(["link", "kill", "cut", "mend", "mute"]), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(["cut host", "mend host", "lead", "stop leader"]), st.none()),
)


async def play(site: Site, steps: list[Step]) -> None:
    """Take each step; then cut the host off and wait until it must have been given up."""
    await site.store.write(lambda tx: told_leases.forget(tx, told_leases.every(tx)))
    await site.fleet(1)
    for name in NAMES:
        await site.start(name)
    for what, argument in [*steps, ("mend", "alpha"), ("cut host", None), ("lead", None), ("pass", 60)]:
        await take(site, what, argument)


async def take(site: Site, what: str, argument: str | int | None) -> None:
    """Take one step."""
    if isinstance(argument, int):
        if what == "fleet":
            await site.fleet(argument)
        for _ in range(argument if what == "pass" else 0):
            await site.second()
    elif argument is not None:
        await take_at(site, what, argument)
    elif what == "lead":
        site.silence, site.leader_stands_still = _leader(site.store, site.clock), False
    elif what == "stop leader":
        site.leader_stands_still = not site.leader_stands_still
    else:
        site.host.is_cut_off = what == "cut host"


async def take_at(site: Site, what: str, name: str) -> None:
    """Take one step at a replica."""
    replica = site.replicas[name]
    if what == "link":
        await site.link(name)
    elif what == "kill":
        await site.start(name)
    elif what == "mute":
        replica.tells = not replica.tells
    else:
        replica.sees_books = what == "mend"


def _leader(store: Store, clock: FakeClock) -> FleetSilence:
    return FleetSilence(store, Directory(lambda: SAID, clock=clock))


@pytest.fixture(autouse=True)
def large_fleets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each host counts for many: the lease stretches from three hosts on, up to the fence."""
    monkeypatch.setattr(link_terms, "BEATS_PER_SECOND", 2)


async def opened(url: str) -> Site:
    clock = FakeClock()
    store = await Store.open(url, clock=clock, shared=True)
    world = World.on(store, clock)
    made = [await world.node(f"node-{number}", gpu=1) for number in range(FLEET)]
    return Site(store, clock, Host(min(node.id for node in made)), _leader(store, clock))


UNTOLD: Final[list[Step]] = [
    ("fleet", FLEET), ("link", "alpha"), ("pass", 3), ("fleet", 1), ("kill", "beta"), ("mute", "alpha"), ("pass", 40),
]  # fmt: skip
"""A replica says who was heard, but no longer how long a lease it told."""

CUT_OFF: Final[list[Step]] = [
    ("fleet", FLEET), ("link", "alpha"), ("pass", 3), ("fleet", 1), ("kill", "beta"), ("cut", "alpha"), ("pass", 60),
]  # fmt: skip
"""A replica that told a long lease no longer sees the books, and is forgotten there while its host still runs jobs."""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(steps=st.lists(STEPS, min_size=4, max_size=20))
@example(steps=UNTOLD)
@example(steps=CUT_OFF)
def test_a_host_is_given_up_only_after_its_fence(migrated_sqlite: Path, tmp_path: Path, steps: list[Step]) -> None:
    path = tmp_path / "books.db"
    shutil.copy(migrated_sqlite, path)

    async def run() -> None:
        site = await opened(f"sqlite:///{path}")
        try:
            await play(site, steps)
        finally:
            await site.store.close()

    asyncio.run(run())
