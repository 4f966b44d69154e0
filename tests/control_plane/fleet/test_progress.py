from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet import progress
from control_plane.fleet.lifecycle import ALLOCATION
from control_plane.model.job import Allocation, AllocationState, ExitReason, JobState
from control_plane.model.report import MemberReport
from tests.control_plane.fleet.values import NOW, allocation, job, member, report

S, X = AllocationState, ExitReason
GANG = allocation(member(0), member(1), member(2))


@st.composite
def reports(draw: st.DrawFn) -> MemberReport:
    state = draw(st.sampled_from([S.STARTING, S.RUNNING, S.STOPPING, S.ENDED]))
    reason = draw(st.sampled_from(list(X))) if state is S.ENDED else None
    return report(
        draw(st.integers(0, 3)),
        state,
        reason,
        exit_code=draw(st.integers(0, 2)) if reason is X.EXITED else None,
        gpu_seconds=draw(st.floats(0, 1e6)),
        ended_at=NOW + timedelta(seconds=draw(st.integers(0, 5))) if state is S.ENDED else None,
    )


def after(start: Allocation, said: list[MemberReport]) -> Allocation:
    for one in said:
        start = progress.merge(start, one, NOW)
    return start


def end(rank: int, reason: ExitReason = X.EXITED, *, exit_code: int | None = None, second: int = 0) -> MemberReport:
    return report(rank, S.ENDED, reason, exit_code=exit_code, ended_at=NOW + timedelta(seconds=second))


@given(st.lists(reports(), max_size=12))
def test_a_report_twice_is_a_report_once(said: list[MemberReport]) -> None:
    once = GANG
    for one in said:
        once = progress.merge(once, one, NOW)
        assert progress.merge(once, one, NOW) == once


@given(st.lists(reports(), max_size=12))
def test_an_attempt_and_its_members_only_move_forward(said: list[MemberReport]) -> None:
    before = GANG
    for one in said:
        now = progress.merge(before, one, NOW)
        assert now.state is before.state or ALLOCATION.allows(before.state, now.state)
        for earlier, later in zip(before.members, now.members, strict=True):
            assert later.state is earlier.state or ALLOCATION.allows(earlier.state, later.state)
            assert later.gpu_seconds >= earlier.gpu_seconds
        assert now.stop_requested >= before.stop_requested
        all_ended = all(one.state is S.ENDED for one in now.members)
        assert (now.state is S.ENDED or progress.is_undecided(now)) == all_ended
        before = now


@given(st.lists(reports(), max_size=8), st.randoms(use_true_random=False))
def test_reports_of_one_member_that_arrive_late_change_nothing(said: list[MemberReport], random: object) -> None:
    """A host's newest report says all that its older ones said."""
    ordered = sorted((replace(one, rank=0) for one in said), key=lambda one: list(S).index(one.state))
    newest = {one.state: one for one in ordered if one.state is not S.ENDED}
    last = [*newest.values(), *[one for one in ordered if one.state is S.ENDED][:1]]
    if not last:
        return
    direct = progress.merge(GANG, last[-1], NOW).members[0]
    late = after(progress.merge(GANG, last[-1], NOW), last).members[0]
    assert (late.state, late.exit_reason, late.exit_code) == (direct.state, direct.exit_reason, direct.exit_code)


@given(st.permutations([end(0, exit_code=1, second=2), end(1, exit_code=0), end(2, X.OOM_KILLED, second=1)]))
def test_the_first_failure_is_blamed_in_whatever_order_hosts_report(said: list[MemberReport]) -> None:
    cause = progress.first_failure(after(GANG, said))
    assert cause is not None
    assert (cause.rank, cause.exit_reason) == (2, X.OOM_KILLED)


@given(
    st.permutations([end(0, exit_code=1), end(1, X.NODE_LOST, second=5), end(2, X.STOPPED, second=1)]),
)
def test_a_lost_host_is_blamed_before_the_gang_mates_that_failed_because_of_it(said: list[MemberReport]) -> None:
    ended = after(GANG, said)
    cause = progress.first_failure(ended)
    assert cause is not None
    assert (cause.rank, ended.waived) == (1, True)
    assert progress.judge(job(), ended, max_attempts=3).state is JobState.QUEUED


@given(st.permutations([end(0, exit_code=3), end(1, X.STOPPED), end(2, X.STOPPED)]))
def test_members_that_were_only_stopped_are_not_to_blame(said: list[MemberReport]) -> None:
    ended = progress.conclude(after(GANG, said), NOW, {})
    verdict = progress.judge(job(), ended, max_attempts=3)
    assert (verdict.state, verdict.exit_code, ended.waived) == (JobState.FAILED, 3, False)


