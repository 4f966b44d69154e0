"""Conditions, incidents, repairs, spools and bounds on each kind of database."""

from datetime import timedelta
from functools import partial

from control_plane.governor import health
from control_plane.governor.health import Record
from control_plane.model.bounds import Bound, BoundScope
from control_plane.model.health import ConditionOrder, ConditionSeverity, HealthEvent, HealthEventKind
from control_plane.model.node import GpuHealth, NodeHold, NodeState
from control_plane.store import bounds, conditions, incident_entries, incidents, nodes, policies, spools
from tests.control_plane.clinic import condition
from tests.control_plane.store.cases import incident
from tests.control_plane.world import World, spec

DAY = timedelta(days=1)


async def test_conditions_are_kept_whole_worst_first_and_only_changes_count(any_world: World) -> None:
    alpha, now = await any_world.node("alpha"), any_world.clock.now()
    fatal = condition("b", now, gpu_uuid="GPU-1", process_ids=(3, 4), sticky=True, code=79)
    warning = condition("a", now, severity=ConditionSeverity.WARNING, repair=None)
    store = any_world.store
    assert await store.write(lambda tx: conditions.put(tx, alpha.id, warning))
    assert await store.write(lambda tx: conditions.put(tx, alpha.id, fatal))
    assert not await store.write(lambda tx: conditions.put(tx, alpha.id, fatal))
    assert await store.read(lambda tx: conditions.of_node(tx, alpha.id)) == (fatal, warning)
    assert await store.read(lambda tx: conditions.of_nodes(tx, [alpha.id])) == {alpha.id: (fatal, warning)}
    assert await store.read(conditions.troubled) == (alpha.id,)
    assert await store.write(lambda tx: conditions.remove(tx, alpha.id, "b"))
    assert not await store.write(lambda tx: conditions.remove(tx, alpha.id, "b"))
    assert await store.read(lambda tx: conditions.get(tx, alpha.id, "b")) is None


async def test_what_a_condition_is_about_decides_what_takes_no_jobs(any_world: World) -> None:
    alpha, beta, now = await any_world.node("alpha"), await any_world.node("beta"), any_world.clock.now()
    found = [
        (alpha, condition("a", now, gpu_uuid="GPU-1")),
        (alpha, condition("b", now, gpu_uuid="GPU-1", severity=ConditionSeverity.WARNING)),
        (alpha, condition("c", now, gpu_uuid="GPU-2", severity=ConditionSeverity.WARNING)),
        (alpha, condition("d", now, gpu_uuid="GPU-3", severity=ConditionSeverity.INFO)),
        (beta, condition("e", now)),
    ]
    for node, one in found:
        await any_world.store.write(partial(conditions.put, node_id=node.id, condition=one))
    health = await any_world.store.read(conditions.gpu_health)
    assert health == {alpha.id: {"GPU-1": GpuHealth.FAILED, "GPU-2": GpuHealth.DEGRADED}}
    assert await any_world.store.read(conditions.closed_hosts) == {beta.id}
    assert await any_world.store.read(lambda tx: conditions.closed_hosts(tx, alpha.id)) == frozenset()


async def test_an_operators_word_shows_at_once_and_is_kept_until_the_condition_is_over(any_world: World) -> None:
    alpha, now, store = await any_world.node("alpha"), any_world.clock.now(), any_world.store
    await store.write(lambda tx: conditions.put(tx, alpha.id, condition("a", now)))
    said = ConditionOrder("a", "op@example.com", False, now)
    await store.write(lambda tx: conditions.order(tx, alpha.id, said))
    (present,) = await store.read(lambda tx: conditions.of_node(tx, alpha.id))
    assert present.acknowledged_by == "op@example.com"
    assert await store.read(lambda tx: conditions.orders(tx, alpha.id)) == (said,)
    await store.write(lambda tx: conditions.remove(tx, alpha.id, "a"))
    assert await store.read(lambda tx: conditions.orders(tx, alpha.id)) == ()


async def test_a_history_is_bounded_and_always_tells_the_end(any_world: World) -> None:
    alpha, store = await any_world.node("alpha"), any_world.store
    made = incident(any_world, alpha)
    await store.write(lambda tx: incidents.insert(tx, made))
    for number in range(incident_entries.ENTRIES_MAX + 20):
        text = f"change {number}"
        await store.write(partial(incidents.update, incident_id=made.id, status_reason=text))
        await store.write(partial(incidents.add_entry, incident_id=made.id, kind="condition.joined", message=text))
    await store.write(lambda tx: incidents.add_entry(tx, made.id, "resolved", "over"))
    kept = await store.read(lambda tx: incidents.require(tx, made.id))
    assert len(kept.entries) <= incident_entries.ENTRIES_MAX
    assert kept.entries[-1].kind == "resolved"


