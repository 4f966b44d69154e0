"""Which job took whose place, what is run with it, and what is told of all tries."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from control_plane.fleet import attempts
from control_plane.fleet.progress import NEEDED
from control_plane.model.ids import JobId
from control_plane.model.job import Job, JobState, ResourceRequest
from control_plane.model.run_replan import RemedyKind, Replan, replan_from_json, replan_to_json
from tests.control_plane.fleet.values import NOW, allocation, job, member
from tests.control_plane.world import job_id, spec


def made(name: str, state: JobState, *needs: str, reason: str = "") -> Job:
    one = job(name, spec(name, needs=tuple(job_id(need) for need in needs)))
    return replace(one, state=state, status_reason=reason)


def cancelled_with(name: str, *needs: str) -> Job:
    return made(name, JobState.CANCELLED, *needs, reason=f"{needs[0]} (j){NEEDED}has failed")


def replan(*pairs: tuple[str, str]) -> Replan:
    return Replan(
        job_id(pairs[0][0]), "NCCL_TIMEOUT", RemedyKind.RETRY, "retry 0 0", "run again as it was",
        ResourceRequest(), 60,
        tuple((job_id(old), job_id(new)) for old, new in pairs), ("log:1",),
    )  # fmt: skip


def names(jobs: tuple[Job, ...]) -> list[str]:
    return [one.spec.name for one in jobs]


def test_a_job_that_was_never_launched_took_nobodys_place() -> None:
    a, b = made("a", JobState.FAILED), made("b", JobState.QUEUED)
    assert attempts.replaced((a, b), [replan(("a", "b"))]) == {a.id: b.id}
    assert attempts.replaced((a,), [replan(("a", "b"))]) == {}
    assert names(attempts.current((a, b), {a.id: b.id})) == ["b"]


def test_a_line_of_places_is_followed_to_its_beginning_and_its_end() -> None:
    places: dict[JobId, JobId] = {job_id("a"): job_id("b"), job_id("b"): job_id("c")}
    assert attempts.line_of(made("c", JobState.FAILED), places) == (job_id("c"), job_id("b"), job_id("a"))
    assert attempts.newest(job_id("a"), places) == job_id("c")
    assert attempts.newest(job_id("x"), places) == job_id("x")


def test_all_that_waited_for_a_failed_job_is_run_with_it_and_nothing_that_a_person_stopped() -> None:
    failed = made("a", JobState.FAILED)
    b, c = cancelled_with("b", "a"), cancelled_with("c", "b")
    stopped = made("d", JobState.CANCELLED, "a", reason="ada stopped it")
    after_stopped = cancelled_with("e", "d")
    apart = made("f", JobState.SUCCEEDED)
    found = attempts.waits_with(failed, (failed, c, b, stopped, after_stopped, apart), {})
    assert names(found) == ["b", "c"]
    assert attempts.was_stopped(stopped)
    assert not attempts.was_stopped(b)


def test_what_needs_two_failed_jobs_is_run_with_the_second_of_them() -> None:
    a, c, b = made("a", JobState.FAILED), made("c", JobState.FAILED), cancelled_with("b", "a", "c")
    assert attempts.waits_with(a, (a, c, b), {}) == ()
    again = made("a2", JobState.QUEUED)
    assert names(attempts.waits_with(c, (a, c, b, again), {a.id: again.id})) == ["b"]


def test_what_is_told_names_every_job_and_every_try() -> None:
    a = replace(made("a", JobState.FAILED, reason="exit code 1"), cost_usd=Decimal(2))
    b = replace(made("b", JobState.SUCCEEDED, reason="fine"), cost_usd=Decimal(3))
    denied = replan(("a", "never"))
    assert attempts.told((a, b), [replan(("a", "b")), denied]) == [
        f"a ({a.id}): failed (exit code 1)",
        f"b ({b.id}) in place of {a.id}: succeeded (fine)",
        f"Because of NCCL_TIMEOUT [log:1], a ({a.id}) was run again as it was: {b.id}.",
    ]
    assert attempts.told((a,), []) == ["a: failed (exit code 1)"]
    assert attempts.cost((a, b)) == "cost $5.00 for 0.0 GPU-seconds"


def test_a_step_keeps_all_of_what_it_does() -> None:
    one = replan(("a", "b"), ("c", "d"))
    assert replan_from_json(replan_to_json(one)) == one


def test_an_attempt_on_a_part_of_a_gpu_or_on_none_ran_as_long_as_on_a_whole_one() -> None:
    whole = replace(allocation(member(0, gpu_seconds=600)), ended_at=NOW + timedelta(seconds=600))
    half = replace(allocation(member(0, gpu_seconds=300)), gpu_milli=500)
    none = replace(whole, members=(replace(member(0), gpu_uuids=()),))
    assert [attempts.seconds_of(one) for one in (whole, half, none)] == [600, 600, 600]
