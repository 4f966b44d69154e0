from typing import Any

import grpc
import pytest

from control_plane.model.identity import Role
from control_plane.store import audit, jobs
from control_plane.store.audit import AuditFilter
from control_plane.store.pages import PageRequest
from orquanta.v1 import action_pb2, job_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refused

GPU = job_pb2.ResourceRequest


async def submit(client: Client, name: str = "train", request_id: str = "", **spec: Any) -> job_pb2.Job:  # Any: fields
    request = job_pb2.SubmitJobRequest(spec=a_job(name, **spec), request_id=request_id)
    return (await client.jobs.SubmitJob(request)).job


async def count(fleet: Fleet) -> int:
    return sum((await fleet.store.read(jobs.count_by_state)).values())


async def test_a_job_comes_back_as_it_was_submitted(user: Client) -> None:
    spec = job_pb2.JobSpec(
        name="train.1",
        command="python train.py",
        resources=GPU(gpu_types=["H100"], gpu_count=4, node_count=2, min_gpu_memory_bytes=80 << 30, cpu_milli=500),
        environment={"EPOCHS": "3", "HOME_DIR": "/data"},
        max_runtime_seconds=60,
        stop_grace_seconds=5,
        priority=job_pb2.JOB_PRIORITY_HIGH,
        max_attempts=2,
    )
    made = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec))).job
    found = (await user.jobs.GetJob(job_pb2.GetJobRequest(job_id=made.id))).job
    assert found == made
    assert found.spec == spec
    assert found.state == job_pb2.JOB_STATE_QUEUED
    assert user.user
    assert (found.user_id, found.user_email) == (user.user.id, user.user.email)


async def test_where_a_job_may_run_comes_back_as_it_was_submitted(user: Client) -> None:
    spec = job_pb2.JobSpec(
        name="share",
        command="python train.py",
        resources=GPU(
            gpu_count=1,
            gpu_milli=250,
            share_memory_bytes=4 << 30,
            node_labels={"pool": "a", "rack": "r-1"},
            exclude_nodes=["gpu-7"],
            anti_affinity="web",
            exclusive_nodes=True,
            topology=job_pb2.TOPOLOGY_DOMAIN_RACK,
        ),
        max_runtime_seconds=60,
        stop_grace_seconds=5,
        max_attempts=2,
        priority=job_pb2.JOB_PRIORITY_LOW,
        checkpoint_signal="SIGUSR1",
        checkpoint_seconds=90,
        executor="hosts",
    )
    made = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec))).job
    assert (await user.jobs.GetJob(job_pb2.GetJobRequest(job_id=made.id))).job.spec == spec


async def test_a_retried_submit_makes_one_job(fleet: Fleet, user: Client) -> None:
    first = await submit(user, request_id="r-1")
    again = await submit(user, request_id="r-1")
    assert first.id == again.id
    assert await count(fleet) == 1


async def test_two_submits_without_a_request_id_make_two_jobs(fleet: Fleet, user: Client) -> None:
    assert (await submit(user)).id != (await submit(user)).id


async def test_the_same_request_id_of_two_people_makes_two_jobs(fleet: Fleet, user: Client, operator: Client) -> None:
    assert (await submit(user, request_id="r-1")).id != (await submit(operator, request_id="r-1")).id


async def test_a_reused_request_id_with_other_content_is_refused(fleet: Fleet, user: Client) -> None:
    await submit(user, request_id="r-1", environment={"A": "1", "B": "2"})
    call = user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job("other"), request_id="r-1"))
    outcome = await refused(call)
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert await count(fleet) == 1


