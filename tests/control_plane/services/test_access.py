import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from control_plane.model.identity import Role
from control_plane.services.access import RULES, SERVED_ON_HOSTS, Port, Special
from orquanta.v1 import (
    action_pb2,
    agent_pb2,
    audit_pb2,
    auth_pb2,
    catalog_pb2,
    goal_pb2,
    grant_pb2,
    incident_pb2,
    job_pb2,
    memory_pb2,
    metrics_pb2,
    node_link_pb2,
    node_local_pb2,
    node_pb2,
    policy_pb2,
    queue_pb2,
    quota_pb2,
    tool_pb2,
)
from tests.control_plane.services.harness import Fleet
from tests.control_plane.services.refusals import refused

PROTOS = Path(__file__).parents[3] / "proto" / "orquanta" / "v1"
FILES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR
    for module in (
        action_pb2,
        agent_pb2,
        audit_pb2,
        auth_pb2,
        catalog_pb2,
        goal_pb2,
        grant_pb2,
        incident_pb2,
        job_pb2,
        memory_pb2,
        metrics_pb2,
        node_link_pb2,
        node_local_pb2,
        node_pb2,
        policy_pb2,
        queue_pb2,
        quota_pb2,
        tool_pb2,
    )
)


def methods() -> Iterator[MethodDescriptor]:
    """What the control plane serves of the contract."""
    for file in FILES:
        for service in file.services_by_name.values():
            if service.name not in SERVED_ON_HOSTS:
                yield from service.methods


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def test_every_proto_file_with_a_service_is_walked() -> None:
    with_services = {
        path.name for path in PROTOS.glob("*.proto") if re.search(r"^service ", path.read_text(), re.MULTILINE)
    }
    assert with_services == {Path(file.name).name for file in FILES}


def test_every_rpc_of_the_contract_has_an_entry_and_no_entry_is_for_another() -> None:
    assert {path_of(method) for method in methods()} == set(RULES)


def test_what_hosts_serve_is_of_the_contract_and_on_no_port_of_the_control_plane(fleet: Fleet) -> None:
    services = {name for file in FILES for name in file.services_by_name}
    assert services > SERVED_ON_HOSTS
    assert not {path for path in RULES if path.split("/")[1].removeprefix("orquanta.v1.") in SERVED_ON_HOSTS}
    assert not set(fleet.service_names) & {f"orquanta.v1.{name}" for name in SERVED_ON_HOSTS}


def test_every_entry_needs_the_role_that_the_contract_documents() -> None:
    documented: dict[str, str] = {}
    for path in PROTOS.glob("*.proto"):
        service = ""
        comment = ""
        for line in path.read_text().splitlines():
            text = line.strip()
            if text.startswith("service "):
                service = text.split()[1]
            elif text.startswith("//"):
                comment += text.removeprefix("//")
            elif text.startswith("rpc ") and service not in SERVED_ON_HOSTS:
                name = re.split(r"[ (]", text)[1]
                found = re.search(r"Role: ([a-z' ]+)", comment)
                assert found, f"{service}/{name} documents no role"
                documented[f"/orquanta.v1.{service}/{name}"] = found[1].strip()
                comment = ""
            else:
                comment = ""
    words: dict[Role | Special, str] = {Special.PUBLIC: "none", Special.NODE: "the node's own certificate"}
    words |= {role: role.value for role in Role}
    table = {path: words[rule.needs] for path, rule in RULES.items()}
    table["/orquanta.v1.AuditService/ListAuditRecords"] = "operator"  # and a user, for their own
    assert documented == table


def test_an_entry_changes_nothing_exactly_if_the_contract_says_so() -> None:
    for method in methods():
        reads = method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
        assert RULES[path_of(method)].changes == (not reads), path_of(method)


def test_every_call_that_changes_something_takes_a_request_id_or_is_safe_without() -> None:
    without = {
        path_of(method)
        for method in methods()
        if RULES[path_of(method)].changes and "request_id" not in method.input_type.fields_by_name
    }
    assert without == {
        "/orquanta.v1.AuthService/Login",
        "/orquanta.v1.AuthService/ChangePassword",  # the old password no longer fits a second time
        "/orquanta.v1.NodeLinkService/Join",  # the token and the key make it the same call
        "/orquanta.v1.NodeLinkService/Connect",
    }


@pytest.mark.parametrize("role", [None, *Role], ids=lambda role: role.value if role else "nobody")
async def test_every_rpc_refuses_roles_below_its_own(fleet: Fleet, role: Role | None) -> None:
    """Garbage is sent, so that a call that is let through fails after the check and changes nothing."""
    client = await fleet.client(role) if role else fleet.anonymous()
    for path, rule in RULES.items():
        if rule.port is not Port.PEOPLE or path.endswith("/Join"):
            continue
        outcome = await refused(client.call(path, b"\xff\xff\xff"))
        if rule.needs is Special.PUBLIC:
            expected = "REQUEST_UNREADABLE"
        elif role is None:
            expected = "CREDENTIALS_MISSING"
        elif isinstance(rule.needs, Role) and role.allows(rule.needs):
            expected = "REQUEST_UNREADABLE"
        else:
            expected = "ROLE_INSUFFICIENT"
        assert outcome.reason == expected, f"{path} as {role}"
