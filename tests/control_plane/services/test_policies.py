"""PolicyService over the real port: what is in force, checks, tests, explanations, replays."""

import json
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.governor.policy.checking import check
from control_plane.governor.policy.model import PolicyFile
from control_plane.model.identity import Role
from control_plane.services.convert.scalars import timestamp
from orquanta.v1 import action_pb2, job_pb2, policy_pb2
from orquanta.v1.policy_pb2_grpc import PolicyServiceStub
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refused

DENY_BIG = "rules:\n  - {id: big, when: est.gpus > 4, then: deny, message: too big}\n"
BROKEN = "rules:\n  - {id: big, when: est.gpu > 4, then: deny, message: too big}\n"


def file(text: str, name: str = "a.yaml") -> policy_pb2.PolicyFile:
    return policy_pb2.PolicyFile(name=name, text=text)


def stub(client: Client) -> Any:  # Any: gRPC types its stubs for the blocking channel
    return PolicyServiceStub(client.channel)


@pytest.fixture
async def viewer(fleet: Fleet) -> Client:
    return await fleet.client(Role.VIEWER)


async def submit(client: Client, gpus: int, name: str = "train") -> str:
    spec = a_job(name, resources=job_pb2.ResourceRequest(gpu_count=gpus))
    return str((await client.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec))).job.id)


async def test_the_set_in_force_has_the_built_in_rules_first(fleet: Fleet, viewer: Client) -> None:
    policies, _ = check([PolicyFile("a.yaml", DENY_BIG)], loaded_at=fleet.clock.now())
    assert policies is not None
    fleet.governor.policies.put(policies)
    found = (await stub(viewer).GetPolicySet(policy_pb2.GetPolicySetRequest())).policy_set
    ids = [rule.id for rule in found.rules]
    assert {"kill-switch", "user-budget", "blast-radius", "protected", "change-freeze", "taint"} <= set(ids[:-1])
    assert {rule.file for rule in found.rules[:-1]} == {"built-in"}
    last = found.rules[-1]
    assert (last.id, last.file, last.when, last.then) == (
        "big",
        "a.yaml",
        "est.gpus > 4",
        policy_pb2.POLICY_RULING_DENY,
    )
    assert found.version == policies.version
    assert found.loaded_at == timestamp(fleet.clock.now())


async def test_files_are_checked_without_being_used(fleet: Fleet, viewer: Client) -> None:
    right = await stub(viewer).ValidatePolicies(policy_pb2.ValidatePoliciesRequest(files=[file(DENY_BIG)]))
    assert (len(right.faults), len(right.version)) == (0, 64)
    wrong = await stub(viewer).ValidatePolicies(policy_pb2.ValidatePoliciesRequest(files=[file(BROKEN)]))
    (fault,) = wrong.faults
    assert (fault.file, fault.line, fault.rule_id, wrong.version) == ("a.yaml", 2, "big", "")
    assert "did you mean gpus?" in fault.text
    assert fleet.governor.policies.current.rules == ()


async def test_tests_are_run_against_files_or_what_is_in_force(fleet: Fleet, viewer: Client) -> None:
    table = file("tests:\n  - {name: nine, given: {est: {gpus: 9}}, expect: deny, rules: [big]}\n", "a.test.yaml")
    with_files = await stub(viewer).TestPolicies(policy_pb2.TestPoliciesRequest(files=[file(DENY_BIG)], tests=[table]))
    (result,) = with_files.results
    assert (result.passed, result.name, result.verdicts[0].rule_id) == (True, "nine", "big")
    in_force = await stub(viewer).TestPolicies(policy_pb2.TestPoliciesRequest(tests=[table]))
    assert [(one.passed, one.got) for one in in_force.results] == [(False, policy_pb2.POLICY_RULING_ALLOW)]
    broken = await stub(viewer).TestPolicies(policy_pb2.TestPoliciesRequest(files=[file(BROKEN)], tests=[table]))
    assert (len(broken.results), len(broken.faults)) == (0, 1)
    nothing = await refused(stub(viewer).TestPolicies(policy_pb2.TestPoliciesRequest(files=[file(DENY_BIG)])))
    assert nothing.fields == ("tests",)


async def test_an_action_is_explained_rule_by_rule_with_its_values(fleet: Fleet, user: Client, viewer: Client) -> None:
    job_id = await submit(user, 2)
    node = await fleet.node("alpha")
    await fleet.place(job_id, node, 2)
    listed = await viewer.actions.ListActions(action_pb2.ListActionsRequest())
    placed = next(one for one in listed.actions if one.kind == "place_job")
    request = policy_pb2.ExplainActionRequest(
        action_id=placed.id, files=[file(DENY_BIG.replace("est.gpus > 4", "est.gpus >= 2"))]
    )
    found = await stub(viewer).ExplainAction(request)
    assert found.ruling == policy_pb2.POLICY_RULING_DENY
    verdicts = {one.rule_id: one for one in found.verdicts}
    assert verdicts["big"].matched
    assert json.loads(verdicts["big"].values_json) == {"est.gpus": 2}
    assert verdicts["state"].matched, "it is placed already"
    assert not verdicts["kill-switch"].matched
    assert json.loads(found.input_json)["action"]["nodes"][0]["name"] == "alpha"
    assert found.action.id == placed.id