BAD: list[tuple[dict[str, Any], str, str]] = [  # Any: fields of a message
    ({"name": ""}, "spec.name", "NAME_INVALID"),
    ({"name": "-train"}, "spec.name", "NAME_INVALID"),
    ({"name": "a" * 64}, "spec.name", "NAME_INVALID"),
    ({"name": "träin"}, "spec.name", "NAME_INVALID"),
    ({"resources": GPU(gpu_count=-1)}, "spec.resources.gpu_count", "NUMBER_OUT_OF_RANGE"),
    ({"resources": GPU(gpu_count=4097)}, "spec.resources.gpu_count", "NUMBER_OUT_OF_RANGE"),
    ({"resources": GPU(gpu_count=1, node_count=-1)}, "spec.resources.node_count", "NUMBER_OUT_OF_RANGE"),
    ({"resources": GPU(gpu_count=3, node_count=2)}, "spec.resources.node_count", "GANG_UNEVEN"),
    ({"resources": GPU(gpu_types=["H100"] * 17)}, "spec.resources.gpu_types", "LIST_TOO_LONG"),
    ({"resources": GPU(gpu_types=["H100\n"])}, "spec.resources.gpu_types[0]", "GPU_TYPE_INVALID"),
    ({"resources": GPU(memory_bytes=1 << 63)}, "spec.resources.memory_bytes", "NUMBER_OUT_OF_RANGE"),
    ({"resources": GPU(gpu_count=1, gpu_milli=1000)}, "spec.resources.gpu_milli", "GPU_SHARE_INVALID"),
    ({"resources": GPU(gpu_count=2, gpu_milli=500)}, "spec.resources.gpu_milli", "GPU_SHARE_INVALID"),
    (
        {"resources": GPU(gpu_count=1, gpu_milli=500, mig_profile="1g.10gb")},
        "spec.resources.gpu_milli",
        "GPU_SHARE_INVALID",
    ),
    ({"resources": GPU(gpu_count=1, share_memory_bytes=1)}, "spec.resources.share_memory_bytes", "GPU_SHARE_INVALID"),
    ({"resources": GPU(gpu_count=1, mig_profile="big")}, "spec.resources.mig_profile", "MIG_PROFILE_INVALID"),
    ({"resources": GPU(mig_profile="1g.10gb")}, "spec.resources.mig_profile", "MIG_PROFILE_INVALID"),
    ({"resources": GPU(node_labels={"a b": "c"})}, "spec.resources.node_labels['a b']", "LABEL_INVALID"),
    ({"resources": GPU(exclude_nodes=["a", "no/de"])}, "spec.resources.exclude_nodes[1]", "NODE_INVALID"),
    ({"resources": GPU(anti_affinity="two words")}, "spec.resources.anti_affinity", "ANTI_AFFINITY_INVALID"),
    ({"resources": GPU(topology=job_pb2.TopologyDomain.ValueType(9))}, "spec.resources.topology", "ENUM_UNKNOWN"),
    ({"resources": GPU(topology=job_pb2.TOPOLOGY_DOMAIN_NODE)}, "spec.resources.topology", "TOPOLOGY_IMPOSSIBLE"),
    (
        {"resources": GPU(gpu_count=2, node_count=2, topology=job_pb2.TOPOLOGY_DOMAIN_NVLINK)},
        "spec.resources.topology",
        "TOPOLOGY_IMPOSSIBLE",
    ),
    ({"checkpoint_signal": "SIGKILL"}, "spec.checkpoint_signal", "CHECKPOINT_SIGNAL"),
    ({"checkpoint_seconds": 5}, "spec.checkpoint_seconds", "CHECKPOINT_SIGNAL"),
    ({"executor": "nomad"}, "spec.executor", "EXECUTOR_UNKNOWN"),
    ({"command": ""}, "spec.command", "PROGRAM_MISSING"),
    ({"command": "a" * 32_769}, "spec.command", "TEXT_TOO_LONG"),
    ({"command": "é" * 16_385}, "spec.command", "TEXT_TOO_LONG"),
    ({"command": "echo \x00"}, "spec.command", "TEXT_INVALID"),
    ({"image": "UPPER CASE"}, "spec.image", "IMAGE_INVALID"),
    ({"image": "busybox:" + "t" * 600}, "spec.image", "IMAGE_INVALID"),
    ({"image": "--privileged"}, "spec.image", "IMAGE_INVALID"),
    ({"command": "", "template": "no-such"}, "spec.template", "TEMPLATE_UNKNOWN"),
    ({"template": "train"}, "spec.template", "PROGRAM_AMBIGUOUS"),
    ({"environment": {"1A": "x"}}, "spec.environment['1A']", "ENV_INVALID"),
    ({"environment": {"A=B": "x"}}, "spec.environment['A=B']", "ENV_INVALID"),
    ({"environment": {"ORQUANTA_JOB": "x"}}, "spec.environment['ORQUANTA_JOB']", "ENV_RESERVED"),
    ({"environment": {"CUDA_VISIBLE_DEVICES": "0"}}, "spec.environment['CUDA_VISIBLE_DEVICES']", "ENV_RESERVED"),
    ({"environment": {"A": "x\x00"}}, "spec.environment['A']", "TEXT_INVALID"),
    ({"environment": {f"A{i}": "" for i in range(257)}}, "spec.environment", "LIST_TOO_LONG"),
    ({"environment": {f"A{i}": "x" * 32_000 for i in range(3)}}, "spec.environment", "ENV_TOO_LARGE"),
    ({"max_runtime_seconds": 1 << 40}, "spec.max_runtime_seconds", "NUMBER_OUT_OF_RANGE"),
    ({"stop_grace_seconds": 3_601}, "spec.stop_grace_seconds", "NUMBER_OUT_OF_RANGE"),
    ({"priority": 99}, "spec.priority", "ENUM_UNKNOWN"),
    ({"depends_on": ["nonsense"]}, "spec.depends_on[0]", "ID_INVALID"),
    ({"max_attempts": 101}, "spec.max_attempts", "NUMBER_OUT_OF_RANGE"),
]


