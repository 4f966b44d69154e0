"""A control plane that takes another's place goes by the leases which that one has told."""

from functools import partial

import pytest

from control_plane.model.node import Node, NodeState
from control_plane.services import link_terms
from control_plane.services.link_lease import LinkLease
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_terms import LinkTerms
from control_plane.store import nodes, told_leases
from tests.control_plane.world import World

TERMS = LinkTerms(lease_seconds=15.0)


async def started(world: World) -> tuple[LinkRegistry, LinkLease]:
    """Start the parts of a control plane that tell leases, as it does before it takes up hosts."""
    registry = LinkRegistry(clock=world.clock)
    lease = LinkLease(world.store, registry, clock=world.clock, terms=TERMS)
    await lease.count()
    registry.note_lease(TERMS.among(registry.hosts).lease_seconds, in_charge_seconds=TERMS.lease_seconds)
    await lease.look_back()
    return registry, lease


@pytest.fixture
async def fleet(any_world: World, monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    """Ten hosts, as many as ten thousand; their control plane has told them a minute, and nine were lost since."""
    monkeypatch.setattr(link_terms, "BEATS_PER_SECOND", 0.5)
    made = [await any_world.node(f"host-{number}", gpu=1) for number in range(10)]
    registry, _ = await started(any_world)
    assert registry.lease_seconds == 60.0
    for node in made[1:]:
        await any_world.store.write(partial(nodes.update, node_id=node.id, state=NodeState.LOST, status_reason="lost"))
    return made


async def test_who_counts_fewer_hosts_judges_by_what_was_told_before_even_if_it_is_replaced_at_once(
    any_world: World, fleet: list[Node]
) -> None:
    del fleet
    for _ in range(3):  # each is killed before what was told is over
        any_world.clock.advance(50)
        registry, _ = await started(any_world)
        assert TERMS.among(registry.hosts).lease_seconds == 15.0, "it tells hosts what suits those that it counts"
        assert registry.lease_seconds == 60.0


async def test_once_nobody_goes_by_it_a_longer_lease_is_forgotten_and_who_was_silent_since_has_all_of_it(
    any_world: World, fleet: list[Node]
) -> None:
    registry, lease = await started(any_world)
    any_world.clock.advance(121)
    assert await lease.look_back()
    assert not await lease.look_back()
    assert registry.lease_seconds == 15.0
    assert registry.silent_for_seconds(fleet[0].id) == 121 - 45
    assert len(await any_world.store.read(told_leases.every)) == 1, "its own"