async def test_a_replay_finds_what_other_files_would_have_changed(fleet: Fleet, user: Client, operator: Client) -> None:
    for gpus, name in ((1, "small"), (8, "large")):
        await submit(user, gpus, name)
    found = await stub(operator).ReplayPolicies(policy_pb2.ReplayPoliciesRequest(files=[file(DENY_BIG)]))
    assert found.actions == 2
    (difference,) = found.differences
    assert (difference.before, difference.after) == (
        policy_pb2.POLICY_RULING_ALLOW,
        policy_pb2.POLICY_RULING_DENY,
    )
    assert "large" in difference.action.summary
    assert [one.rule_id for one in difference.verdicts] == ["big"]
    same = await stub(operator).ReplayPolicies(policy_pb2.ReplayPoliciesRequest())
    assert (same.actions, len(same.differences)) == (2, 0)


async def test_a_replay_uses_the_values_of_then(fleet: Fleet, user: Client) -> None:
    await submit(user, 8)
    when = "time.now < timestamp('2026-05-05T00:00:00Z')"
    by_time = file(f'rules:\n  - {{id: then, when: "{when}", then: deny, message: m}}\n')
    fleet.clock.advance(3 * 86_400)
    operator = await fleet.client(Role.OPERATOR)
    found = await stub(operator).ReplayPolicies(policy_pb2.ReplayPoliciesRequest(files=[by_time]))
    assert [one.after for one in found.differences] == [policy_pb2.POLICY_RULING_DENY]
    later = Timestamp()
    later.FromDatetime(fleet.clock.now())
    none = await stub(operator).ReplayPolicies(policy_pb2.ReplayPoliciesRequest(files=[by_time], since=later))
    assert none.actions == 0


async def test_a_replay_asks_as_much_of_the_action_as_the_decision_did(
    fleet: Fleet, user: Client, operator: Client
) -> None:
    await submit(user, 8)
    when = "action.kind == 'launch_jobs' && action.arguments.jobs.exists(j, j.spec.name == 'train')"
    by_arguments = file(f'rules:\n  - {{id: arguments, when: "{when}", then: deny, message: m}}\n')
    found = await stub(operator).ReplayPolicies(policy_pb2.ReplayPoliciesRequest(files=[by_arguments]))
    assert len(found.differences) == 1


async def test_wrong_files_and_numbers_are_refused(fleet: Fleet, operator: Client, viewer: Client) -> None:
    broken = await refused(stub(operator).ReplayPolicies(policy_pb2.ReplayPoliciesRequest(files=[file(BROKEN)])))
    assert (broken.code, broken.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "POLICIES_INVALID")
    many = await refused(stub(operator).ReplayPolicies(policy_pb2.ReplayPoliciesRequest(actions_max=10_001)))
    assert many.fields == ("actions_max",)
    low = await refused(stub(viewer).ReplayPolicies(policy_pb2.ReplayPoliciesRequest()))
    assert low.code == grpc.StatusCode.PERMISSION_DENIED
    missing = await refused(stub(viewer).ExplainAction(policy_pb2.ExplainActionRequest(action_id="act-0123456789ab")))
    assert missing.code == grpc.StatusCode.NOT_FOUND
    big = file("#" * (256 * 1024 + 1))
    large = await refused(stub(viewer).ValidatePolicies(policy_pb2.ValidatePoliciesRequest(files=[big])))
    assert large.fields == ("files[0].text",)


async def test_a_file_built_to_end_the_process_is_only_wrong(viewer: Client) -> None:
    for text in (
        "rules: " + "[" * 200_000,
        "rules: " + "{a: " * 50_000,
        "a: &a [*a]\n",
        "rules: !!python/name:os.system ''\n",
    ):
        checked = await stub(viewer).ValidatePolicies(policy_pb2.ValidatePoliciesRequest(files=[file(text)]))
        assert checked.faults


async def test_a_person_is_told_that_what_they_asked_for_waits(fleet: Fleet, user: Client) -> None:
    job_id = await submit(user, 1)
    policies, _ = check(
        [PolicyFile("a.yaml", "rules:\n  - {id: stop, when: action.destructive, then: require_approval, message: m}\n")]
    )
    assert policies is not None
    fleet.governor.policies.put(policies)
    request = job_pb2.CancelJobRequest(job_id=job_id, request_id="c-1")
    for _ in range(2):
        outcome = await refused(user.jobs.CancelJob(request))
        assert (outcome.code, outcome.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "APPROVAL_NEEDED")
        assert outcome.metadata["action_id"].startswith("act-")
