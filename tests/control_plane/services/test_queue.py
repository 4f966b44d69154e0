from dataclasses import dataclass

import grpc
import pytest

from control_plane.store import audit
from control_plane.store.audit import AuditFilter
from control_plane.store.pages import PageRequest
from orquanta.v1 import action_pb2, audit_pb2, auth_pb2, job_pb2, queue_pb2, quota_pb2
from orquanta.v1.queue_pb2_grpc import QueueServiceStub
from orquanta.v1.quota_pb2_grpc import QuotaServiceStub
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refused


@dataclass
class Stubs:
    queue: QueueServiceStub
    quotas: QuotaServiceStub


def stubs(client: Client) -> Stubs:
    return Stubs(QueueServiceStub(client.channel), QuotaServiceStub(client.channel))


async def submit(client: Client, name: str, gpus: int) -> str:
    resources = job_pb2.ResourceRequest(gpu_count=gpus, gpu_types=["H100"])
    spec = a_job(name, resources=resources)
    return (await client.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec))).job.id


async def test_the_queue_is_told_in_pages_with_what_each_job_waits_for(fleet: Fleet, user: Client) -> None:
    await fleet.node("alpha")
    ids = []
    for number in range(3):
        ids.append(await submit(user, f"job-{number}", 8))
        fleet.clock.advance(1)
    first = await stubs(user).queue.ListQueue(queue_pb2.ListQueueRequest(page_size=2))
    rest = await stubs(user).queue.ListQueue(queue_pb2.ListQueueRequest(page_size=2, page_token=first.next_page_token))
    entries = [*first.entries, *rest.entries]
    assert [entry.job_id for entry in entries] == ids
    assert [entry.position for entry in entries] == [1, 2, 3]
    assert (first.total, rest.next_page_token) == (3, "")
    assert user.user
    assert all(entry.waits_for and entry.user_email == user.user.email for entry in entries)


async def test_a_job_that_no_host_could_hold_is_told_so_with_each_host(fleet: Fleet, user: Client) -> None:
    await fleet.node("alpha")
    job_id = await submit(user, "huge", 64)
    told = await stubs(user).queue.ExplainJob(queue_pb2.ExplainJobRequest(job_id=job_id))
    assert told.waiting.wait_reason == queue_pb2.WAIT_REASON_UNSATISFIABLE
    assert [(node.node_name, node.fits) for node in told.nodes] == [("alpha", False)]
    assert told.nodes[0].reason
    assert told.job.id == job_id


async def test_a_job_that_names_an_engine_is_told_that_other_hosts_are_not_for_it(fleet: Fleet, user: Client) -> None:
    await fleet.node("alpha")
    spec = a_job("train", resources=job_pb2.ResourceRequest(gpu_count=1, gpu_types=["H100"]), executor="slurm")
    job_id = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec))).job.id
    told = await stubs(user).queue.ExplainJob(queue_pb2.ExplainJobRequest(job_id=job_id))
    assert told.waiting.wait_reason == queue_pb2.WAIT_REASON_UNSATISFIABLE
    assert [(node.node_name, node.fits) for node in told.nodes] == [("alpha", False)]


async def test_while_everything_is_stopped_jobs_wait_for_that(user: Client, admin: Client) -> None:
    job_id = await submit(user, "train", 1)
    await admin.actions.StopAll(action_pb2.StopAllRequest(reason="smoke"))
    told = await stubs(user).queue.ExplainJob(queue_pb2.ExplainJobRequest(job_id=job_id))
    assert told.waiting.wait_reason == queue_pb2.WAIT_REASON_STOPPED
    assert "has stopped all effects" in told.waiting.waits_for


def simulated(name: str, gpus: int, *, arrives: float = 0, runs: float = 100) -> queue_pb2.SimulatedJob:
    resources = job_pb2.ResourceRequest(gpu_count=gpus, gpu_types=["H100"])
    return queue_pb2.SimulatedJob(name=name, arrives_seconds=arrives, runs_seconds=runs, resources=resources)


