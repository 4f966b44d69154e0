"""Repairs as the store keeps them."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from control_plane.errors import Conflict
from control_plane.fleet.lifecycle import LifecycleError
from control_plane.model.ids import RepairId
from control_plane.model.repair import (
    CheckOutcome,
    RepairOrigin,
    RepairState,
    RepairStep,
    Rung,
    VerificationCheck,
)
from control_plane.store import repairs
from tests.control_plane.store.cases import repair
from tests.control_plane.world import World


async def test_the_database_refuses_a_second_order_to_a_node(any_world: World) -> None:
    alpha, store = await any_world.node("alpha"), any_world.store
    first = repair(any_world, alpha)
    await store.write(lambda tx: repairs.insert(tx, first))
    with pytest.raises(Conflict):
        await store.write(lambda tx: repairs.insert(tx, repair(any_world, alpha)))
    alone = repair(any_world, alpha, origin=RepairOrigin.LOCAL_POLICY)
    await store.write(lambda tx: repairs.insert(tx, alone))  # nobody ordered it, so nobody can refuse it
    unfinished = await store.read(lambda tx: repairs.unfinished(tx, alpha.id))
    assert unfinished == first
    await store.write(lambda tx: repairs.update(tx, first, replace(first, state=RepairState.FAILED)))
    await store.write(lambda tx: repairs.insert(tx, repair(any_world, alpha)))


async def test_a_repair_keeps_its_steps_and_checks_and_never_goes_back(any_world: World) -> None:
    alpha, store, now = await any_world.node("alpha"), any_world.store, any_world.clock.now()
    first = repair(any_world, alpha)
    done = replace(
        first,
        state=RepairState.SUCCEEDED,
        steps=(RepairStep("reset", ok=True, detail="done", started_at=now, seconds=1.5),),
        checks=(VerificationCheck("nvml", CheckOutcome.NOT_CHECKED, "no CUDA here", 0.1),),
        handoff_json="{}",
    )
    await store.write(lambda tx: repairs.insert(tx, first))
    after = await store.write(lambda tx: repairs.update(tx, first, done))
    assert after.closed_at == now
    assert await store.read(lambda tx: repairs.get(tx, first.id)) == after
    with pytest.raises(LifecycleError):
        await store.write(lambda tx: repairs.update(tx, after, replace(after, state=RepairState.RUNNING)))
    assert await store.read(lambda tx: repairs.get(tx, RepairId("r-nothing"))) is None


async def test_repairs_are_found_by_node_newest_and_by_time(any_world: World) -> None:
    alpha, beta, store = await any_world.node("alpha"), await any_world.node("beta"), any_world.store
    ended = []
    for _ in range(3):
        one = repair(any_world, alpha)
        await store.write(partial(repairs.insert, repair=one))
        await store.write(partial(repairs.update, before=one, after=replace(one, state=RepairState.SUCCEEDED)))
        ended.append(one.id)
        any_world.clock.advance(60)
    newest = await store.read(lambda tx: repairs.latest_of(tx, [alpha.id, beta.id]))
    assert {node_id: one.id for node_id, one in newest.items()} == {alpha.id: ended[-1]}
    since = any_world.clock.now() - timedelta(seconds=130)
    recent = await store.read(lambda tx: repairs.since(tx, alpha.id, since))
    assert [one.id for one in recent] == ended[:0:-1]
    assert await store.read(repairs.count_by_outcome) == {(Rung.RESET_GPU, RepairState.SUCCEEDED): 3}


async def test_only_a_reboot_that_was_given_to_its_host_excuses_silence(any_world: World) -> None:
    alpha, store, now = await any_world.node("alpha"), any_world.store, any_world.clock.now()
    reboot = repair(any_world, alpha, rung=Rung.REBOOT_HOST)
    await store.write(lambda tx: repairs.insert(tx, reboot))
    assert await store.read(repairs.rebooting) == frozenset()
    await store.write(lambda tx: repairs.update(tx, reboot, replace(reboot, sent_at=now)))
    assert await store.read(repairs.rebooting) == {alpha.id}