@pytest.mark.parametrize(("bad", "field", "reason"), BAD, ids=[f"{field}-{reason}" for _, field, reason in BAD])
async def test_a_bad_job_is_refused_by_field_and_nothing_changes(
    fleet: Fleet, user: Client, bad: dict[str, Any], field: str, reason: str
) -> None:
    spec = {"name": "train", "command": "true", "resources": GPU(gpu_count=1), **bad}
    outcome = await refused(user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=job_pb2.JobSpec(**spec))))
    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (outcome.fields[0], outcome.reason) == (field, reason)
    assert await count(fleet) == 0


async def test_every_wrong_field_is_named_at_once(user: Client) -> None:
    spec = job_pb2.JobSpec(name="", command="true", resources=GPU(gpu_count=-3))
    outcome = await refused(user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec, request_id="a b")))
    assert outcome.fields == ("spec.name", "spec.resources.gpu_count", "request_id")


@pytest.mark.parametrize("request_id", ["a b", "é", "x" * 129, "tab\t"])
async def test_a_bad_request_id_is_refused(user: Client, request_id: str) -> None:
    outcome = await refused(user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job(), request_id=request_id)))
    assert outcome.reason == "REQUEST_ID_INVALID"


async def test_an_unknown_enum_in_a_filter_is_refused_with_the_known_ones(user: Client) -> None:
    # 77 is what a newer client may send: enums are open on the wire.
    raw = job_pb2.ListJobsRequest().SerializeToString() + b"\x1a\x01\x4d"
    outcome = await refused(user.call("/orquanta.v1.JobService/ListJobs", raw))
    assert (outcome.reason, outcome.fields) == ("ENUM_UNKNOWN", ("states[0]",))
    assert "QUEUED (1)" in outcome.message


async def test_a_job_above_the_approval_limit_waits_and_can_be_approved(
    fleet: Fleet, user: Client, operator: Client
) -> None:
    spec = a_job("big", resources=GPU(gpu_types=["H100"], gpu_count=64), max_runtime_seconds=24 * 3600)
    made = await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec, request_id="r-1"))
    assert made.action_id.startswith("act-")
    assert made.action_id in made.job.status_reason
    again = await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec, request_id="r-1"))
    assert again == made
    action = (await user.actions.GetAction(action_pb2.GetActionRequest(action_id=made.action_id))).action
    await operator.actions.ApproveAction(action_pb2.ApproveActionRequest(action_id=action.id, hash=action.hash))
    assert (await user.jobs.GetJob(job_pb2.GetJobRequest(job_id=made.job.id))).job.state == job_pb2.JOB_STATE_QUEUED
    after = await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec, request_id="r-1"))
    assert (after.job.id, after.action_id) == (made.job.id, "")


async def test_a_job_that_the_governor_denies_is_refused_with_the_rules_reason_and_recorded(
    fleet: Fleet, user: Client
) -> None:
    spec = a_job(resources=GPU(gpu_count=65))
    outcome = await refused(user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec)))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "GPU_LIMIT")
    assert await count(fleet) == 0
    records = await fleet.store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))
    assert [record.action for record in records.items] == ["launch_jobs.denied"]
    assert outcome.metadata["action_id"] == records.items[0].action_id


async def test_a_person_cancels_their_own_job_and_cancelling_again_is_safe(fleet: Fleet, user: Client) -> None:
    job = await submit(user)
    request = job_pb2.CancelJobRequest(job_id=job.id, reason="wrong data", request_id="c-1")
    cancelled = (await user.jobs.CancelJob(request)).job
    assert cancelled.state == job_pb2.JOB_STATE_CANCELLED
    assert "wrong data" in cancelled.status_reason
    assert (await user.jobs.CancelJob(request)).job == cancelled
    assert (await user.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=job.id))).job == cancelled


