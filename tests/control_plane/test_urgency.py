"""What can wait lets pass what cannot, but never for ever."""

import asyncio

from typing_extensions import override

from control_plane.agents.loop import Agent
from control_plane.urgency import Urgency
from tests.control_plane.world import World

FOR_EVER = 3600.0


class Patient(Agent):
    """Counts its rounds."""

    name = "patient_agent"
    patient = True

    def __init__(self, world: World, urgency: Urgency) -> None:
        super().__init__(world.store, interval_seconds=0.001, urgency=urgency)
        self.went_round = asyncio.Event()

    async def round(self) -> str:
        self.went_round.set()
        return ""


class Watched(Urgency):
    """Tells when somebody asks whether it is calm."""

    def __init__(self) -> None:
        super().__init__(longest_wait_seconds=FOR_EVER, linger_seconds=0.0)
        self.asked = asyncio.Event()

    @override
    async def calm(self) -> None:
        self.asked.set()
        await super().calm()


async def test_nobody_waits_where_nothing_is_urgent() -> None:
    await Urgency(longest_wait_seconds=FOR_EVER).calm()


async def test_the_patient_wait_until_all_that_is_urgent_is_over() -> None:
    urgency = Urgency(longest_wait_seconds=FOR_EVER, linger_seconds=0.0)
    with urgency.urgent():
        with urgency.urgent():
            waiting = asyncio.ensure_future(urgency.calm())
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


async def test_between_two_batches_of_a_storm_it_is_not_over() -> None:
    urgency = Urgency(longest_wait_seconds=FOR_EVER, linger_seconds=FOR_EVER)
    with urgency.urgent():
        waiting = asyncio.ensure_future(urgency.calm())
        await asyncio.sleep(0)
    with urgency.urgent():
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_what_is_urgent_for_ever_holds_nobody_up_for_ever() -> None:
    urgency = Urgency(longest_wait_seconds=0.001)
    with urgency.urgent():
        await urgency.calm()


async def test_a_patient_agent_goes_round_once_it_is_calm(world: World) -> None:
    urgency = Watched()
    agent = Patient(world, urgency)
    async with asyncio.timeout(30):
        with urgency.urgent():
            running = asyncio.ensure_future(agent.run())
            await urgency.asked.wait()
            await world.store.read(lambda _: None)
            assert not agent.went_round.is_set()
        await agent.went_round.wait()
    running.cancel()
    await asyncio.wait([running])
