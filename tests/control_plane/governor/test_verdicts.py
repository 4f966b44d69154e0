"""Whose fault the end of an attempt was: word of a GPU's fault may come before its end, with it or after it."""

from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from control_plane.governor import health
from control_plane.model.account import User
from control_plane.model.identity import Role
from control_plane.model.job import ExitReason, JobState
from control_plane.model.node import Node
from control_plane.services.link_verdicts import LinkVerdicts
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import ENDED, RUNNING, World, principal, spec

GRACE = 5.0


@dataclass
class Ward:
    """A job that runs on one GPU of a host, and the loop that judges its end."""

    world: World
    clinic: Clinic
    user: User
    alpha: Node
    loop: LinkVerdicts

    async def dies(self) -> None:
        await self.world.report("job", ENDED, ExitReason.EXITED, exit_code=1, gpu_seconds=100, verdict=False)

    async def passes(self, seconds: float) -> JobState:
        self.world.clock.advance(seconds)
        await self.loop.look()
        return (await self.world.job("job")).state


@pytest.fixture
async def ward(world: World) -> Ward:
    user, alpha = await world.user(budget_usd=100), await world.node("alpha")
    await world.launch(user, spec("job"))
    await world.place("job", (alpha, [0]))
    await world.report("job", RUNNING)
    return Ward(world, Clinic.of(world), user, alpha, LinkVerdicts(world.store, grace_seconds=GRACE, clock=world.clock))


async def test_a_job_that_dies_of_a_fault_told_before_is_queued_again_at_once_and_not_charged(ward: Ward) -> None:
    await ward.clinic.raised(ward.alpha)
    await ward.dies()
    assert (await ward.world.job("job")).state is JobState.RUNNING
    assert await ward.passes(0) is JobState.QUEUED
    job = await ward.world.job("job")
    assert (job.epoch, job.cost_usd, job.moves) == (1, Decimal(0), 0)
    assert "trouble gpu/xid-79" in job.status_reason
    assert (job.allocations[-1].waived, job.allocations[-1].members[0].exit_code) == (True, 1)
    records = [one.action for one in await ward.world.audit(job_id=job.id)]
    assert (records.count("attempt.lost_to_fault"), records.count("job.requeued")) == (1, 1)
    await ward.clinic.scheduler.round()
    assert (await ward.world.newest("job")).members[0].gpu_uuids != ("GPU-alpha-0",)


async def test_a_fault_that_is_told_within_the_grace_after_the_end_counts_as_well(ward: Ward) -> None:
    await ward.dies()
    assert await ward.passes(0) is JobState.RUNNING
    assert "waits a moment" in (await ward.world.job("job")).status_reason
    assert await ward.passes(GRACE - 1) is JobState.RUNNING
    await ward.clinic.raised(ward.alpha)
    assert await ward.passes(0.5) is JobState.QUEUED


async def test_without_a_fault_the_job_has_failed_once_the_grace_is_over_and_stays_so(ward: Ward) -> None:
    await ward.dies()
    await ward.passes(0)
    assert await ward.world.held() == set()
    assert await ward.passes(GRACE) is JobState.FAILED
    job = await ward.world.job("job")
    assert (job.exit_code, job.cost_usd > 0, job.reserved_usd) == (1, True, Decimal(0))
    await ward.clinic.raised(ward.alpha)
    assert await ward.passes(1) is JobState.FAILED
    account = await ward.world.account(ward.user)
    assert (account.reserved_usd, account.spent_usd) == (Decimal(0), job.cost_usd)


async def test_a_fault_that_was_over_before_the_host_could_tell_of_it_still_counts(ward: Ward) -> None:
    await ward.dies()
    await ward.clinic.raised(ward.alpha)
    await ward.clinic.cleared(ward.alpha)
    assert await ward.passes(0) is JobState.QUEUED