async def test_a_person_cannot_cancel_somebody_elses_job_and_an_operator_can(
    fleet: Fleet, user: Client, operator: Client
) -> None:
    job = await submit(user)
    stranger = await fleet.client(Role.USER)
    outcome = await refused(stranger.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=job.id)))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_THE_OWNER")
    assert (await user.jobs.GetJob(job_pb2.GetJobRequest(job_id=job.id))).job.state == job_pb2.JOB_STATE_QUEUED
    assert (await operator.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=job.id))).job.finished_at.seconds


@pytest.mark.parametrize("job_id", ["", "nonsense", "g-0123456789ab", "j-0123456789AB", "j-" + "0" * 1000, "j-\x00"])
async def test_a_bad_job_id_is_refused(user: Client, job_id: str) -> None:
    outcome = await refused(user.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id)))
    assert (outcome.reason, outcome.fields) == ("ID_INVALID", ("job_id",))


async def test_a_job_that_does_not_exist_is_not_found(user: Client) -> None:
    outcome = await refused(user.jobs.GetJob(job_pb2.GetJobRequest(job_id="j-0123456789ab")))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")


async def test_pages_neither_repeat_nor_skip_jobs_while_others_are_submitted(fleet: Fleet, user: Client) -> None:
    before = []
    for number in range(7):
        before.append((await submit(user, f"job-{number}")).id)
        fleet.clock.advance(1)
    seen: list[str] = []
    token = ""
    while True:
        page = await user.jobs.ListJobs(job_pb2.ListJobsRequest(page_size=2, page_token=token))
        seen += [job.id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
        await submit(user, "late")
        fleet.clock.advance(1)
    assert seen == before[::-1]


async def test_jobs_are_listed_by_filter(fleet: Fleet, user: Client, operator: Client) -> None:
    mine, theirs = await submit(user), await submit(operator)
    node = await fleet.node("host-1")
    await fleet.place(theirs.id, node, 1)
    assert operator.user

    async def found(**which: Any) -> list[str]:  # Any: fields of a message
        return [job.id for job in (await user.jobs.ListJobs(job_pb2.ListJobsRequest(**which))).jobs]

    assert await found(states=[job_pb2.JOB_STATE_QUEUED]) == [mine.id]
    assert await found(user_id=operator.user.id) == [theirs.id]
    assert await found(node_id=node.id) == [theirs.id]
    assert len(await found()) == 2


@pytest.mark.parametrize(
    "request_of_page",
    [
        job_pb2.ListJobsRequest(page_size=501),
        job_pb2.ListJobsRequest(page_token="garbage"),
        job_pb2.ListJobsRequest(page_token="W10"),
        job_pb2.ListJobsRequest(page_token="WyJhIl0"),
        job_pb2.ListJobsRequest(page_token="é" * 10),
        job_pb2.ListJobsRequest(page_token="WzEsMl0"),
        job_pb2.ListJobsRequest(page_token="Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTksImEiXQ"),
    ],
)
async def test_a_bad_page_is_refused(user: Client, request_of_page: job_pb2.ListJobsRequest) -> None:
    outcome = await refused(user.jobs.ListJobs(request_of_page))
    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT, outcome


async def test_templates_are_listed(user: Client) -> None:
    templates = (await user.jobs.ListJobTemplates(job_pb2.ListJobTemplatesRequest())).templates
    assert [template.name for template in templates] == ["batch", "benchmark", "finetune", "inference", "train"]


async def test_a_job_is_never_older_than_what_was_acknowledged(fleet: Fleet, user: Client) -> None:
    """Each write is followed at once by reads of many kinds: none may come from before it."""
    request_of: dict[str, job_pb2.GetJobRequest] = {}
    for number in range(5):
        job = await submit(user, f"job-{number}")
        request_of[job.id] = job_pb2.GetJobRequest(job_id=job.id)
    for request in request_of.values():
        assert (await user.jobs.GetJob(request)).job.state == job_pb2.JOB_STATE_QUEUED
        assert (await user.jobs.GetJob(request)).job.state == job_pb2.JOB_STATE_QUEUED
    for job_id, request in request_of.items():
        await user.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=job_id))
        assert (await user.jobs.GetJob(request)).job.state == job_pb2.JOB_STATE_CANCELLED
