"""Health over the link for real: gRPC with TLS, the store, the governor and the healing agent."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.model.action import UpdateCondition
from control_plane.services.link_policy import PREFIX
from orquanta.v1 import health_pb2, node_link_pb2, repair_pb2
from tests.control_plane.services.node_link.health_rig import (
    CLEARED,
    RAISED,
    RESET,
    acked,
    batch,
    condition,
    event,
    greeted,
    ids,
    ordered,
)
from tests.control_plane.services.node_link.hosts import inventory, stamp
from tests.control_plane.services.node_link.rig import Rig


async def test_what_is_not_in_a_hello_is_over(rig: Rig) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host, condition(rig, host, "a"), condition(rig, host, "b")):
        assert sorted(await ids(rig, host)) == ["a", "b"]
    async with greeted(rig, host, condition(rig, host, "b"), condition(rig, host, "c")):
        assert sorted(await ids(rig, host)) == ["b", "c"]
    async with greeted(rig, host):
        assert await ids(rig, host) == []


async def test_a_host_whose_clock_is_set_back_is_still_heard(rig: Rig) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host) as stream:
        back = rig.clock.now() - timedelta(hours=2)
        await stream.send(heartbeat=node_link_pb2.Heartbeat(sequence=1, host_time=stamp(back)))
        await stream.send(spool=batch([event(rig, 1, RAISED, condition(rig, host), at=back + timedelta(seconds=1))]))
        await acked(stream, 1)
        assert await ids(rig, host) == ["gpu/xid-79"]


async def test_an_operators_word_reaches_the_host_until_the_condition_is_over(rig: Rig) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host, condition(rig, host)) as stream:
        await rig.propose(
            UpdateCondition(host.node_id, "gpu/xid-79", clear=True, by="root@localhost", reason="seen to")
        )
        told = (await stream.next("desired_state")).desired_state
        while not told.condition_orders:
            told = (await stream.next("desired_state")).desired_state
        (said,) = told.condition_orders
        assert (said.condition_id, said.by, said.clear) == ("gpu/xid-79", "root@localhost", True)
    async with greeted(rig, host, condition(rig, host)) as stream:
        assert (await stream.next("desired_state")).desired_state.condition_orders  # told again
        await stream.send(spool=batch([event(rig, 1, CLEARED, condition(rig, host))]))
        while (await stream.next("desired_state")).desired_state.condition_orders:
            pass


async def test_every_host_gets_a_local_policy_that_the_ca_has_signed_for_it_alone(rig: Rig) -> None:
    versions = []
    for name in ("alpha", "beta"):
        host = await rig.join(name)
        async with greeted(rig, host) as stream:
            signed = (await stream.next("desired_state")).desired_state.policy
        key = x509.load_pem_x509_certificate(rig.ca.trust_pem).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signed.signature, PREFIX + signed.policy, ec.ECDSA(hashes.SHA256()))
        policy = repair_pb2.LocalPolicy.FromString(signed.policy)
        assert policy.node_id == host.node_id
        assert {one.rung for one in policy.rungs} == {RESET}
        assert policy.expires_at.ToDatetime() - policy.issued_at.ToDatetime() == timedelta(days=7)
        versions.append(policy.version)
    assert versions[0] == versions[1] > 0


async def test_a_gpu_with_a_fatal_condition_gets_no_job(rig: Rig) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host, condition(rig, host, repair=0)):
        job_id = await rig.launch(1)
        with pytest.raises(AssertionError, match="does not serve"):
            await rig.place(job_id, (host, [host.uuids()[0]]))
        await rig.place(job_id, (host, [host.uuids()[1]]))


async def test_a_host_with_a_fatal_condition_of_its_own_gets_no_job(rig: Rig) -> None:
    host = await rig.join("alpha")
    whole = condition(rig, host, "host/disk", scope=health_pb2.CONDITION_SCOPE_HOST, gpu_uuid="", repair=0)
    async with greeted(rig, host, whole):
        job_id = await rig.launch(1)
        with pytest.raises(AssertionError, match="fatal condition"):
            await rig.place(job_id, (host, [host.uuids()[1]]))


async def test_an_inventory_of_a_lost_gpu_does_not_hide_its_condition(rig: Rig, healing: None) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host, condition(rig, host)) as stream:
        await stream.send(inventory=inventory(host.name, uuids=host.uuids()[1:]))
        assert list((await ordered(stream)).gpu_uuids) == [host.uuids()[0]]
