"""Parts of a GPU: the database itself keeps their sum within the whole, whoever writes."""

import asyncio
import threading

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import Session

from control_plane.errors import Conflict
from control_plane.store import gpu_holds
from control_plane.store.database import Store, Tx
from control_plane.store.tables import GpuUsageRow
from tests.control_plane.world import World, spec
from tests.fake_clock import FakeClock

GPU = "GPU-shared"
WRITERS, TRIES, MILLI = 4, 8, 150


def used(tx: Tx) -> int:
    row = tx.session.get(GpuUsageRow, GPU)
    return 0 if row is None else row.used_milli


async def test_writers_that_know_nothing_of_each_other_never_take_more_than_there_is(store: Store) -> None:
    """Transactions of several schedulers at once, past every lock and rule of ours: the constraint alone decides."""
    engine, taken = store._database.engine, []
    begin = threading.Barrier(WRITERS)

    def take_many() -> None:
        begin.wait()
        for _ in range(TRIES):
            while True:
                try:
                    with Session(engine) as session:
                        session.execute(gpu_holds._TAKE, {"gpu_uuid": GPU, "milli": MILLI})
                        session.commit()
                    taken.append(MILLI)
                except IntegrityError:
                    pass  # it is full
                except OperationalError:
                    continue  # SQLite has one writer at a time
                break

    await asyncio.gather(*(asyncio.to_thread(take_many) for _ in range(WRITERS)))
    assert sum(taken) == 900
    assert await store.read(used) == 900


async def test_parts_are_given_back_and_the_last_one_leaves_nothing(any_world: World) -> None:
    user, node = await any_world.user(), await any_world.node(shares=True)
    await any_world.launch(user, *(spec(name, gpu_milli=400) for name in ("a", "b", "c")))
    for name in ("a", "b"):
        await any_world.place(name, (node, [0]))
    parts = await any_world.store.read(lambda tx: gpu_holds.parts(tx, node.id))
    assert [one.milli for one in parts["GPU-alpha-0"]] == [400, 400]
    assert await any_world.store.read(lambda tx: gpu_holds.held_by_user(tx, user.id)) == pytest.approx(0.8)
    await any_world.finish("a")
    await any_world.place("c", (node, [0]))
    for name in ("b", "c"):
        await any_world.finish(name)
    assert await any_world.store.read(lambda tx: tx.session.get(GpuUsageRow, "GPU-alpha-0")) is None
    assert await any_world.held() == set()


async def test_a_part_too_many_undoes_the_whole_placement(any_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    user, node = await any_world.user(), await any_world.node(shares=True)
    await any_world.launch(user, spec("a", gpu_milli=600), spec("b", gpu_milli=600))
    await any_world.place("a", (node, [0]))
    monkeypatch.setattr("control_plane.governor.place_validity._free", lambda *_: None)
    assert (await any_world.place("b", (node, [0]))).state.value == "failed"
    parts = await any_world.store.read(lambda tx: gpu_holds.parts(tx, node.id))
    assert [one.milli for one in parts["GPU-alpha-0"]] == [600]


async def test_a_refused_hold_is_a_conflict_for_who_asked(store: Store, clock: FakeClock) -> None:
    world = World.on(store, clock)
    user, node = await world.user(), await world.node(shares=True)
    await world.launch(user, spec("a", gpu_milli=600))
    await world.place("a", (node, [0]))

    def again(tx: Tx) -> None:
        tx.session.execute(gpu_holds._TAKE, {"gpu_uuid": "GPU-alpha-0", "milli": 600})

    with pytest.raises(Conflict):
        await store.write(again)
    parts = await store.read(lambda tx: gpu_holds.parts(tx, node.id))
    assert [one.milli for one in parts["GPU-alpha-0"]] == [600]