async def test_a_host_that_comes_back_tells_of_the_end_and_of_the_fault_at_once(ward: Ward) -> None:
    await ward.dies()
    fault = ward.clinic.trouble("gpu/xid-79", ward.alpha)
    await ward.world.store.write(lambda tx: health.reconcile(tx, ward.alpha.id, [fault]))
    assert await ward.passes(0) is JobState.QUEUED


async def test_two_faults_at_once_and_two_looks_are_one_outcome(ward: Ward) -> None:
    await ward.clinic.raised(ward.alpha, "a")
    await ward.clinic.raised(ward.alpha, "b")
    await ward.dies()
    for _ in range(3):
        await ward.passes(10)
    job = await ward.world.job("job")
    records = [one.action for one in await ward.world.audit(job_id=job.id)]
    assert (job.state, job.epoch, records.count("job.requeued")) == (JobState.QUEUED, 1, 1)


async def test_a_fault_of_another_gpu_or_of_a_program_is_no_excuse(ward: Ward) -> None:
    await ward.clinic.raised(ward.alpha, "gpu/xid-95", 1)
    await ward.clinic.raised(ward.alpha, "gpu/xid-31", 0, code=31)
    await ward.dies()
    await ward.passes(0)
    assert await ward.passes(GRACE) is JobState.FAILED


async def test_a_job_whose_gpus_keep_failing_has_only_so_many_attempts(world: World) -> None:
    clinic, user, alpha = Clinic.of(world), await world.user(), await world.node("alpha")
    loop = LinkVerdicts(world.store, grace_seconds=GRACE, clock=world.clock)
    await world.launch(user, replace(spec("job"), max_attempts=2))
    for attempt in range(2):
        await world.place("job", (alpha, [attempt]))
        await clinic.raised(alpha, f"gpu/{attempt}", attempt)
        await world.report("job", ENDED, ExitReason.SIGNALED, verdict=False)
        await loop.look()
    job = await world.job("job")
    assert (job.state, job.epoch, job.cost_usd) == (JobState.FAILED, 2, Decimal(0))


async def test_a_gang_is_lost_with_the_gpu_of_any_member(world: World) -> None:
    clinic, user = Clinic.of(world), await world.user()
    alpha, beta = await world.node("alpha"), await world.node("beta")
    loop = LinkVerdicts(world.store, grace_seconds=GRACE, clock=world.clock)
    await world.launch(user, spec("gang", gpu=2, nodes=2))
    await world.place("gang", (alpha, [0]), (beta, [0]))
    await world.report("gang", ENDED, ExitReason.EXITED, exit_code=1, rank=0, verdict=False)  # it could not reach beta
    await clinic.raised(beta)
    await loop.look()
    assert (await world.job("gang")).state is JobState.PLACED
    await world.report("gang", ENDED, ExitReason.STOPPED, rank=1, verdict=False)
    await loop.look()
    job = await world.job("gang")
    assert (job.state, "beta: trouble" in job.status_reason) == (JobState.QUEUED, True)


async def test_a_person_who_cancels_meanwhile_has_it_cancelled(ward: Ward) -> None:
    await ward.dies()
    await ward.world.stop("job", ward.user)
    assert await ward.passes(0) is JobState.CANCELLED


async def test_a_restart_gives_the_grace_anew_and_the_kill_switch_changes_nothing(ward: Ward) -> None:
    admin = principal(await ward.world.user("root", role=Role.ADMIN))
    await ward.dies()
    await ward.passes(0)
    await ward.passes(GRACE - 1)
    ward.loop = LinkVerdicts(ward.world.store, grace_seconds=GRACE, clock=ward.world.clock)
    assert await ward.passes(GRACE - 1) is JobState.RUNNING
    await ward.world.governor.set_kill_switch(engaged=True, principal=admin, reason="smoke")
    await ward.clinic.raised(ward.alpha)
    assert await ward.passes(GRACE) is JobState.QUEUED
