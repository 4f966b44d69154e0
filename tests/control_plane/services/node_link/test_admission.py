"""Hosts that call all at once: a few are taken up, the rest hear at once when to come back, and none is lost for it."""

import asyncio
import itertools
import random
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from control_plane.errors import Unavailable
from control_plane.model.ids import NODE, NodeId, new_id
from control_plane.model.node import NodeState
from control_plane.services.link_admission import LATEST_SECONDS, LinkAdmission
from control_plane.services.link_greeting import Rejected
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_terms import LinkTerms
from control_plane.store import nodes
from control_plane.store.database import Tx
from tests.control_plane.services.node_link.hosts import MovableClock
from tests.control_plane.services.node_link.rig import running


class StillClock(MovableClock):
    """Time passes only when a test says so."""

    def monotonic(self) -> float:
        return 1_000.0 + self.offset_seconds


@dataclass(frozen=True)
class _Stream:
    """A link of which nobody speaks any more."""

    node_id: NodeId
    boot_id: str

    def end(self, reason: str, *, permanent: bool = False, retry_after_seconds: float = 0.0) -> None:
        """Nothing is left to be ended."""


def a_node() -> NodeId:
    return new_id(NODE)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - nothing tells of these changes
            await asyncio.sleep(0.02)


async def put_off(admission: LinkAdmission, node_id: NodeId | None = None) -> float:
    with pytest.raises(Rejected) as refused:
        async with admission.turn(node_id or a_node()):
            pass
    return refused.value.message.disconnect.retry_after.ToTimedelta().total_seconds()


async def put_off_many(admission: LinkAdmission) -> None:
    """Give away the appointments of the next ten seconds."""
    for _ in range(500):
        await put_off(admission)


async def test_those_beyond_the_line_get_appointments_one_after_the_other() -> None:
    admission = LinkAdmission(StillClock(), at_once=1, waiting=0, chance=_NoChance())
    async with admission.turn(a_node()):
        pauses = [await put_off(admission) for _ in range(100)]
    assert all(1.0 <= early < late for early, late in itertools.pairwise(pauses))
    assert pauses[-1] - pauses[0] == pytest.approx(99 * 0.02, rel=0.1)


async def test_a_quiet_time_is_not_taken_for_a_slow_greeting() -> None:
    clock = StillClock()
    admission = LinkAdmission(clock, at_once=1, waiting=0, chance=_NoChance())
    for _ in range(50):
        clock.offset_seconds += 3_600.0
        async with admission.turn(a_node()):
            clock.offset_seconds += 0.02
    async with admission.turn(a_node()):
        pauses = [await put_off(admission) for _ in range(11)]
    assert pauses[-1] - pauses[0] == pytest.approx(10 * 0.02, rel=0.1)


async def test_no_appointment_is_later_than_the_latest_and_chance_only_makes_them_sooner() -> None:
    admission = LinkAdmission(StillClock(), at_once=1, waiting=0, chance=random.Random(1))
    async with admission.turn(a_node()):
        pauses = [await put_off(admission) for _ in range(6_000)]
    assert max(pauses) <= LATEST_SECONDS
    assert min(pauses) > 0.7
    assert len(set(pauses[-100:])) > 90, "hosts that are put off beyond the latest one do not come back in step"


async def test_a_host_waits_for_its_turn_and_gets_it_when_another_is_done() -> None:
    admission = LinkAdmission(StillClock(), at_once=1, waiting=1)
    turns: list[str] = []

    async def second() -> None:
        async with admission.turn(a_node()):
            turns.append("second")

    async with admission.turn(a_node()):
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        assert admission.greetings == 2
        await put_off(admission)
        turns.append("first")
    await waiting
    assert turns == ["first", "second"]
    assert admission.greetings == 0


async def test_a_host_that_goes_away_while_it_waits_leaves_its_place_to_others() -> None:
    admission = LinkAdmission(StillClock(), at_once=1, waiting=1)

    async def wait() -> None:
        async with admission.turn(a_node()):
            raise AssertionError("it has gone")

    async with admission.turn(a_node()):
        gone = asyncio.create_task(wait())
        await asyncio.sleep(0)
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
        assert admission.greetings == 1
    async with admission.turn(a_node()):
        assert admission.greetings == 1


