"""What the bus refuses or cannot do, by name: credentials, certificates, streams, sizes, a store that is full."""

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.bus.client import Bus
from control_plane.bus.embedded import EmbeddedNats
from control_plane.bus.streams import StreamSpec, stream_specs
from control_plane.bus.subjects import EventNoun, event
from control_plane.errors import (
    InvalidArgument,
    PreconditionFailed,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from control_plane.identity.ca import CertificateAuthority
from tests.control_plane.bus.conftest import CLOCK, Site

Streams = tuple[StreamSpec, ...]

JOB_EVENT = event(EventNoun.JOB, "j-1")


async def test_stream_settings_are_brought_up_to_date(bus: Bus, streams: Streams) -> None:
    await bus.ensure_streams([replace(spec, max_message_bytes=10) for spec in streams])
    with pytest.raises(InvalidArgument) as caught:
        await bus.publish_event(JOB_EVENT, b"x" * 11, message_id="1")
    assert caught.value.reason == "BUS_MESSAGE_TOO_LARGE"


async def test_message_beyond_the_brokers_bound_is_refused(bus: Bus, streams: Streams) -> None:
    with pytest.raises(InvalidArgument):
        await bus.publish_event(JOB_EVENT, bytes(2 << 20), message_id="1")
    with pytest.raises(InvalidArgument):
        await bus.publish("x", bytes(2 << 20))
    assert (await bus.publish_event(JOB_EVENT, b"x", message_id="2")).sequence == 1


async def test_subject_without_a_stream_is_named_as_the_cause(bus: Bus) -> None:
    with pytest.raises(Unavailable) as caught:
        await bus.publish_event(JOB_EVENT, b"x", message_id="1")
    assert caught.value.reason == "BUS_NO_STREAM"


async def test_streams_that_do_not_fit_the_store_are_refused(site: Site) -> None:
    config = replace(site.broker_config(), max_store_bytes=1 << 20)
    async with EmbeddedNats(config, clock=CLOCK) as broker, Bus(site.endpoint(broker.url)) as bus:
        with pytest.raises(Unavailable) as caught:
            await bus.ensure_streams(stream_specs())
    assert caught.value.reason == "BUS_STREAM_FAILED"
    assert "insufficient storage" in caught.value.message


async def test_full_store_is_named_as_the_cause(bus: Bus, broker: EmbeddedNats, site: Site, streams: Streams) -> None:
    """The broker may write files of 64 KiB at most, which to it is a disk that is full."""
    assert broker.pid is not None
    resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (65_536, 65_536))

    async def fill() -> None:
        for number in range(20):
            await bus.publish_event(JOB_EVENT, bytes(20_000), message_id=str(number))

    with pytest.raises((ResourceExhausted, Unavailable)) as caught:
        await fill()
    assert caught.value.reason in {"BUS_STORAGE_FULL", "BUS_NOT_STORED", "BUS_NO_CONFIRMATION"}
    assert "space" in caught.value.message
    await bus.publish("core", b"still works")


async def test_wrong_password_is_refused_by_name(site: Site, broker: EmbeddedNats) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await Bus(replace(site.endpoint(broker.url), password="wrong")).start()
    assert caught.value.reason == "BUS_REFUSED"
    assert "wrong" not in caught.value.message


async def test_broker_of_another_ca_is_refused_by_name(site: Site, broker: EmbeddedNats, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(CertificateAuthority.load_or_create(tmp_path / "other", clock=CLOCK).trust_pem)
    with pytest.raises(PreconditionFailed) as caught:
        await Bus(replace(site.endpoint(broker.url), ca_file=other)).start()
    assert caught.value.reason == "BUS_TLS"


async def test_broker_with_another_name_is_refused(site: Site, broker: EmbeddedNats) -> None:
    endpoint = replace(site.endpoint(broker.url), tls_hostname="elsewhere.example")
    with pytest.raises(PreconditionFailed) as caught:
        await Bus(endpoint).start()
    assert caught.value.reason == "BUS_TLS"


async def test_unreachable_broker_is_named_with_its_address(site: Site) -> None:
    with pytest.raises(Unavailable) as caught:
        await Bus(site.endpoint("tls://127.0.0.1:1"), connect_timeout_seconds=0.5).start()
    assert caught.value.reason == "BUS_UNREACHABLE"
    assert "127.0.0.1:1" in caught.value.message


async def test_missing_certificate_file_is_named(site: Site, broker: EmbeddedNats, tmp_path: Path) -> None:
    endpoint = replace(site.endpoint(broker.url), certificate_file=tmp_path / "nothing.pem")
    with pytest.raises(PreconditionFailed) as caught:
        await Bus(endpoint).start()
    assert "nothing.pem" in caught.value.message


async def test_password_stays_out_of_the_representation(site: Site) -> None:
    assert site.secrets.nats_control_password not in repr(site.endpoint("tls://x:1"))
    assert site.secrets.nats_control_password not in repr(site.broker_config())
