"""A host that repairs itself through faults, clock jumps and reboots, and what its next daemon knows."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.health.model import Condition, Rung
from node_agent.repair.alone import Moment, Use, Wait, decide, is_quarantined, jobs_hurt
from node_agent.repair.model import Allowance, LocalPolicy, Origin, RepairState
from node_agent.repair.ports import HostJob
from node_agent.repair.uses import UseBook
from tests.fake_clock import FakeClock
from tests.node_agent.repair.alone_cases import DAY, NOW, moment, policy, use
from tests.node_agent.repair.repair_host import Host, running, until_true
from tests.node_agent.repair.stage import DCGM
from tests.node_agent.repair.values import condition


@dataclass
class World:
    """Time that really passes, a wall clock that jumps, boots, and what the host did when."""

    true_seconds: float = 0.0
    wall_offset: float = 0.0
    boot_started: float = 0.0
    boots: int = 0
    uses: list[Use] = field(default_factory=list)
    done: list[tuple[float, Rung]] = field(default_factory=list)

    def moment(self) -> Moment:
        wall = NOW + timedelta(seconds=self.true_seconds + self.wall_offset)
        return Moment(wall, self.true_seconds - self.boot_started, f"boot-{self.boots}")


_RUNGS = (Rung.STOP_PROCESS, Rung.RESET_GPU, Rung.RESTART_SERVICE, Rung.RELOAD_DRIVER, Rung.REBOOT_HOST)
_POLICIES = st.builds(
    lambda allowances, total, period: policy(
        allowances=allowances, total_count=total, total_period_seconds=period, expires_at=NOW + timedelta(days=365)
    ),
    st.dictionaries(
        st.sampled_from(_RUNGS),
        st.builds(Allowance, st.integers(0, 4), st.floats(60.0, DAY), st.booleans()),
    ),
    st.integers(0, 6),
    st.floats(60.0, DAY),
)
_CONDITIONS = st.lists(
    st.builds(
        lambda gpu, rung, count, since: condition(
            gpu_uuid=f"GPU-{gpu}",
            repair=rung,
            count=count,
            process_ids=(4321,),
            service=DCGM,
            first_seen_at=NOW + timedelta(seconds=since),
        ),
        st.integers(0, 2),
        st.sampled_from([*_RUNGS, Rung.QUARANTINE]),
        st.integers(1, 50),
        st.integers(0, 10_000),
    ),
    max_size=3,
)
_JOBS = st.lists(
    st.builds(
        lambda gpu, pids: HostJob(f"j-{gpu}", f"a-{gpu}", (f"GPU-{gpu}",), pids),
        st.integers(0, 2),
        st.sampled_from([frozenset(), frozenset({4321})]),
    ),
    max_size=2,
)
_EVENTS = st.lists(
    st.tuples(
        st.floats(0.0, 30_000.0),
        st.floats(-DAY, DAY) | st.just(0.0),
        st.booleans(),
        _CONDITIONS,
        _JOBS,
        st.sampled_from([RepairState.SUCCEEDED, RepairState.FAILED, RepairState.REFUSED]),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(_POLICIES, _EVENTS)
def test_no_sequence_of_faults_clock_jumps_and_reboots_leads_beyond_the_policy(
    allowed: LocalPolicy,
    events: list[tuple[float, float, bool, list[Condition], list[HostJob], RepairState]],
) -> None:
    world = World()
    for passes, jump, reboots, conditions, jobs, outcome in events:
        world.true_seconds += passes
        if reboots:
            world.wall_offset = 0.0
            world.boots += 1
            world.boot_started = world.true_seconds
        else:
            world.wall_offset += jump
        now = world.moment()
        choice = decide(conditions, world.uses, allowed, jobs, now, node_id="n-1", link_down_seconds=1e6)
        if isinstance(choice, Wait):
            continue
        assert not is_quarantined(world.uses)
        if choice.rung is not Rung.QUARANTINE:
            allowance = allowed.allowances[choice.rung]
            assert allowance.may_stop_jobs or not jobs_hurt(choice.rung, choice.condition, jobs)
            assert now.now < allowed.expires_at
            world.done.append((world.true_seconds, choice.rung))
            within = [rung for at, rung in world.done if world.true_seconds - at < allowance.period_seconds]
            assert within.count(choice.rung) <= allowance.count
            assert (
                sum(world.true_seconds - at < allowed.total_period_seconds for at, _ in world.done)
                <= allowed.total_count
            )
        world.uses.append(Use(f"r-{len(world.uses)}", choice.rung, choice.condition.id, now, outcome))


def test_uses_survive_the_daemon(tmp_path: Path) -> None:
    book = UseBook(tmp_path / "alone" / "uses", moment())
    book.add(use(Rung.RESET_GPU, None), moment())
    book.save()
    book.settle("r-0.0", RepairState.SUCCEEDED, condition(count=5))
    book.save()
    after = UseBook(tmp_path / "alone" / "uses", moment())
    assert after.uses == book.uses
    assert after.uses[0].count_after == 5


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"version":1,"uses":[[1]]}', b"\xff"])
def test_damaged_uses_count_as_spent(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "uses").write_bytes(damage)
    assert is_quarantined(UseBook(tmp_path / "uses", moment()).uses)


async def test_the_host_climbs_by_itself_and_records_why(host: Host) -> None:
    host.clock = FakeClock(NOW)
    host.health.now = [condition()]
    engine = host.engine()
    async with running(engine):
        await until_true(lambda: not engine._busy)
        engine.consider(link_down_seconds=100.0, policy=policy())
        assert engine._autonomy._decided is None
        engine.consider(link_down_seconds=400.0, policy=policy())
        engine.consider(link_down_seconds=401.0, policy=policy())
        await until_true(lambda: bool(engine.records()) and engine.records()[0].state.ended and not engine._busy)
        engine.consider(link_down_seconds=402.0, policy=policy())
        await until_true(lambda: not engine._busy)
    records = engine.records()
    assert len(records) == 1
    assert records[0].order.origin is Origin.LOCAL_POLICY
    assert records[0].order.policy_version == 7
    assert records[0].order.condition_ids == ("gpu/GPU-0/xid",)
    assert records[0].state is RepairState.SUCCEEDED, records[0]
    assert host.stage.resets() == 1


async def test_a_flapping_gpu_ends_in_quarantine_and_the_next_daemon_knows_it(host: Host) -> None:
    host.clock = clock = FakeClock(NOW)
    engine = host.engine()
    async with running(engine):
        for count in range(1, 6):
            await until_true(lambda: not engine._busy)
            host.health.now = [condition(count=10 * count, first_seen_at=clock.now())]
            clock.advance(60.0)
            engine.consider(link_down_seconds=400.0, policy=policy())
            await until_true(lambda: engine._autonomy._decided is None and not engine._busy)
    rungs = [record.order.rung for record in reversed(engine.records())]
    assert rungs == [Rung.RESET_GPU, Rung.REBOOT_HOST, Rung.QUARANTINE]
    assert engine.self_quarantined
    assert host.engine().self_quarantined
    assert host.jobs.stopped == []


async def test_a_daemon_that_is_stopped_in_the_midst_is_no_reason_for_a_harsher_rung(host: Host) -> None:
    host.clock = clock = FakeClock(NOW)
    host.health.now = [condition()]
    engine = host.engine()
    async with running(engine):
        await until_true(lambda: not engine._busy)
        engine.consider(link_down_seconds=400.0, policy=policy())
        await until_true(lambda: any("stop" in line for line in host.stage.log()))
    assert engine.records()[0].state is RepairState.FAILED
    clock.advance(400.0)
    after = host.engine()
    async with running(after):
        await until_true(lambda: not after._busy)
        after.consider(link_down_seconds=400.0, policy=policy())
        await until_true(lambda: after._autonomy._decided is None and not after._busy)
    assert [record.order.rung for record in after.records()] == [Rung.RESET_GPU, Rung.RESET_GPU]


async def test_a_link_that_comes_back_takes_the_decision_away(host: Host) -> None:
    host.clock = FakeClock(NOW)
    host.health.now = [condition()]
    engine = host.engine()
    async with running(engine):
        await until_true(lambda: not engine._busy)
        engine.consider(link_down_seconds=400.0, policy=policy())
        engine.consider(link_down_seconds=None, policy=policy())
        engine.order(None)
        await until_true(lambda: not engine._busy)
    assert engine.records() == ()
    assert host.stage.log() == []