def test_one_failure_stops_the_rest_of_the_gang() -> None:
    running = after(GANG, [report(rank, S.RUNNING) for rank in range(3)])
    assert (running.state, running.stop_requested) == (S.RUNNING, False)
    failed = progress.merge(running, end(1, exit_code=1), NOW)
    assert (failed.state, failed.stop_requested) == (S.STOPPING, True)
    stopped = progress.merge(failed, end(0, X.STOPPED), NOW)
    assert stopped.members[0].exit_reason is X.GANG_STOPPED


def test_one_success_leaves_the_rest_of_the_gang_running() -> None:
    running = after(GANG, [report(rank, S.RUNNING) for rank in range(3)])
    one_done = progress.merge(running, end(1, exit_code=0), NOW)
    assert (one_done.state, one_done.stop_requested) == (S.RUNNING, False)


def test_a_lost_node_ends_only_its_own_members_and_stops_the_others() -> None:
    running = after(GANG, [report(rank, S.RUNNING) for rank in range(3)])
    lost = progress.lose(running, {running.members[1].node_id}, NOW)
    assert [one.state for one in lost.members] == [S.RUNNING, S.ENDED, S.RUNNING]
    assert (lost.state, lost.stop_requested) == (S.STOPPING, True)
    ended = after(lost, [end(0, X.STOPPED), end(2, X.STOPPED)])
    assert (ended.state, ended.waived) == (S.ENDED, True)


def test_a_requested_stop_shows_at_once() -> None:
    stopping = progress.request_stop(after(GANG, [report(0, S.RUNNING)]), NOW)
    assert (stopping.state, stopping.stop_requested) == (S.STOPPING, True)
    assert progress.merge(stopping, report(1, S.RUNNING), NOW).state is S.STOPPING


@pytest.mark.parametrize(
    ("epoch", "expected"), [(1, JobState.QUEUED), (2, JobState.QUEUED), (3, JobState.FAILED), (4, JobState.FAILED)]
)
def test_lost_work_is_tried_again_up_to_the_limit(epoch: int, expected: JobState) -> None:
    lost = progress.lose(replace(GANG, epoch=epoch), {one.node_id for one in GANG.members}, NOW)
    assert progress.judge(job(), lost, max_attempts=3).state is expected


def test_a_job_that_was_to_be_cancelled_is_not_tried_again() -> None:
    lost = progress.lose(GANG, {one.node_id for one in GANG.members}, NOW)
    cancelled = replace(job(), cancel_requested=True, status_reason="is being stopped")
    assert progress.judge(cancelled, lost, max_attempts=3).state is JobState.CANCELLED


@given(st.sampled_from(list(X)), st.integers(0, 2))
def test_how_a_member_ended_can_be_told_to_a_person(reason: ExitReason, exit_code: int) -> None:
    ended = after(allocation(member(0)), [end(0, reason, exit_code=exit_code)])
    if progress.is_undecided(ended):
        ended = progress.conclude(ended, NOW, {})
    assert "node-0" in progress.describe(ended.members[0])
    assert ended.waived == reason.is_infrastructure


def test_what_the_host_says_of_an_end_is_told_once() -> None:
    told = "exit code 127: the shell found no such command"
    ended = replace(member(0), exit_reason=ExitReason.EXITED, exit_code=127, message=told)
    assert progress.describe(ended).endswith(f": {told}")
    assert progress.describe(replace(ended, message="see its log")).endswith(": exit code 127 (see its log)")


@given(st.permutations([end(0, exit_code=1), end(1, X.STOPPED), end(2, X.SIGNALED, second=9)]))
def test_an_end_that_a_fault_may_explain_waits_for_its_verdict(said: list[MemberReport]) -> None:
    waiting = after(GANG, said)
    assert (waiting.state, progress.is_undecided(waiting)) == (S.STOPPING, True)
    running = replace(job(epoch=1), state=JobState.RUNNING)
    assert progress.judge(running, waiting, max_attempts=3).state is JobState.RUNNING
    assert progress.request_stop(waiting, NOW) == waiting
    lost = progress.conclude(waiting, NOW, {2: "node-2: fell off the bus [gpu/xid-79]"})
    verdict = progress.judge(running, lost, max_attempts=3)
    assert (lost.state, lost.waived, verdict.state) == (S.ENDED, True, JobState.QUEUED)
    assert "rank 0 on node-0: exit code 1 (node-2: fell off the bus" in verdict.reason
    own = progress.conclude(waiting, NOW, {})
    assert progress.judge(running, own, max_attempts=3).state is JobState.FAILED


@pytest.mark.parametrize("reason", [X.OOM_KILLED, X.TIMED_OUT, X.STOPPED, X.FENCED])
def test_an_end_that_no_fault_explains_is_judged_at_once(reason: ExitReason) -> None:
    assert after(allocation(member(0)), [end(0, reason)]).state is S.ENDED


def test_a_job_without_gpus_is_judged_at_once() -> None:
    bare = replace(member(0), gpu_uuids=())
    assert after(allocation(bare), [end(0, exit_code=1)]).state is S.ENDED