async def test_a_spool_only_moves_forward_and_few_are_remembered(any_world: World) -> None:
    alpha, store = await any_world.node("alpha"), any_world.store
    await store.write(lambda tx: spools.advance(tx, alpha.id, "one", 7, lost_records=2))
    await store.write(lambda tx: spools.advance(tx, alpha.id, "one", 5, lost_samples=3))
    assert await store.read(lambda tx: spools.position(tx, alpha.id, "one")) == 7
    assert await store.read(lambda tx: spools.position(tx, alpha.id, "two")) == 0
    for number in range(20):
        any_world.clock.advance(1)
        await store.write(partial(spools.advance, node_id=alpha.id, spool_id=f"spool-{number}", sequence=1))
    kept = await store.read(lambda tx: spools.of_node(tx, alpha.id))
    assert [one.spool_id for one in kept] == [f"spool-{number}" for number in range(19, 11, -1)]


async def test_a_level_counts_what_is_held_or_lost_in_all_that_a_node_belongs_to(any_world: World) -> None:
    store = any_world.store
    user = await any_world.user()
    alpha, beta, gamma = [await any_world.node(name) for name in ("alpha", "beta", "gamma")]
    await any_world.launch(user, spec("gang", gpu=16, nodes=2))
    await any_world.place("gang", (alpha, range(8)), (beta, range(8)))
    await any_world.lose(gamma)
    await store.write(
        lambda tx: nodes.set_hold(tx, beta.id, NodeHold.DRAINING, state=NodeState.DRAINING, status_reason="x")
    )
    levels = await store.read(lambda tx: bounds.levels(tx, alpha.id))
    assert [(one.scope, one.total, one.out) for one in levels] == [
        (BoundScope.FLEET, 3, 2),
        (BoundScope.JOB, 2, 1),
        (BoundScope.TENANT, 2, 1),
    ]
    assert await store.read(lambda tx: [bounds.is_out(tx, one.id) for one in (alpha, beta, gamma)]) == [
        False,
        True,
        True,
    ]


async def test_bounds_are_kept_and_only_changes_are_changes(any_world: World) -> None:
    wanted = {BoundScope.FLEET: Bound(3, 50.0), BoundScope.RACK: Bound(1, 100.0)}
    assert await any_world.store.write(lambda tx: bounds.save(tx, wanted, changed_by="x"))
    assert not await any_world.store.write(lambda tx: bounds.save(tx, wanted, changed_by="x"))
    assert await any_world.store.read(bounds.load) == wanted


async def test_the_version_of_the_local_policy_grows_with_changes_and_renewals(any_world: World) -> None:
    store, clock = any_world.store, any_world.clock
    first = await store.write(lambda tx: policies.issue(tx, terms="a", renew_before=clock.now() - DAY))
    again = await store.write(lambda tx: policies.issue(tx, terms="a", renew_before=clock.now() - DAY))
    assert again == first
    changed = await store.write(lambda tx: policies.issue(tx, terms="b", renew_before=clock.now() - DAY))
    clock.advance(2 * DAY.total_seconds())
    renewed = await store.write(lambda tx: policies.issue(tx, terms="b", renew_before=clock.now() - DAY))
    assert first.version < changed.version < renewed.version


async def test_a_spool_that_was_forgotten_is_not_taken_twice_and_losses_do_not_overflow(any_world: World) -> None:
    alpha = await any_world.node("alpha")
    now = any_world.clock.now()
    event = HealthEvent("e-1", HealthEventKind.RAISED, condition("a", now), now)
    await any_world.store.write(lambda tx: conditions.record_event(tx, alpha.id, "old", 9, event))
    assert await any_world.store.read(lambda tx: spools.position(tx, alpha.id, "old")) == 9
    assert await any_world.store.read(lambda tx: spools.position(tx, alpha.id, "fresh")) == 0
    for _ in range(3):
        await any_world.store.write(lambda tx: spools.advance(tx, alpha.id, "old", 9, lost_records=2**62))
    (kept,) = await any_world.store.read(lambda tx: spools.of_node(tx, alpha.id))
    assert kept.lost_records == 2**62


async def test_what_a_host_says_beyond_what_is_kept_still_counts_and_is_told_once(any_world: World) -> None:
    alpha = await any_world.node("alpha")
    now = any_world.clock.now()
    records = [
        Record(number, now, HealthEvent(f"e-{number}", HealthEventKind.RAISED, condition(f"c-{number}", now), now))
        for number in range(1, 6)
    ]
    await any_world.store.write(lambda tx: health.take(tx, alpha.id, "s", records, live_from=None, keep_most=2))
    assert len(await any_world.store.read(lambda tx: conditions.of_node(tx, alpha.id))) == 5
    assert len(await any_world.store.read(lambda tx: conditions.history(tx, alpha.id))) == 2
    assert [one.action for one in await any_world.audit()].count("health.not_kept") == 1
