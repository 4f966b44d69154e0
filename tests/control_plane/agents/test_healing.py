from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from control_plane.agents.healing import Healing, Leases
from control_plane.agents.housekeeping import Housekeeping
from control_plane.agents.scheduler import Scheduler
from control_plane.clock import Clock
from control_plane.fleet.ladder import DEADLINE_SECONDS
from control_plane.model.action import CordonNode, RepairNode, RevokeNode
from control_plane.model.identity import Role
from control_plane.model.ids import NodeId
from control_plane.model.job import AllocationState, ExitReason, JobState
from control_plane.model.node import NodeState
from control_plane.model.repair import RepairState, Rung
from control_plane.store import nodes, requests
from control_plane.store.database import Tx
from control_plane.store.writer import Write
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import ENDED, LIMITS, RUNNING, World, spec

LEASES = Leases(lease_seconds=15, fence_seconds=300, margin_seconds=5)
GRACE = 10  # of every job here
GIVE_UP = 15 + 300 + GRACE + 5


@dataclass
class FakeLinks:
    """Who was heard when."""

    clock: Clock
    heard: dict[NodeId, float] = field(default_factory=dict)
    started: float = 0.0
    lease_seconds: float = 0.0

    def silent_for_seconds(self, node_id: NodeId) -> float:
        return self.clock.monotonic() - self.heard.get(node_id, self.started)


@dataclass
class Site:
    world: World
    links: FakeLinks
    healing: Healing
    scheduler: Scheduler

    async def passes(self, seconds: float, *heard: NodeId) -> str:
        """Let time go by while only these nodes are heard, then have the agent look."""
        self.world.clock.advance(seconds)
        for node_id in heard:
            self.links.heard[node_id] = self.world.clock.monotonic()
        return await self.healing.round()


@pytest.fixture
def site(world: World) -> Site:
    links = FakeLinks(world.clock, started=world.clock.monotonic())
    healing = Healing(world.store, world.governor, links, LEASES, clock=world.clock)
    return Site(
        world, links, healing, Scheduler(world.store, world.governor, max_gpus_per_user=LIMITS.max_gpus_per_user)
    )


async def test_a_node_is_lost_only_after_its_lease_and_gets_no_new_work(site: Site) -> None:
    world = site.world
    user, alpha = await world.user(), await world.node("alpha")
    await site.passes(15)
    assert (await world.node_now(alpha)).state is NodeState.READY
    assert "alpha is lost" in await site.passes(1)
    assert (await world.node_now(alpha)).state is NodeState.LOST
    await world.launch(user, spec("train"))
    await site.scheduler.round()
    assert (await world.job("train")).state is JobState.QUEUED
    assert [record.action for record in await world.audit(node_id=alpha.id)][-1] == "node.lost"


async def test_a_lease_that_has_stretched_is_waited_for_before_a_node_is_lost_or_given_up(site: Site) -> None:
    world = site.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("train"))
    await site.scheduler.round()
    site.links.lease_seconds = 60.0
    await site.passes(60)
    assert (await world.node_now(alpha)).state is not NodeState.LOST
    assert "longer than its lease of 60 s" in await site.passes(1)
    await site.passes(GIVE_UP - 61 + 45)
    assert (await world.job("train")).state is JobState.PLACED
    await site.passes(1)
    assert (await world.job("train")).state is JobState.QUEUED


async def test_each_node_is_lost_in_the_round_after_its_own_lease_whoever_is_looked_at_in_between(site: Site) -> None:
    heard_until = {(await site.world.node(name)).id: seconds for name, seconds in (("a", 3), ("b", 9), ("c", 20))}
    lost_at: dict[NodeId, int] = {}
    for second in range(1, 40):
        if second == 5:
            heard_until[(await site.world.node("d")).id] = 5
        await site.passes(1, *(node_id for node_id, until in heard_until.items() if second <= until))
        for node in await site.world.store.read(nodes.states):
            if node.state is NodeState.LOST:
                lost_at.setdefault(node.id, second)
    assert lost_at == {node_id: until + 16 for node_id, until in heard_until.items()}


