"""Alone: never beyond the policy, whatever happens; flapping ends the ladder."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.health.model import Condition, Rung, Severity
from node_agent.repair.alone import Climb, Moment, Use, Wait, decide, is_quarantined, jobs_hurt
from node_agent.repair.ladder import LADDER, next_rung
from node_agent.repair.model import Allowance, LocalPolicy, Origin, RepairState
from node_agent.repair.ports import HostJob
from node_agent.repair.uses import UseBook
from tests.fake_clock import FakeClock
from tests.node_agent.repair.repair_host import Host, running, until_true
from tests.node_agent.repair.stage import DCGM
from tests.node_agent.repair.values import condition

_NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
_HOUR, _DAY = 3_600.0, 86_400.0


def policy(**changes: object) -> LocalPolicy:
    made = LocalPolicy(
        node_id="n-1",
        version=7,
        issued_at=_NOW - timedelta(hours=1),
        expires_at=_NOW + timedelta(days=7),
        allowances={
            Rung.RESET_GPU: Allowance(2, _DAY, may_stop_jobs=False),
            Rung.REBOOT_HOST: Allowance(1, _DAY, may_stop_jobs=True),
        },
        total_count=10,
        total_period_seconds=_DAY,
        after_seconds=300.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields of a policy, by name


def moment(seconds: float = 0.0, *, boot_id: str = "boot") -> Moment:
    return Moment(_NOW + timedelta(seconds=seconds), 1_000.0 + seconds, boot_id)


def use(rung: Rung, outcome: RepairState | None, *, at: float = 0.0, condition_id: str = "gpu/GPU-0/xid") -> Use:
    return Use(f"r-{at}", rung, condition_id, moment(at), outcome)


def choose(
    conditions: list[Condition],
    uses: list[Use] | None = None,
    *,
    at: float = 0.0,
    allowed: LocalPolicy | None = None,
    jobs: list[HostJob] | None = None,
    down: float = 400.0,
    node_id: str = "n-1",
) -> Climb | Wait:
    return decide(
        conditions, uses or [], allowed or policy(), jobs or [], moment(at), node_id=node_id, link_down_seconds=down
    )


def rung_of(choice: Climb | Wait) -> Rung | None:
    return choice.rung if isinstance(choice, Climb) else None


def test_the_first_rung_is_the_one_that_the_condition_asks_for() -> None:
    assert rung_of(choose([condition()])) is Rung.RESET_GPU


@pytest.mark.parametrize(
    ("changes", "down", "node_id"),
    [
        ({"expires_at": _NOW}, 400.0, "n-1"),
        ({"issued_at": _NOW + timedelta(hours=1)}, 400.0, "n-1"),
        ({}, 299.0, "n-1"),
        ({}, 400.0, "n-2"),
        ({"allowances": {}}, 400.0, "n-1"),
        ({"total_count": 0}, 400.0, "n-1"),
        ({"allowances": {Rung.RESET_GPU: Allowance(0, _DAY, may_stop_jobs=True)}}, 400.0, "n-1"),
        ({"allowances": {Rung.REBOOT_HOST: Allowance(9, _DAY, may_stop_jobs=True)}}, 400.0, "n-1"),
    ],
)
def test_nothing_is_done_without_a_policy_that_allows_exactly_that_now(
    changes: dict[str, object], down: float, node_id: str
) -> None:
    assert isinstance(choose([condition()], allowed=policy(**changes), down=down, node_id=node_id), Wait)


def test_nothing_is_done_without_a_policy_at_all() -> None:
    choice = decide([condition()], [], None, [], moment(), node_id="n-1", link_down_seconds=1e9)
    assert isinstance(choice, Wait)
    assert "only watches" in choice.reason


@pytest.mark.parametrize(
    "left_alone",
    [
        replace(condition(), acknowledged_by="ops"),
        condition(repair=None),
        condition(repair=Rung.MOVE_JOB),
        condition(repair=Rung.VERIFY),
        condition(severity=Severity.INFO),
        condition(repair=Rung.RESTART_SERVICE),
        condition(repair=Rung.STOP_PROCESS),
    ],
)
def test_a_condition_that_asks_for_nothing_the_host_can_do_is_left_alone(left_alone: Condition) -> None:
    every = {rung: Allowance(9, _DAY, may_stop_jobs=True) for rung in Rung}
    assert isinstance(choose([left_alone], allowed=policy(allowances=every)), Wait)


def test_the_worst_condition_comes_first_and_a_blocked_one_does_not_block_the_next() -> None:
    mild = condition("ECC", gpu_uuid="GPU-1", severity=Severity.WARNING)
    worst = condition()
    choice = choose([mild, worst])
    assert isinstance(choice, Climb)
    assert choice.condition == worst
    choice = choose([mild, worst], jobs=[HostJob("j-1", "a-1", ("GPU-0",))])
    assert isinstance(choice, Climb)
    assert choice.condition == mild


def test_a_rung_that_stops_jobs_needs_the_policys_word() -> None:
    jobs = [HostJob("j-1", "a-1", ("GPU-0",))]
    choice = choose([condition()], jobs=jobs)
    assert isinstance(choice, Wait)
    assert "j-1" in choice.reason
    reboot = choose([condition(repair=Rung.REBOOT_HOST)], jobs=jobs)
    assert isinstance(reboot, Climb)
    assert reboot.may_stop_jobs


def test_after_a_failed_rung_comes_the_next_allowed_one_and_at_the_end_quarantine() -> None:
    assert rung_of(choose([condition()], [use(Rung.RESET_GPU, RepairState.FAILED)], at=10)) is Rung.REBOOT_HOST
    both = [use(Rung.RESET_GPU, RepairState.FAILED), use(Rung.REBOOT_HOST, RepairState.FAILED, at=10)]
    assert rung_of(choose([condition()], both, at=20)) is Rung.QUARANTINE


def test_an_exhausted_rung_is_not_skipped() -> None:
    spent = [use(Rung.RESET_GPU, RepairState.SUCCEEDED, at=n, condition_id=f"c-{n}") for n in range(2)]
    assert isinstance(choose([condition()], spent, at=10), Wait)
    assert rung_of(choose([condition()], spent, at=_DAY + 10)) is Rung.RESET_GPU


def test_what_comes_back_within_an_hour_gets_the_next_rung_and_then_quarantine() -> None:
    again = replace(condition(), first_seen_at=_NOW + timedelta(seconds=50))
    once = [use(Rung.RESET_GPU, RepairState.SUCCEEDED)]
    assert rung_of(choose([again], once, at=100)) is Rung.REBOOT_HOST
    twice = [*once, use(Rung.REBOOT_HOST, RepairState.SUCCEEDED, at=100)]
    assert rung_of(choose([again], twice, at=200)) is Rung.QUARANTINE
    assert rung_of(choose([again], once, at=_HOUR + 1)) is Rung.RESET_GPU


def test_a_condition_that_was_not_seen_since_its_repair_has_not_come_back() -> None:
    done = replace(
        use(Rung.RESET_GPU, RepairState.SUCCEEDED), count_after=3, first_seen_after=condition().first_seen_at
    )
    assert isinstance(choose([condition(count=3)], [done], at=10), Wait)
    assert rung_of(choose([condition(count=4)], [done], at=10)) is Rung.REBOOT_HOST


def test_a_rung_that_is_refused_is_tried_again_later_and_then_passed_over() -> None:
    refused = [use(Rung.RESET_GPU, RepairState.REFUSED)]
    assert isinstance(choose([condition()], refused, at=10), Wait)
    assert rung_of(choose([condition()], refused, at=301)) is Rung.RESET_GPU
    thrice = [use(Rung.RESET_GPU, RepairState.REFUSED, at=400.0 * n) for n in range(3)]
    assert rung_of(choose([condition()], thrice, at=900)) is Rung.REBOOT_HOST


def test_a_host_that_has_quarantined_itself_does_nothing_more() -> None:
    gone = [use(Rung.QUARANTINE, RepairState.SUCCEEDED, condition_id="another")]
    choice = choose([condition()], gone, at=_DAY * 30, allowed=policy(expires_at=_NOW + timedelta(days=90)))
    assert isinstance(choice, Wait)
    assert "quarantined" in choice.reason


def test_a_repair_that_has_not_ended_is_waited_for() -> None:
    assert isinstance(choose([condition()], [use(Rung.RESET_GPU, None, condition_id="another")]), Wait)


@given(st.sampled_from(LADDER), st.sets(st.sampled_from(Rung)))
def test_the_next_rung_is_always_above_and_allowed_or_quarantine(after: Rung, allowed: set[Rung]) -> None:
    asked = condition(process_ids=(1,), service=DCGM)
    following = next_rung(asked, after, allowed)
    assert following is Rung.QUARANTINE or (following in allowed and LADDER.index(following) > LADDER.index(after))
    assert following is not Rung.MOVE_JOB


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
        wall = _NOW + timedelta(seconds=self.true_seconds + self.wall_offset)
        return Moment(wall, self.true_seconds - self.boot_started, f"boot-{self.boots}")


_RUNGS = (Rung.STOP_PROCESS, Rung.RESET_GPU, Rung.RESTART_SERVICE, Rung.RELOAD_DRIVER, Rung.REBOOT_HOST)
_POLICIES = st.builds(
    lambda allowances, total, period: policy(
        allowances=allowances, total_count=total, total_period_seconds=period, expires_at=_NOW + timedelta(days=365)
    ),
    st.dictionaries(
        st.sampled_from(_RUNGS),
        st.builds(Allowance, st.integers(0, 4), st.floats(60.0, _DAY), st.booleans()),
    ),
    st.integers(0, 6),
    st.floats(60.0, _DAY),
)
_CONDITIONS = st.lists(
    st.builds(
        lambda gpu, rung, count, since: condition(
            gpu_uuid=f"GPU-{gpu}",
            repair=rung,
            count=count,
            process_ids=(4321,),
            service=DCGM,
            first_seen_at=_NOW + timedelta(seconds=since),
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
        st.floats(-_DAY, _DAY) | st.just(0.0),
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
    host.clock = FakeClock(_NOW)
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
    host.clock = clock = FakeClock(_NOW)
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
    host.clock = clock = FakeClock(_NOW)
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
    host.clock = FakeClock(_NOW)
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
