"""Whether an agent is paused is known at once, and read only after something was told of it."""

from collections.abc import Callable
from functools import partial

import pytest

from control_plane.agents.pausing import Pause
from control_plane.model.agent import AgentStatus
from control_plane.model.record import Noun
from control_plane.store import agents
from control_plane.store.database import Store, Tx

NAME = "some_agent"


async def test_a_pause_holds_from_its_commit_to_that_of_its_end_and_costs_no_read_between(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[object] = []
    read = sqlite_store.read

    async def noted(function: Callable[[Tx], object]) -> object:
        reads.append(function)
        return await read(function)

    monkeypatch.setattr(sqlite_store, "read", noted)
    pause = Pause(sqlite_store, NAME)
    assert not await pause.holds()  # nor does that of an agent that nobody knows
    await sqlite_store.write(lambda tx: agents.register(tx, NAME))
    for paused in (True, False, True):
        await sqlite_store.write(partial(agents.set_paused, name=NAME, paused=paused))
        for _ in range(5):
            await sqlite_store.write(lambda tx: tx.emit(Noun.AGENT, "another_agent", "agent.idle", ""))
            assert await pause.holds() is paused
    assert len(reads) == 4
    await sqlite_store.write(lambda tx: agents.record(tx, NAME, status=AgentStatus.IDLE, last_action="one more"))
    assert await pause.holds()
