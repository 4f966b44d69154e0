"""Conditions, incidents, repairs, spools and bounds on each kind of database."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from control_plane.errors import Conflict, NotFound
from control_plane.fleet.lifecycle import LifecycleError
from control_plane.governor import health
from control_plane.governor.health import Record
from control_plane.model.bounds import Bound, BoundScope
from control_plane.model.health import ConditionOrder, ConditionSeverity, HealthEvent, HealthEventKind
from control_plane.model.ids import INCIDENT, REPAIR, IncidentId, RepairId, new_id
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.node import GpuHealth, Node, NodeHold, NodeState
from control_plane.model.repair import (
    CheckOutcome,
    Repair,
    RepairOrigin,
    RepairState,
    RepairStep,
    Rung,
    VerificationCheck,
)
from control_plane.store import bounds, conditions, incident_entries, incidents, nodes, policies, repairs, spools
from control_plane.store.database import Tx
from control_plane.store.incidents import IncidentFilter, Parts
from control_plane.store.pages import PageRequest
from tests.control_plane.clinic import condition
from tests.control_plane.world import World, spec

DAY = timedelta(days=1)


def incident(world: World, node: Node, **changes: object) -> Incident:
    now = world.clock.now()
    made = Incident(
        id=new_id(INCIDENT),
        node_id=node.id,
        node_name=node.name,
        state=IncidentState.OPEN,
        summary="trouble",
        diagnosis="evidence",
        status_reason="",
        observed_at=now,
        opened_at=now,
        version=1,
        conditions=(condition("a", now, gpu_uuid="GPU-1"),),
        active_ids=frozenset({"a"}),
        gpu_uuids=("GPU-1",),
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields of the incident by their names


def repair(world: World, node: Node, incident_id: IncidentId | None = None, **changes: object) -> Repair:
    made = Repair(
        id=new_id(REPAIR),
        node_id=node.id,
        incident_id=incident_id,
        action_id=None,
        origin=RepairOrigin.CONTROL_PLANE,
        rung=Rung.RESET_GPU,
        state=RepairState.PENDING,
        reason="because",
        ordered_at=world.clock.now(),
        gpu_uuids=("GPU-1",),
        process_ids=(7,),
        condition_ids=("a",),
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields of the repair by their names


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


async def test_an_incident_is_kept_whole_with_its_entries_and_repairs(any_world: World) -> None:
    alpha, store = await any_world.node("alpha"), any_world.store
    made = incident(any_world, alpha)
    ordered = repair(any_world, alpha, made.id)
    await store.write(lambda tx: incidents.insert(tx, made))
    await store.write(lambda tx: incidents.add_entry(tx, made.id, "detected", "seen", repair_id=ordered.id))
    await store.write(lambda tx: repairs.insert(tx, ordered))
    kept = await store.read(lambda tx: incidents.require(tx, made.id))
    assert replace(kept, entries=(), repairs=(), timings=made.timings) == made
    assert kept.repairs == (ordered,)
    assert [(entry.kind, entry.repair_id) for entry in kept.entries] == [("detected", ordered.id)]
    bare = await store.read(lambda tx: incidents.require(tx, made.id, Parts.NONE))
    assert (bare.entries, bare.repairs) == ((), ())
    with pytest.raises(NotFound):
        await store.read(lambda tx: incidents.require(tx, IncidentId("i-nothing")))


async def test_the_database_refuses_a_second_open_incident_of_a_node(any_world: World) -> None:
    alpha, store = await any_world.node("alpha"), any_world.store
    first = incident(any_world, alpha)
    await store.write(lambda tx: incidents.insert(tx, first))
    with pytest.raises(Conflict):
        await store.write(lambda tx: incidents.insert(tx, incident(any_world, alpha)))
    await store.write(lambda tx: incidents.update(tx, first.id, state=IncidentState.RESOLVED))
    await store.write(lambda tx: incidents.insert(tx, incident(any_world, alpha)))
    with pytest.raises(LifecycleError):
        await store.write(lambda tx: incidents.update(tx, first.id, state=IncidentState.OPEN))


async def test_what_is_kept_back_for_many_is_seen_by_statements_takes_others_places_and_can_change(
    any_world: World,
) -> None:
    alpha, store = await any_world.node("alpha"), any_world.store
    first, second = incident(any_world, alpha), incident(any_world, alpha)
    ordered = repair(any_world, alpha, second.id)
    await store.write(lambda tx: incidents.insert(tx, first))

    def write(tx: Tx) -> int:
        with tx.together():
            incidents.update(tx, first.id, state=IncidentState.RESOLVED)
            repairs.insert(tx, ordered)
            incidents.insert(tx, second)
            incidents.update(tx, second.id, status_reason="before")
            seen = len(incidents.unended(tx))
            incidents.update(tx, second.id, status_reason="after")
        incidents.update(tx, second.id, diagnosis="at last")
        return seen

    assert await store.write(write) == 1
    kept = await store.read(lambda tx: incidents.require(tx, second.id))
    assert (kept.status_reason, kept.diagnosis, kept.repairs) == ("after", "at last", (ordered,))


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


async def test_incidents_are_listed_newest_first_by_state_and_node(any_world: World) -> None:
    alpha, beta, store = await any_world.node("alpha"), await any_world.node("beta"), any_world.store
    made = []
    for node in (alpha, beta):
        one = incident(any_world, node)
        await store.write(partial(incidents.insert, incident=one))
        made.append(one.id)
        any_world.clock.advance(1)
    await store.write(lambda tx: incidents.update(tx, made[0], state=IncidentState.ESCALATED))
    page = await store.read(lambda tx: incidents.page(tx, IncidentFilter(), PageRequest(1)))
    assert [one.id for one in page.items] == [made[1]]
    rest = await store.read(lambda tx: incidents.page(tx, IncidentFilter(), PageRequest(1, page.next_token)))
    assert [one.id for one in rest.items] == [made[0]]
    escalated = IncidentFilter(states=(IncidentState.ESCALATED,))
    found = await store.read(lambda tx: incidents.page(tx, escalated, PageRequest()))
    assert [one.id for one in found.items] == [made[0]]
    assert await store.read(incidents.open_ids) == {beta.id: made[1]}
    assert await store.read(lambda tx: incidents.last_escalated_at(tx, alpha.id)) is not None
    assert await store.read(lambda tx: incidents.last_escalated_at(tx, beta.id)) is None


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


async def test_old_incidents_are_forgotten_with_all_that_is_theirs(any_world: World) -> None:
    alpha, store = await any_world.node("alpha"), any_world.store
    old, fresh = incident(any_world, alpha), incident(any_world, alpha)
    for one in (old, fresh):
        ordered = repair(any_world, alpha, one.id)
        await store.write(partial(incidents.insert, incident=one))
        await store.write(partial(incidents.add_entry, incident_id=one.id, kind="detected", message="seen"))
        await store.write(partial(repairs.insert, repair=ordered))
        await store.write(partial(repairs.update, before=ordered, after=replace(ordered, state=RepairState.FAILED)))
        await store.write(partial(incidents.update, incident_id=one.id, state=IncidentState.RESOLVED))
        any_world.clock.advance(3600)
    before = any_world.clock.now() - timedelta(minutes=90)
    assert await store.write(lambda tx: incidents.prune(tx, before=before)) == 1
    assert await store.read(lambda tx: incidents.get(tx, old.id)) is None
    assert await store.read(lambda tx: incidents.get(tx, fresh.id)) is not None


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