async def test_a_simulation_tells_what_more_hosts_would_change_and_changes_nothing(fleet: Fleet, user: Client) -> None:
    host = queue_pb2.SimulatedNodes(count=1, gpu_type="H100", gpu_count=8)
    before = fleet.store.changes.newest
    found = await stubs(user).queue.Simulate(
        queue_pb2.SimulateRequest(jobs=[simulated("a", 8), simulated("b", 8)], nodes=[host], add_nodes=[host])
    )
    assert (found.result.jobs_finished, found.baseline.jobs_finished) == (2, 2)
    assert (round(found.result.makespan_seconds), round(found.baseline.makespan_seconds)) == (100, 200)
    assert (round(found.result.wait_max_seconds), round(found.baseline.wait_max_seconds)) == (0, 100)
    assert found.result.cost_usd_micros == found.baseline.cost_usd_micros > 0
    assert found.baseline.points
    assert fleet.store.changes.newest == before


async def test_the_live_queue_can_be_simulated_on_the_live_fleet(fleet: Fleet, user: Client) -> None:
    await fleet.node("alpha")
    for number in range(2):
        await submit(user, f"job-{number}", 8)
    found = await stubs(user).queue.Simulate(queue_pb2.SimulateRequest(remove_nodes=["alpha"]))
    assert found.result.jobs_unsatisfiable == 2
    unknown = await refused(stubs(user).queue.Simulate(queue_pb2.SimulateRequest(remove_nodes=["beta"])))
    assert (unknown.fields, unknown.reason) == (("remove_nodes[0]",), "NODE_UNKNOWN")
    assert "'beta' is none of the hosts" in unknown.message


async def test_the_live_queue_is_simulated_by_the_rules_that_serve_it(
    fleet: Fleet, user: Client, admin: Client
) -> None:
    alpha, beta = await fleet.node("alpha"), await fleet.node("beta")
    assert user.user
    await admin.auth.UpdateUser(auth_pb2.UpdateUserRequest(user_id=user.user.email, max_gpus=13))
    resources = job_pb2.ResourceRequest(gpu_count=5, gpu_types=["H100"])
    running = [a_job(name, resources=resources, max_runtime_seconds=3600) for name in ("one", "two")]
    ids = [(await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec))).job.id for spec in running]
    for job_id, node in zip(ids, (alpha, beta), strict=True):
        await fleet.place(job_id, node, 5)
    follows = a_job("three", resources=resources, depends_on=ids[:1], max_runtime_seconds=3600)
    await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=follows))
    await submit(user, "four", 4)
    found = await stubs(user).queue.Simulate(queue_pb2.SimulateRequest())
    assert {one.gpus_used for one in found.result.points} <= {10, 9, 5, 4, 0}
    assert round(found.result.wait_max_seconds) == 3630  # the limit, and the grace


async def test_a_simulation_of_nonsense_is_refused_by_field(user: Client) -> None:
    request = queue_pb2.SimulateRequest(
        jobs=[simulated("a", 1, runs=float("nan")), simulated("b", 1, arrives=-1)],
        add_nodes=[queue_pb2.SimulatedNodes(count=0)],
        packing="tight",
        order="lifo",
    )
    outcome = await refused(stubs(user).queue.Simulate(request))
    assert outcome.fields == (
        "jobs[0].runs_seconds",
        "jobs[1].arrives_seconds",
        "add_nodes[0].count",
        "order",
        "packing",
    )


async def test_quotas_are_set_changed_assigned_and_removed_and_each_change_is_on_record(
    fleet: Fleet, user: Client, admin: Client
) -> None:
    quotas = stubs(admin).quotas
    assert user.user
    await quotas.SetQuota(quota_pb2.SetQuotaRequest(team="research", guaranteed_gpus=4, max_gpus=16))
    changed = await quotas.SetQuota(quota_pb2.SetQuotaRequest(team="research", weight=2.5))
    assert (changed.quota.weight, changed.quota.guaranteed_gpus, changed.quota.max_gpus) == (2.5, 4, 16)
    await quotas.SetQuota(quota_pb2.SetQuotaRequest(team="research/nlp", guaranteed_gpus=2))
    assigned = await quotas.AssignTeam(quota_pb2.AssignTeamRequest(email=user.user.email, team="research/nlp"))
    assert assigned.team == "research/nlp"
    job = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job("train")))).job
    assert job.team == "research/nlp"
    listed = await stubs(user).quotas.ListQuotas(quota_pb2.ListQuotasRequest())
    by_team = {one.team: one for one in listed.quotas}
    assert (by_team["research"].waiting_jobs, list(by_team["research/nlp"].members)) == (1, [user.user.email])
    assert listed.guaranteed_gpus == 4
    in_use = await refused(quotas.RemoveQuota(quota_pb2.RemoveQuotaRequest(team="research/nlp")))
    assert (in_use.code, in_use.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TEAM_IN_USE")
    await quotas.AssignTeam(quota_pb2.AssignTeamRequest(email=user.user.email))
    await user.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=job.id))
    await quotas.RemoveQuota(quota_pb2.RemoveQuotaRequest(team="research/nlp"))
    records = await fleet.store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest(100)))
    actions = [record.action for record in records.items]
    assert [actions.count(one) for one in ("quota.created", "quota.set", "quota.removed", "team.assigned")] == [
        2,
        1,
        1,
        2,
    ]


