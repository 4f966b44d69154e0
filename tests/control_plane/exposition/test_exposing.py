"""What is exposed of the books, where several control planes look at the same ones."""

from dataclasses import replace

import pytest
from prometheus_client import generate_latest
from sqlalchemy import text

from control_plane.exposition.exposing import Exposing
from control_plane.exposition.registry import ProcessFigures, ServerMetrics
from control_plane.governor import books, verdicts
from control_plane.model.action import PlaceJob, Placement
from control_plane.model.job import ExitReason
from control_plane.model.node import MigDevice
from control_plane.model.report import MemberReport
from control_plane.store.database import Tx
from tests.control_plane.world import ENDED, GB, RUNNING, World, gpus, spec


def metrics() -> ServerMetrics:
    process = ProcessFigures(0, bus_connected=True, bus_reconnects=0, telemetry={}, spans_waiting=0, spans_lost=0)
    return ServerMetrics(lambda: process)


def sample(found: ServerMetrics, name: str) -> float:
    lines = generate_latest(found.registry).decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


async def test_the_wait_of_a_job_is_counted_by_the_control_plane_that_leads_and_by_no_other(world: World) -> None:
    leads = {"one": True, "two": False}
    found = {name: metrics() for name in leads}
    looks = {name: Exposing(world.store, found[name], lambda name=name: leads[name]) for name in leads}  # type: ignore[misc] # a default binds the loop's value
    since = {name: world.clock.now() for name in leads}

    async def look() -> dict[str, float]:
        for name in leads:
            since[name] = await looks[name]._look(since[name])
        return {name: sample(found[name], "orquanta_job_wait_seconds_count") for name in leads}

    async def start(name: str, index: int) -> None:
        world.clock.advance(5)
        await world.launch(user, spec(name))
        await world.place(name, (node, [index]))
        await world.report(name, RUNNING)

    user, node = await world.user(), await world.node()
    await start("first", 0)
    assert await look() == {"one": 1, "two": 0}
    leads.update(one=False, two=True)
    await start("second", 1)
    assert await look() == {"one": 1, "two": 1}
    assert await look() == {"one": 1, "two": 1}
    assert all(sample(one, 'orquanta_gpus_held{gpu_type="H100"}') == 2 for one in found.values())


@pytest.mark.parametrize(("exit_code", "ran"), [(0, True), (3, True), (0, False)])
async def test_the_wait_of_a_job_is_counted_whose_end_is_the_first_that_is_heard_of_it(
    world: World, exit_code: int, ran: bool
) -> None:
    user, node = await world.user(), await world.node()
    await world.launch(user, spec("short"))
    await world.place("short", (node, [0]))
    since = world.clock.now()
    world.clock.advance(2)
    job = await world.job("short")
    told = MemberReport(
        allocation_id=job.allocations[0].id,
        job_id=job.id,
        epoch=1,
        rank=0,
        state=ENDED,
        exit_reason=ExitReason.EXITED if ran else ExitReason.START_FAILED,
        exit_code=exit_code if ran else None,
        started_at=since if ran else None,
        ended_at=world.clock.now(),
    )
    await world.store.write(lambda tx: books.apply_report(tx, node.id, told))
    await world.store.write(lambda tx: verdicts.conclude(tx, told.allocation_id))
    assert (await world.job("short")).started_at == (world.clock.now() if ran else None)
    found = metrics()
    await Exposing(world.store, found)._look(since)
    assert sample(found, "orquanta_job_wait_seconds_count") == int(ran)
    assert sample(found, "orquanta_job_wait_seconds_sum") == (2 if ran else 0)


async def test_mig_devices_are_held_as_parts_of_their_gpu_also_where_a_job_cannot_be_read(world: World) -> None:
    devices = tuple(MigDevice(f"MIG-{index}", "2g.20gb", 20 * GB) for index in range(3))
    whole = gpus("host", 1)[0]
    uuids = tuple(one.uuid for one in devices)
    user = await world.user()
    node = await world.node(
        "host", devices=(replace(whole, mig_enabled=True, mig_device_uuids=uuids, mig_devices=devices),)
    )
    await world.launch(user, spec("a", mig_profile="2g.20gb"), spec("b", mig_profile="2g.20gb"))
    for name, uuid in (("a", uuids[0]), ("b", uuids[1])):
        job = await world.job(name)
        await world.propose(PlaceJob(job.id, 1, "H100", (Placement(0, node.id, (uuid,)),), "a test wants it"))
    found = metrics()
    exposing = Exposing(world.store, found)
    await exposing._look(world.clock.now())
    assert sample(found, 'orquanta_gpus_held{gpu_type="H100"}') == pytest.approx(4 / 7, abs=0.01)
    assert sample(found, 'orquanta_gpus_occupied{gpu_type="H100"}') == 1

    def spoil(tx: Tx) -> None:
        tx.session.execute(text("UPDATE jobs SET spec = '{' WHERE name = 'a'"))

    await world.store.write(spoil)
    await exposing._look(world.clock.now())
    assert sample(found, 'orquanta_gpus_held{gpu_type="H100"}') == pytest.approx(1 + 2 / 7, abs=0.01)


async def test_a_gpu_that_two_jobs_share_is_one_that_is_occupied_and_partly_held(world: World) -> None:
    user, node = await world.user(), await world.node(shares=True)
    await world.launch(user, *(spec(name, gpu_milli=250) for name in ("a", "b")), spec("c"))
    for name, index in (("a", 0), ("b", 0), ("c", 1)):
        await world.place(name, (node, [index]))
    found = metrics()
    await Exposing(world.store, found)._look(world.clock.now())
    assert sample(found, 'orquanta_gpus_held{gpu_type="H100"}') == 1.5
    assert sample(found, 'orquanta_gpus_occupied{gpu_type="H100"}') == 2
