"""Incidents as the store keeps them."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from control_plane.errors import Conflict, NotFound
from control_plane.fleet.lifecycle import LifecycleError
from control_plane.model.ids import IncidentId
from control_plane.model.incident import IncidentState
from control_plane.model.repair import (
    RepairState,
)
from control_plane.store import incidents, repairs
from control_plane.store.database import Tx
from control_plane.store.incidents import IncidentFilter, Parts
from control_plane.store.pages import PageRequest
from tests.control_plane.store.cases import incident, repair
from tests.control_plane.world import World


async def test_an_incident_is_kept_whole_with_its_entries_and_repairs(any_world: World) -> None:
    alpha, store = await any_world.node("alpha"), any_world.store
    made = incident(any_world, alpha)
    ordered = repair(any_world, alpha, made.id)
    await store.write(lambda tx: incidents.insert(tx, made))
    await store.write(lambda tx: incidents.add_entry(tx, made.id, "detected", "seen", repair_id=ordered.id))
    await store.write(lambda tx: repairs.insert(tx, ordered))
    kept = await store.read(lambda tx: incidents.require(tx, made.id))
    assert replace(kept, entries=(), repairs=()) == made
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