async def test_a_team_holds_no_more_than_it_may_whatever_its_members_may(user: Client, admin: Client) -> None:
    quotas = stubs(admin).quotas
    assert user.user
    await quotas.SetQuota(quota_pb2.SetQuotaRequest(team="small", max_gpus=2))
    await quotas.AssignTeam(quota_pb2.AssignTeamRequest(email=user.user.email, team="small"))
    resources = job_pb2.ResourceRequest(gpu_count=3)
    spec = a_job("train", resources=resources)
    outcome = await refused(user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec)))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TEAM_QUOTA")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (quota_pb2.SetQuotaRequest(team="a//b"), "TEAM_INVALID"),
        (quota_pb2.SetQuotaRequest(team="a/b/c/d/e"), "TEAM_INVALID"),
        (quota_pb2.SetQuotaRequest(team="a/b"), "TEAM_NOT_FOUND"),
        (quota_pb2.SetQuotaRequest(team="a", weight=0), "NUMBER_OUT_OF_RANGE"),
        (quota_pb2.SetQuotaRequest(team="a", weight=float("nan")), "NUMBER_OUT_OF_RANGE"),
        (quota_pb2.SetQuotaRequest(team="a", weight=5e-324), "NUMBER_OUT_OF_RANGE"),
        (quota_pb2.SetQuotaRequest(team="a", guaranteed_gpus=3, max_gpus=2), "QUOTA_INVALID"),
        (quota_pb2.SetQuotaRequest(team="a", max_gpus=2, clear_max_gpus=True), "AMBIGUOUS"),
    ],
    ids=["empty-word", "too-deep", "no-parent", "no-weight", "nan", "tiny", "more-than-max", "both"],
)
async def test_a_bad_quota_is_refused(admin: Client, request_: quota_pb2.SetQuotaRequest, reason: str) -> None:
    assert (await refused(stubs(admin).quotas.SetQuota(request_))).reason == reason


async def test_what_a_limit_around_it_never_lets_a_team_have_is_not_guaranteed(admin: Client) -> None:
    quotas = stubs(admin).quotas
    await quotas.SetQuota(quota_pb2.SetQuotaRequest(team="a", max_gpus=16))
    await quotas.SetQuota(quota_pb2.SetQuotaRequest(team="a/x", guaranteed_gpus=10))
    more = await refused(quotas.SetQuota(quota_pb2.SetQuotaRequest(team="a/y", guaranteed_gpus=7)))
    less = await refused(quotas.SetQuota(quota_pb2.SetQuotaRequest(team="a", max_gpus=9)))
    assert (more.reason, less.reason) == ("QUOTA_INVALID", "QUOTA_INVALID")
    assert "team a may hold at most 16 GPUs, and 17 would be guaranteed" in more.message
    assert "orquanta quota set a --max 10" in less.message
    listed = await quotas.ListQuotas(quota_pb2.ListQuotasRequest())
    assert {one.team: one.max_gpus for one in listed.quotas if one.HasField("max_gpus")} == {"a": 16}
    assert "a/y" not in {one.team for one in listed.quotas}


async def test_the_record_says_of_a_team_what_was_done(user: Client, admin: Client) -> None:
    assert user.user
    quotas = stubs(admin).quotas
    await quotas.SetQuota(quota_pb2.SetQuotaRequest(team="a", guaranteed_gpus=2, max_gpus=16))
    await quotas.AssignTeam(quota_pb2.AssignTeamRequest(email=user.user.email, team="a"))
    await quotas.AssignTeam(quota_pb2.AssignTeamRequest(email=user.user.email))
    await quotas.RemoveQuota(quota_pb2.RemoveQuotaRequest(team="a"))
    said = (await admin.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest())).records
    assert [one.reasoning for one in reversed(said) if one.action.startswith(("quota.", "team."))] == [
        "a: 2 GPUs guaranteed, at most 16, weight 1",
        "into a",
        "out of every team",
        "a is gone",
    ]