async def test_many_silent_nodes_are_lost_in_one_write(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        await site.world.node(f"node-{number}", gpu=1)
    commits: list[int] = []
    writer = site.world.store._database.writer
    commit = writer._commit

    def counted(batch: list[Write[object]]) -> None:
        commits.append(len(batch))
        commit(batch)

    monkeypatch.setattr(writer, "_commit", counted)
    await site.passes(20)
    assert commits == [1]
    nodes_now = await site.world.store.read(nodes.states)
    assert {node.state for node in nodes_now} == {NodeState.LOST}


async def test_work_of_a_lost_node_starts_elsewhere_only_once_its_host_has_surely_stopped_it(site: Site) -> None:
    world = site.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("train"))
    await site.scheduler.round()
    beta = await world.node("beta")
    await site.passes(16, beta.id)
    await site.passes(GIVE_UP - 16, beta.id)
    await site.scheduler.round()
    assert (await world.job("train")).epoch == 1
    assert (await world.job("train")).state is JobState.PLACED
    await site.passes(1, beta.id)
    assert (await world.job("train")).state is JobState.QUEUED
    await site.scheduler.round()
    newest = await world.newest("train")
    assert (newest.epoch, newest.members[0].node_name) == (2, "beta")
    assert alpha.id not in {member.node_id for member in newest.members}


async def test_a_node_that_comes_back_in_time_keeps_its_work(site: Site) -> None:
    world = site.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("train"))
    await site.scheduler.round()
    await world.report("train", RUNNING)
    await site.passes(200)
    await world.come_back(alpha)
    await site.passes(1, alpha.id)
    await world.finish("train")
    job = await world.job("train")
    assert (job.state, job.epoch) == (JobState.SUCCEEDED, 1)


async def test_a_gang_that_loses_one_node_keeps_the_gpus_of_the_others_until_their_hosts_have_stopped(
    site: Site,
) -> None:
    world = site.world
    user, alpha, beta = await world.user(), await world.node("alpha"), await world.node("beta")
    await world.launch(user, spec("gang", gpu=16, nodes=2))
    await site.scheduler.round()
    for rank in range(2):
        await world.report("gang", RUNNING, rank=rank)
    await site.passes(GIVE_UP + 1, beta.id)
    await site.passes(1, beta.id)
    attempt = await world.newest("gang")
    assert [member.state for member in attempt.members] == [AllocationState.ENDED, AllocationState.RUNNING]
    assert (attempt.state, attempt.stop_requested) == (AllocationState.STOPPING, True)
    assert await world.held(beta.id) == {f"GPU-beta-{index}" for index in range(8)}
    assert await world.held(alpha.id) == set()
    await world.report("gang", ENDED, ExitReason.STOPPED, rank=1)
    assert (await world.job("gang")).state is JobState.QUEUED
    assert await world.held() == set()


async def test_each_node_of_a_gang_is_given_up_by_its_own_silence(site: Site) -> None:
    world = site.world
    user, _alpha, beta = await world.user(), await world.node("alpha"), await world.node("beta")
    await world.launch(user, spec("gang", gpu=16, nodes=2))
    await site.scheduler.round()
    await site.passes(GIVE_UP - 16, beta.id)  # alpha has been silent for long, beta falls silent only now
    await site.passes(17)
    await site.passes(1)
    attempt = await world.newest("gang")
    assert [member.state for member in attempt.members] == [AllocationState.ENDED, AllocationState.PENDING]
    assert (await world.job("gang")).state is JobState.PLACED
    await site.passes(GIVE_UP)
    assert (await world.job("gang")).state is JobState.QUEUED


async def test_work_of_a_revoked_node_waits_for_its_host_to_stop_it_too(site: Site) -> None:
    world = site.world
    user, admin, alpha = await world.user(), await world.user("root", role=Role.ADMIN), await world.node("alpha")
    await world.launch(user, spec("train"))
    await site.scheduler.round()
    await site.passes(3600, alpha.id)
    await world.propose(RevokeNode(alpha.id, "stolen"), user=admin, person=True)
    del site.links.heard[alpha.id]  # a revoked node is forgotten by the links
    await site.passes(1)
    await site.passes(GIVE_UP)
    assert (await world.job("train")).state is JobState.PLACED
    await site.passes(1)
    assert (await world.job("train")).state is JobState.QUEUED


