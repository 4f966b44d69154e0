"""Repairs that remember: what failed on such a fault before is not tried first again, and the books say why."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from control_plane.agents.incidents.agent import Incidents
from control_plane.agents.memory_keeper import MemoryKeeper
from control_plane.errors import Unavailable
from control_plane.governor.governor import Governor
from control_plane.memory.hashed_ngrams import HashedNgrams
from control_plane.memory.local import LocalMemory
from control_plane.model.incident import IncidentState
from control_plane.model.memory import FoundMemory, MemoryKind, MemoryOutcome, MemoryQuery
from control_plane.model.node import Node
from control_plane.model.repair import RepairState, Rung
from control_plane.store import actions
from control_plane.store.database import Tx
from control_plane.telemetry.logs import LogStore
from tests.control_plane.clinic import POLICY, Clinic
from tests.control_plane.memory.values import a_memory
from tests.control_plane.world import DEFAULTS, LIMITS, World

LIFETIME = timedelta(days=90)


@pytest.fixture
async def memory(world: World, tmp_path: Path) -> AsyncIterator[LocalMemory]:
    store = LocalMemory(tmp_path / "memory.db", HashedNgrams(), clock=world.clock)
    yield store
    await store.close()


@pytest.fixture
def clinic(world: World, memory: LocalMemory) -> Clinic:
    clinic = Clinic.of(world)
    clinic.agent = Incidents(world.store, world.governor, POLICY, memory=memory)
    return clinic


@pytest.fixture
async def keeper(world: World, memory: LocalMemory, tmp_path: Path) -> MemoryKeeper:
    logs = LogStore(tmp_path / "logs", member_max_bytes=1 << 20, total_max_bytes=1 << 24, drain_seconds=0.01)
    await logs.start()
    return MemoryKeeper(world.store, memory, logs, lifetime=LIFETIME)


async def falls_off_the_bus(clinic: Clinic, node: Node) -> None:
    await clinic.raised(node, code=79)
    await clinic.treat()


async def reset_fails_and_the_next_helps(clinic: Clinic, node: Node) -> Rung:
    """Return the rung that helped."""
    await falls_off_the_bus(clinic, node)
    assert (await clinic.repair(node)).rung is Rung.RESET_GPU
    await clinic.fails(node)
    helped = (await clinic.repair(node)).rung
    await clinic.succeeds(node, "gpu/xid-79")
    assert (await clinic.incident(node)).state is IncidentState.RESOLVED
    return helped


async def quiet(clinic: Clinic, keeper: MemoryKeeper, minutes: float = 16) -> None:
    clinic.world.clock.advance(minutes * 60)
    await keeper.round()


async def test_a_repair_that_failed_before_is_not_tried_first_again(clinic: Clinic, keeper: MemoryKeeper) -> None:
    alpha, beta = await clinic.world.node("alpha"), await clinic.world.node("beta")
    helped = await reset_fails_and_the_next_helps(clinic, alpha)
    await quiet(clinic, keeper)
    (kept,) = await keeper._memory.page(kind=MemoryKind.INCIDENT, limit=10, before=None)
    assert [(one.tool, one.result) for one in kept.actions] == [
        ("reset_gpu", MemoryOutcome.FAILED),
        (helped.name.lower(), MemoryOutcome.FIXED),
    ]
    assert (kept.outcome, kept.symptoms, kept.tenant) == (MemoryOutcome.FIXED, ("xid:79",), "")
    await falls_off_the_bus(clinic, beta)
    repair = await clinic.repair(beta)
    assert repair.rung is helped
    incident = await clinic.incident(beta)
    (told,) = [entry.message for entry in incident.entries if entry.kind == "remembered"]
    assert kept.id in told
    assert "reset gpu failed 1 of 1 times" in told
    assert f"begins with {helped.words}" in told
    assert repair.action_id is not None
    action = await clinic.world.store.read(lambda tx: actions.require(tx, repair.action_id))  # type: ignore[arg-type] # asserted
    assert kept.id in action.reasoning
    # The third incident finds it twice: what was passed over has not failed again.
    await clinic.succeeds(beta, "gpu/xid-79")
    await quiet(clinic, keeper)
    kept_now = await keeper._memory.get(kept.id)
    assert kept_now is not None
    assert kept_now.count == 1


async def test_each_incident_is_remembered_once_even_after_a_crash(clinic: Clinic, keeper: MemoryKeeper) -> None:
    alpha = await clinic.world.node("alpha")
    await reset_fails_and_the_next_helps(clinic, alpha)
    await keeper.round()
    assert (await keeper._memory.status()).memories == 0, "nobody knows yet whether it stays so"
    await quiet(clinic, keeper)
    await keeper.round()
    # A crash between the memory and the cursor: the same is written again.
    again = MemoryKeeper(keeper._store, keeper._memory, keeper._logs, lifetime=LIFETIME)

    def begin_again(tx: Tx) -> None:
        from control_plane.store import memory_feed  # noqa: PLC0415 - only this test goes back

        memory_feed.move(tx, "incidents", memory_feed.Cursor())

    await keeper._store.write(begin_again)
    await again.round()
    (kept,) = await keeper._memory.page(kind=None, limit=10, before=None)
    assert kept.count == 1
    assert await again.round() == ""


async def test_what_comes_back_soon_was_not_fixed(clinic: Clinic, keeper: MemoryKeeper) -> None:
    alpha = await clinic.world.node("alpha")
    await falls_off_the_bus(clinic, alpha)
    await clinic.succeeds(alpha, "gpu/xid-79")
    clinic.world.clock.advance(300)
    await falls_off_the_bus(clinic, alpha)
    await quiet(clinic, keeper, 11)
    (kept,) = await keeper._memory.page(kind=MemoryKind.INCIDENT, limit=10, before=None)
    assert [(one.tool, one.result) for one in kept.actions] == [("reset_gpu", MemoryOutcome.FAILED)]
    assert (kept.outcome, kept.fixed_count) == (MemoryOutcome.FAILED, 0)
    assert "came back" in kept.text


async def test_what_was_repaired_and_stayed_so_is_remembered_as_fixed(clinic: Clinic, keeper: MemoryKeeper) -> None:
    alpha, beta = await clinic.world.node("alpha"), await clinic.world.node("beta")
    await falls_off_the_bus(clinic, alpha)
    await clinic.succeeds(alpha, "gpu/xid-79")
    await quiet(clinic, keeper)
    (kept,) = await keeper._memory.page(kind=MemoryKind.INCIDENT, limit=10, before=None)
    assert (kept.outcome, kept.fixed_count) == (MemoryOutcome.FIXED, 1)
    await falls_off_the_bus(clinic, beta)
    assert (await clinic.repair(beta)).rung is Rung.RESET_GPU


async def test_memory_never_leads_to_what_needs_approval(clinic: Clinic, keeper: MemoryKeeper) -> None:
    world = clinic.world
    alpha, beta = await world.node("alpha"), await world.node("beta")
    helped = await reset_fails_and_the_next_helps(clinic, alpha)
    await quiet(clinic, keeper)
    careful = Governor(
        world.store,
        limits=replace(LIMITS, approval_rungs=frozenset({helped})),
        defaults=DEFAULTS,
        prices=world.governor.prices,
    )
    clinic.agent = Incidents(world.store, careful, POLICY, memory=keeper._memory)
    await falls_off_the_bus(clinic, beta)
    assert (await clinic.repair(beta)).rung is Rung.RESET_GPU
    (told,) = [one.message for one in (await clinic.incident(beta)).entries if one.kind == "remembered"]
    assert f"begins with reset gpu all the same, as {helped.words} is not allowed" in told


class Failing(LocalMemory):
    """A store whose search fails."""

    failure: Exception

    async def search(self, query: MemoryQuery, *, now: datetime) -> tuple[FoundMemory, ...]:  # noqa: ARG002 - of the store
        raise self.failure


@pytest.mark.parametrize(
    "failure", [Unavailable("memory is away"), ValueError("a memory of a later version")], ids=["away", "unreadable"]
)
async def test_without_memory_repairs_go_on_as_ever(world: World, tmp_path: Path, failure: Exception) -> None:
    away = Failing(tmp_path / "memory.db", HashedNgrams(), clock=world.clock)
    away.failure = failure
    clinic = Clinic.of(world)
    clinic.agent = Incidents(world.store, world.governor, POLICY, memory=away)
    alpha = await world.node("alpha")
    assert await reset_fails_and_the_next_helps(clinic, alpha) is not Rung.RESET_GPU
    await away.close()


async def test_a_memory_of_a_tenant_or_of_a_runbook_leads_nobody(clinic: Clinic, memory: LocalMemory) -> None:
    now = clinic.world.clock.now()
    for tenant, kind in (("ana", MemoryKind.INCIDENT), ("", MemoryKind.RUNBOOK)):
        await memory.remember(a_memory(f"a {tenant}", tenant=tenant, kind=kind, created_at=now))
    alpha = await clinic.world.node("alpha")
    await falls_off_the_bus(clinic, alpha)
    assert (await clinic.repair(alpha)).rung is Rung.RESET_GPU


async def test_a_rung_that_its_host_refused_says_nothing(clinic: Clinic, keeper: MemoryKeeper) -> None:
    alpha = await clinic.world.node("alpha")
    await falls_off_the_bus(clinic, alpha)
    await clinic.reports(alpha, RepairState.REFUSED)
    await clinic.cleared(alpha)
    await clinic.treat()
    await quiet(clinic, keeper)
    (kept,) = await keeper._memory.page(kind=MemoryKind.INCIDENT, limit=10, before=None)
    assert [one.result for one in kept.actions] == [MemoryOutcome.UNKNOWN]
    assert kept.outcome is MemoryOutcome.UNKNOWN