def test_a_host_that_was_booted_anew_and_put_off_is_no_rival_of_the_stream_that_it_left_behind() -> None:
    clock = StillClock()
    registry = LinkRegistry(clock=clock)
    left_behind = _Stream(a_node(), "boot-1")
    registry.add(left_behind)
    clock.offset_seconds += 10.0
    registry.excuse(left_behind.node_id, clock.monotonic() + 5.0)
    assert registry.silent_for_seconds(left_behind.node_id) == 0.0, "it is not to be lost while it waits"
    assert registry.rival(left_behind.node_id, "boot-2", alive_seconds=7.5) is None


def test_jobs_may_run_on_for_as_long_as_nobody_counts_their_host_as_silent() -> None:
    clock, terms, node_id = StillClock(), LinkTerms(fence_seconds=300.0), a_node()
    registry = LinkRegistry(clock=clock)

    def fence(boot_id: str = "boot") -> float:
        registry.note_in_charge(clock.monotonic())
        return terms.fence_of(registry.counted_seconds_ago(node_id, boot_id))

    assert fence() == 0, "one that this control plane has never heard may be anybody"
    registry.excuse(node_id, clock.monotonic() + 60.0)
    assert fence() == 300
    clock.offset_seconds += 160.0
    assert fence() == 200
    assert registry.take_heard() == ()
    assert fence() == 200
    assert registry.silent_for_seconds(node_id) == 100, "what was promised to the host is counted"
    registry.add(_Stream(node_id, "boot"))
    clock.offset_seconds += 10.0
    assert fence() == 290
    assert fence("another boot") == 0
    registry.forget(node_id)
    registry.remove(registry._links[node_id])
    assert fence() == 0, "it was revoked"


def test_jobs_may_run_on_only_if_this_control_plane_is_in_charge_or_has_told_the_one_that_is() -> None:
    clock, terms, node_id = StillClock(), LinkTerms(fence_seconds=300.0), a_node()
    alone, shared = LinkRegistry(clock=clock), LinkRegistry(clock=clock, shared=True)
    for registry in (alone, shared):
        registry.excuse(node_id, clock.monotonic() + 600.0)
    clock.offset_seconds += 100.0
    assert terms.fence_of(alone.counted_seconds_ago(node_id, "boot")) == 200
    assert shared.counted_seconds_ago(node_id, "boot") is None
    shared.note_reported([node_id], clock.monotonic())
    clock.offset_seconds += 30.0
    assert terms.fence_of(shared.counted_seconds_ago(node_id, "boot")) == 270
    clock.offset_seconds += 300.0
    assert terms.fence_of(shared.counted_seconds_ago(node_id, "boot")) == 0
    shared.note_reported([node_id], clock.monotonic())
    shared.excuse_no_more(node_id)
    assert shared.counted_seconds_ago(node_id, "boot") is None, "another one has heard it since"


async def test_slow_greetings_shorten_the_line_and_lengthen_the_pauses() -> None:
    clock = StillClock()
    admission = LinkAdmission(clock, at_once=1, waiting=1_000)
    for _ in range(200):
        async with admission.turn(a_node()):
            clock.offset_seconds += 2.0
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(admission.turn(a_node()))
        waiting = [asyncio.create_task(_pass(admission)) for _ in range(10)]
        await asyncio.sleep(0)
        refused = [one for one in waiting if one.done()]
        assert refused
        assert admission.greetings <= 5, "at a second each, no more than three wait"
    await asyncio.gather(*waiting)


