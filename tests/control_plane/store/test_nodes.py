"""Nodes of a GPU model are found by the database itself."""

from datetime import datetime, timedelta
from functools import partial

import pytest

from control_plane.exposition import figures
from control_plane.store import nodes
from control_plane.store.database import Tx
from control_plane.store.nodes import NodeFilter
from control_plane.store.pages import PageRequest
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import World


@pytest.mark.parametrize(
    ("gpu_type", "found"),
    [("H100", ["a", "b"]), ("h100", ["a", "b"]), ("H10", []), ("H1_0", []), ("%", []), ("A100", ["c"])],
    ids=["exact", "in other letters", "a part", "a wildcard", "all", "another"],
)
async def test_a_page_of_a_model_has_its_hosts_and_no_others(any_world: World, gpu_type: str, found: list[str]) -> None:
    for name, model in (("a", "H100"), ("b", "H100"), ("c", "A100"), ("d", "H100X")):
        await any_world.node(name, gpu_type=model)
    await any_world.node("nothing yet", ready=False)
    which, names = NodeFilter(gpu_type=gpu_type), list[str]()

    def read(tx: Tx) -> None:
        token = ""
        while True:
            page = nodes.page(tx, which, PageRequest(1, token))
            names.extend(node.name for node in page.items)
            token = page.next_token
            if not token:
                return

    await any_world.store.read(read)
    assert sorted(names) == found


async def test_a_node_was_last_seen_when_it_was_last_heard_or_its_link_came_up(any_world: World) -> None:
    quiet, loud = await any_world.node("quiet"), await any_world.node("loud")
    nobody = await any_world.node("nobody", ready=False)
    at = any_world.clock.now() + timedelta(seconds=7)

    def read(tx: Tx) -> list[datetime | None]:
        found = nodes.with_sightings(tx, [nodes.resolve(tx, one.id) for one in (quiet, loud, nobody)])
        return [node.last_seen_at for node in found]

    assert await any_world.store.read(read) == [quiet.last_seen_at, loud.last_seen_at, None]
    for seconds in (-60, 3, 7):
        await any_world.store.write(
            partial(nodes.seen, node_ids=[loud.id, nobody.id], at=at + timedelta(seconds=seconds - 7))
        )
    await any_world.store.write(partial(nodes.seen, node_ids=[], at=at))
    assert await any_world.store.read(read) == [quiet.last_seen_at, at, None]
    await any_world.store.write(partial(nodes.seen, node_ids=[loud.id], at=at - timedelta(hours=1)))
    assert await any_world.store.read(read) == [quiet.last_seen_at, loud.last_seen_at, None]


async def test_figures_are_read_from_either_database(any_world: World) -> None:
    clinic = Clinic.of(any_world)
    await clinic.raised(await any_world.node())
    read = await any_world.store.read(lambda tx: figures.read(tx, started_after=tx.now, epoch=1))
    assert read.conditions == {"XID": 1}
    assert read.held_gpus == {}
