"""Who gets a stream, and how hosts renew their certificates."""

from datetime import timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.clock import SystemClock
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.certificates import node_principal_from_pem
from control_plane.model.ids import NODE, NodeId, new_id
from tests.control_plane.services.node_link.hosts import Host, signing_request
from tests.control_plane.services.node_link.rig import Rig


async def test_a_certificate_of_another_authority_gets_no_stream(rig: Rig, tmp_path: Path) -> None:
    host = await rig.join("gpu-1")
    stranger = CertificateAuthority.load_or_create(tmp_path / "stranger", clock=SystemClock())
    forged = stranger.sign_node_csr(signing_request(host.key), host.node_id, lifetime=timedelta(hours=1))
    async with Host(rig, host.name, host.key, host.node_id, forged.certificate_pem).dial() as stream:
        assert await stream.ended() is grpc.StatusCode.UNAVAILABLE
    assert not rig.registry.connected(host.node_id)


async def test_a_good_certificate_of_a_node_that_does_not_exist_gets_no_stream(rig: Rig) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    node_id: NodeId = new_id(NODE)
    issued = rig.ca.sign_node_csr(signing_request(key), node_id, lifetime=timedelta(hours=1))
    host = Host(rig, "ghost", key, node_id, issued.certificate_pem)
    async with host.dial() as stream:
        await stream.try_hello(host)
        assert await stream.ended() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_renewed_certificate_is_for_the_same_node_and_the_old_one_stays_good(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        await stream.send(certificate_signing_request=signing_request(host.key))
        renewed = (await stream.next("certificate")).certificate
    principal = node_principal_from_pem(renewed)
    assert principal.node_id == host.node_id
    assert principal.serial != node_principal_from_pem(host.certificate).serial
    assert (await rig.node(host.node_id)).certificate_serial == principal.serial
    for certificate in (host.certificate, renewed):
        # Of another boot than a stream that is still open, it would be taken for another host.
        await rig.until_node(host.node_id, lambda node: not node.connected)
        async with Host(rig, host.name, host.key, host.node_id, certificate).connect(boot_id="b"):
            pass
        rig.clock.offset_seconds += 100


async def test_renewals_that_never_reach_the_host_do_not_lock_it_out(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    for _ in range(3):
        async with host.connect() as stream:
            await stream.send(certificate_signing_request=signing_request(host.key))
            await stream.next("certificate")  # and the host dies before it is on its disk
    async with host.connect():
        assert rig.registry.connected(host.node_id)


async def test_a_signing_request_names_nothing_and_garbage_is_ignored(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "n-000000000000")])
    )
    request = builder.add_extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier("orquanta://node/n-000000000000")]), critical=False
    ).sign(host.key, hashes.SHA256())
    async with host.connect() as stream:
        await stream.send(certificate_signing_request=b"garbage")
        await stream.heartbeat(1)
        await stream.next("heartbeat_ack")
        await stream.send(certificate_signing_request=request.public_bytes(serialization.Encoding.PEM))
        renewed = (await stream.next("certificate")).certificate
    assert node_principal_from_pem(renewed).node_id == host.node_id
