"""`orquanta policy`: files in, tables and exit codes out."""

from pathlib import Path

import pytest

from orquanta.cli.exits import ExitCode
from orquanta.v1 import action_pb2, policy_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import ScriptedServer

ALLOW, DENY = policy_pb2.POLICY_RULING_ALLOW, policy_pb2.POLICY_RULING_DENY
BIG = policy_pb2.RuleVerdict(
    rule_id="big", file="a.yaml", matched=True, ruling=DENY, text="too big", values_json='{"est.gpus": 9}'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "policies"
    path.mkdir()
    (path / "a.yaml").write_text("rules: []\n")
    (path / "a.test.yaml").write_text("tests: []\n")
    (path / "notes.md").write_text("nothing\n")
    return path


async def test_show_prints_rules_and_what_is_wrong_with_the_newest_files(server: ScriptedServer, cli: RunCli) -> None:
    need = action_pb2.ApprovalNeed(count=2)
    getattr(need, "from").append("admin")
    found = policy_pb2.PolicySet(
        version="f" * 64,
        folder="/etc/orquanta/policies",
        error="a.yaml:3: there is no 'whem' here; did you mean when?",
        rules=[
            policy_pb2.PolicyRule(id="taint", file="built-in", when="in words", then=DENY),
            policy_pb2.PolicyRule(
                id="big",
                file="a.yaml",
                when="est.gpus > 4",
                then=policy_pb2.POLICY_RULING_REQUIRE_APPROVAL,
                approvals=need,
            ),
        ],
    )
    server.answer("PolicyService/GetPolicySet", policy_pb2.GetPolicySetResponse(policy_set=found))
    shown = (await cli("policy", "show")).stdout
    assert "WRONG, those before stay in force:" in shown
    assert "did you mean when?" in shown
    assert "2 of admin" in shown
    server.answer("PolicyService/GetPolicySet", policy_pb2.GetPolicySetResponse(policy_set=found))
    document = (await cli("policy", "show", "--json")).document()
    assert document["rules"][1]["then"] == "require_approval"
    assert document["rules"][1]["approvals"] == {"count": 2, "allowed": ["admin"], "ttl_seconds": 0}


async def test_validate_sends_the_policies_of_a_folder_and_fails_on_a_fault(
    server: ScriptedServer, cli: RunCli, folder: Path
) -> None:
    server.answer("PolicyService/ValidatePolicies", policy_pb2.ValidatePoliciesResponse(version="f" * 64))
    right = await cli("policy", "validate", str(folder))
    assert (right.code, right.stdout.splitlines()[0][:22]) == (ExitCode.OK, "Nothing is wrong with ")
    (request,) = server.requests("PolicyService/ValidatePolicies", policy_pb2.ValidatePoliciesRequest)
    assert [(file.name, file.text) for file in request.files] == [("a.yaml", "rules: []\n")]
    fault = policy_pb2.PolicyFault(file="a.yaml", line=3, rule_id="big", text="when: no")
    server.answer("PolicyService/ValidatePolicies", policy_pb2.ValidatePoliciesResponse(faults=[fault]))
    wrong = await cli("policy", "validate", str(folder / "a.yaml"))
    assert (wrong.code, wrong.stdout) == (ExitCode.FAILED, "a.yaml:3: rule big: when: no\n")


async def test_test_exits_with_one_if_a_test_fails_and_shows_why(
    server: ScriptedServer, cli: RunCli, folder: Path
) -> None:
    passed = policy_pb2.PolicyTestResult(file="a.test.yaml", name="small", passed=True, expected=ALLOW, got=ALLOW)
    failed = policy_pb2.PolicyTestResult(
        file="a.test.yaml", name="large", passed=False, expected=ALLOW, got=DENY, verdicts=[BIG]
    )
    server.answer("PolicyService/TestPolicies", policy_pb2.TestPoliciesResponse(results=[passed, failed]))
    result = await cli("policy", "test", str(folder))
    assert result.code == ExitCode.FAILED
    assert "FAILED a.test.yaml: large" in result.stdout
    assert "expected allow, got deny" in result.stdout
    assert "est.gpus = 9" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 of 2 tests passed."
    (request,) = server.requests("PolicyService/TestPolicies", policy_pb2.TestPoliciesRequest)
    assert ([file.name for file in request.files], [file.name for file in request.tests]) == (
        ["a.yaml"],
        ["a.test.yaml"],
    )
    server.answer("PolicyService/TestPolicies", policy_pb2.TestPoliciesResponse(results=[passed]))
    assert (await cli("policy", "test", str(folder), "--json")).document()["passed"] is True


async def test_tests_alone_are_run_against_the_policies_in_force(
    server: ScriptedServer, cli: RunCli, folder: Path
) -> None:
    server.answer("PolicyService/TestPolicies", policy_pb2.TestPoliciesResponse())
    assert (await cli("policy", "test", str(folder / "a.test.yaml"))).code == ExitCode.OK
    (request,) = server.requests("PolicyService/TestPolicies", policy_pb2.TestPoliciesRequest)
    assert not request.files


async def test_explain_shows_every_rule_and_its_values(server: ScriptedServer, cli: RunCli) -> None:
    silent = policy_pb2.RuleVerdict(rule_id="taint", file="built-in", ruling=ALLOW, text="does not apply")
    server.answer(
        "PolicyService/ExplainAction",
        policy_pb2.ExplainActionResponse(
            action=action_pb2.Action(id="act-1", summary="run train"),
            ruling=DENY,
            verdicts=[silent, BIG],
            input_json='{"taint": false}',
        ),
    )
    shown = (await cli("policy", "explain", "act-1", "--values")).stdout
    assert "ruling now  deny" in shown
    assert "too big" in shown
    assert "est.gpus = 9" in shown
    assert '"taint": false' in shown


async def test_replay_shows_the_differences(server: ScriptedServer, cli: RunCli, folder: Path) -> None:
    difference = policy_pb2.ReplayDifference(
        action=action_pb2.Action(id="act-1", summary="run train"), before=ALLOW, after=DENY, verdicts=[BIG]
    )
    server.answer(
        "PolicyService/ReplayPolicies", policy_pb2.ReplayPoliciesResponse(actions=12, differences=[difference])
    )
    result = await cli("policy", "replay", str(folder), "--since", "3d", "--limit", "50")
    (request,) = server.requests("PolicyService/ReplayPolicies", policy_pb2.ReplayPoliciesRequest)
    assert (request.actions_max, request.HasField("since")) == (50, True)
    lines = result.stdout.splitlines()
    assert lines[1].split()[0] == "act-1"
    assert lines[1].split()[-3:] == ["allow", "deny", "big"]
    assert lines[-1] == "1 of 12 actions would have been judged otherwise."


async def test_a_folder_without_policies_is_wrong_usage(cli: RunCli, tmp_path: Path) -> None:
    assert (await cli("policy", "validate", str(tmp_path))).code == ExitCode.USAGE
    assert (await cli("policy", "test", str(tmp_path))).code == ExitCode.USAGE