async def test_a_host_that_is_put_off_is_told_so_and_counts_as_heard_until_then(tmp_path: Path) -> None:
    async with running(tmp_path, one_at_a_time=True) as rig:
        host = await rig.join("a")
        async with host.connect():
            await rig.until_node(host.node_id, lambda node: node.connected)
        await rig.until_node(host.node_id, lambda node: not node.connected)
        async with rig.admission.turn(a_node()), host.dial() as stream:
            await put_off_many(rig.admission)
            await stream.send(hello=host.hello())
            farewell = await stream.farewell()
        pause = farewell.retry_after.ToTimedelta().total_seconds()
        assert "come back in" in farewell.reason
        assert 0 < farewell.fence.ToTimedelta().total_seconds() <= 300, "its jobs need not stop while it waits"
        assert not farewell.permanent
        assert 0.5 < pause <= LATEST_SECONDS
        before = rig.registry.last_heard(host.node_id)
        await until(lambda: rig.registry.silent_for_seconds(host.node_id) == 0)  # once its standing was looked up
        assert rig.registry.last_heard(host.node_id) == before
        rig.clock.offset_seconds += 2 * LATEST_SECONDS
        assert rig.registry.silent_for_seconds(host.node_id) > 5, "who does not come back is silent from then on"
        async with host.connect():
            pass


async def test_a_host_that_was_put_off_while_the_store_was_away_is_excused_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Collection[NodeId]] = []
    states = nodes.states

    def away_at_first(tx: Tx, node_ids: Collection[NodeId]) -> tuple[nodes.NodeStanding, ...]:
        asked.append(node_ids)
        if len(asked) == 1:
            raise Unavailable("the database cannot be used")
        return states(tx, node_ids)

    async with running(tmp_path, one_at_a_time=True) as rig:
        host = await rig.join("a")
        async with host.connect():
            pass
        monkeypatch.setattr(nodes, "states", away_at_first)
        async with rig.admission.turn(a_node()), host.dial() as stream:
            await put_off_many(rig.admission)
            await stream.send(hello=host.hello())
            await stream.farewell()
        await until(lambda: rig.registry.silent_for_seconds(host.node_id) == 0)
    assert len(asked) > 1


async def test_a_revoked_host_is_not_kept_alive_by_being_put_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, states = asyncio.get_running_loop(), nodes.states
    async with running(tmp_path, one_at_a_time=True) as rig:
        host, late, other = await rig.join("a"), await rig.join("b"), await rig.join("c")
        for one in (host, late, other):
            async with one.connect():
                pass

        def revoked_meanwhile(tx: Tx, node_ids: Collection[NodeId]) -> tuple[nodes.NodeStanding, ...]:
            found = states(tx, node_ids)
            if late.node_id in node_ids:
                loop.call_soon_threadsafe(rig.registry.forget, late.node_id)
            return found

        monkeypatch.setattr(nodes, "states", revoked_meanwhile)

        def revoke(tx: Tx) -> None:
            nodes.update(tx, host.node_id, state=NodeState.REVOKED)

        await rig.store.write(revoke)
        async with rig.admission.turn(a_node()):
            await put_off_many(rig.admission)
            for one in (host, late, other):
                async with one.dial() as stream:
                    await stream.send(hello=one.hello())
                    await stream.farewell()
        await until(lambda: rig.registry.silent_for_seconds(other.node_id) == 0)
        assert rig.registry.silent_for_seconds(host.node_id) > 0
        assert rig.registry.silent_for_seconds(late.node_id) > 0


async def test_the_greeting_of_a_host_that_has_gone_is_dropped_before_it_begins(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        host = await rig.join("a")
        version = (await rig.node(host.node_id)).version
        begun, go_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold(_tx: Tx) -> None:  # the thread that writes has something else to do
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()

        holding = asyncio.create_task(rig.store.write(hold))
        await begun.wait()
        async with host.dial() as stream:
            await stream.send(hello=host.hello())
            await until(lambda: rig.registry.connected(host.node_id))
        await until(lambda: not rig.registry.connected(host.node_id))
        go_on.set()
        await holding
        await rig.store.write(lambda _tx: None)
        node = await rig.node(host.node_id)
        assert (node.version, node.state) == (version, NodeState.JOINING)


class _NoChance(random.Random):
    def uniform(self, _a: float, b: float) -> float:
        return b


async def _pass(admission: LinkAdmission) -> None:
    with suppress(Rejected):
        async with admission.turn(a_node()):
            pass
