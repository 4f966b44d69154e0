"""Alone: never beyond the policy, whatever happens; flapping ends the ladder."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.health.model import Condition, Rung, Severity
from node_agent.repair.alone import Climb, Wait, decide
from node_agent.repair.ladder import LADDER, next_rung
from node_agent.repair.model import Allowance, RepairState
from node_agent.repair.ports import HostJob
from tests.node_agent.repair.alone_cases import DAY, HOUR, NOW, choose, moment, policy, rung_of, use
from tests.node_agent.repair.stage import DCGM
from tests.node_agent.repair.values import condition


def test_the_first_rung_is_the_one_that_the_condition_asks_for() -> None:
    assert rung_of(choose([condition()])) is Rung.RESET_GPU


@pytest.mark.parametrize(
    ("changes", "down", "node_id"),
    [
        ({"expires_at": NOW}, 400.0, "n-1"),
        ({"issued_at": NOW + timedelta(hours=1)}, 400.0, "n-1"),
        ({}, 299.0, "n-1"),
        ({}, 400.0, "n-2"),
        ({"allowances": {}}, 400.0, "n-1"),
        ({"total_count": 0}, 400.0, "n-1"),
        ({"allowances": {Rung.RESET_GPU: Allowance(0, DAY, may_stop_jobs=True)}}, 400.0, "n-1"),
        ({"allowances": {Rung.REBOOT_HOST: Allowance(9, DAY, may_stop_jobs=True)}}, 400.0, "n-1"),
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
    every = {rung: Allowance(9, DAY, may_stop_jobs=True) for rung in Rung}
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
    assert rung_of(choose([condition()], spent, at=DAY + 10)) is Rung.RESET_GPU


def test_what_comes_back_within_an_hour_gets_the_next_rung_and_then_quarantine() -> None:
    again = replace(condition(), first_seen_at=NOW + timedelta(seconds=50))
    once = [use(Rung.RESET_GPU, RepairState.SUCCEEDED)]
    assert rung_of(choose([again], once, at=100)) is Rung.REBOOT_HOST
    twice = [*once, use(Rung.REBOOT_HOST, RepairState.SUCCEEDED, at=100)]
    assert rung_of(choose([again], twice, at=200)) is Rung.QUARANTINE
    assert rung_of(choose([again], once, at=HOUR + 1)) is Rung.RESET_GPU


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
    choice = choose([condition()], gone, at=DAY * 30, allowed=policy(expires_at=NOW + timedelta(days=90)))
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