async def test_a_cancelled_job_on_a_lost_node_ends_cancelled(site: Site) -> None:
    world = site.world
    user, _alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("train"))
    await site.scheduler.round()
    await world.stop("train", user)
    await site.passes(GIVE_UP + 1)
    await site.passes(1)
    job = await world.job("train")
    assert (job.state, job.cost_usd) == (JobState.CANCELLED, Decimal(0))
    assert await world.held() == set()


async def test_nothing_is_given_up_while_everything_is_stopped(site: Site) -> None:
    world = site.world
    user, _alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("train"))
    await site.scheduler.round()
    admin = await world.principal("root", Role.ADMIN)
    await world.governor.set_kill_switch(engaged=True, principal=admin, reason="smoke")
    await site.passes(GIVE_UP + 1)
    await site.passes(1)
    assert (await world.job("train")).state is JobState.PLACED
    await world.governor.set_kill_switch(engaged=False, principal=admin, reason="")
    await site.passes(1)
    assert (await world.job("train")).state is JobState.QUEUED


async def test_a_host_with_leftovers_gets_no_work_until_they_have_ended(site: Site) -> None:
    world = site.world
    alpha = await world.node("alpha")
    assert (await world.come_back(alpha, zombies=2)).state is NodeState.JOINING
    assert (await world.come_back(alpha)).state is NodeState.READY


async def test_a_cordoned_node_that_was_lost_comes_back_cordoned(site: Site) -> None:
    world = site.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.propose(CordonNode(alpha.id, "fan noise"), user=user, person=True)
    await site.passes(20)
    back = await world.come_back(alpha)
    assert (back.state, back.cordoned) == (NodeState.CORDONED, True)
    assert "silent" not in back.status_reason


async def test_approvals_run_out_and_old_request_ids_are_forgotten(world: World) -> None:
    user = await world.user()
    housekeeping = Housekeeping(world.store, world.governor)
    waiting = await world.launch(user, spec("dear", gpu=8, seconds=3600 * 40))

    def remember(tx: Tx) -> None:
        requests.remember(tx, user_id=user.id, method="m", request_id="r", fingerprint="f", result_id="x")

    def remembered(tx: Tx) -> str | None:
        return requests.remembered(tx, user_id=user.id, method="m", request_id="r", fingerprint="f")

    await world.store.write(remember)
    await housekeeping.round()
    world.clock.advance(31 * 60)
    assert await housekeeping.round() == "1 approvals ran out"
    assert (await world.audit(action_id=waiting.id))[-1].outcome == "expired"
    assert await world.store.read(remembered) == "x"
    world.clock.advance(8 * 24 * 3600)
    await Housekeeping(world.store, world.governor).round()
    assert await world.store.read(remembered) is None


async def test_a_host_that_claims_to_reboot_over_and_over_is_lost_all_the_same(site: Site) -> None:
    world = site.world
    alpha, clinic = await world.node("alpha"), Clinic.of(world)

    async def claims(name: str, state: RepairState = RepairState.RUNNING) -> None:
        site.links.heard[alpha.id] = world.clock.monotonic()
        await clinic.alone(alpha, name, Rung.REBOOT_HOST, state)

    await claims("l-1")
    await site.passes(1800)
    assert (await world.node_now(alpha)).state is not NodeState.LOST
    await claims("l-1", RepairState.SUCCEEDED)
    await claims("l-2")
    await site.passes(60)
    assert (await world.node_now(alpha)).state is NodeState.LOST


@pytest.mark.parametrize("alone", [True, False])
async def test_a_reboot_excuses_silence_for_as_long_as_it_may_take(site: Site, alone: bool) -> None:
    world = site.world
    alpha, clinic = await world.node("alpha"), Clinic.of(world)
    if alone:
        await clinic.alone(alpha, "l-1", Rung.REBOOT_HOST, RepairState.RUNNING)
    else:
        await world.propose(RepairNode(alpha.id, Rung.REBOOT_HOST, "a test wants it"))
    await site.passes(DEADLINE_SECONDS[Rung.REBOOT_HOST] - 1)
    assert (await world.node_now(alpha)).state is not NodeState.LOST
    await site.passes(2)
    assert (await world.node_now(alpha)).state is NodeState.LOST
