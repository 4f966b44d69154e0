"""Health over the link for real: gRPC with TLS, the store, the governor and the healing agent."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.agents.incidents.agent import Incidents
from control_plane.model.action import RepairNode, UpdateCondition
from control_plane.model.health import HealthEventKind
from control_plane.model.identity import CredentialKind, Principal, Role
from control_plane.model.ids import UserId
from control_plane.model.incident import IncidentState
from control_plane.model.node import NodeState
from control_plane.model.repair import RepairState, Rung
from control_plane.model.telemetry import Rollup
from control_plane.services.link_policy import PREFIX
from control_plane.store import conditions, incidents, repairs, rollups, spools
from control_plane.store.database import Tx
from control_plane.store.incidents import IncidentFilter
from control_plane.store.pages import PageRequest
from orquanta.v1 import event_pb2, health_pb2, node_link_pb2, repair_pb2
from tests.control_plane.services.node_link.rig import Host, Rig, Stream, inventory, stamp

FATAL = health_pb2.CONDITION_SEVERITY_FATAL
RESET = repair_pb2.REPAIR_RUNG_RESET_GPU
RAISED = health_pb2.HEALTH_EVENT_KIND_RAISED
CLEARED = health_pb2.HEALTH_EVENT_KIND_CLEARED


def condition(
    rig: Rig, host: Host, condition_id: str = "gpu/xid-79", **changes: Any
) -> health_pb2.Condition:  # Any: fields
    fields: dict[str, Any] = {  # Any: as above
        "id": condition_id,
        "scope": health_pb2.CONDITION_SCOPE_GPU,
        "subject": host.uuids()[0],
        "kind": "XID",
        "code": 79,
        "severity": FATAL,
        "summary": "fell off the bus",
        "gpu_uuid": host.uuids()[0],
        "repair": RESET,
        "authority": health_pb2.AUTHORITY_CATALOGUE,
        "count": 1,
        "first_seen_at": stamp(rig.clock.now()),
        "last_seen_at": stamp(rig.clock.now()),
        "evidence": [
            health_pb2.ConditionEvidence(
                id="ev-1",
                source=health_pb2.EVIDENCE_SOURCE_KERNEL,
                text="NVRM: Xid",
                observed_at=stamp(rig.clock.now()),
            )
        ],
    }
    return health_pb2.Condition(**(fields | changes))


def event(
    rig: Rig, sequence: int, kind: Any, what: health_pb2.Condition, *, at: datetime | None = None
) -> node_link_pb2.SpoolRecord:  # Any: an enum's value
    when = stamp(at or rig.clock.now())
    happened = health_pb2.HealthEvent(id=f"event-{sequence}", kind=kind, condition=what, occurred_at=when)
    return node_link_pb2.SpoolRecord(sequence=sequence, recorded_at=when, health_event=happened)


def batch(records: Iterable[node_link_pb2.SpoolRecord], spool_id: str = "spool-1") -> node_link_pb2.SpoolBatch:
    return node_link_pb2.SpoolBatch(spool_id=spool_id, records=records)


def progress(order: repair_pb2.RepairOrder, state: Any, **changes: Any) -> repair_pb2.RepairReport:  # Any: enum, fields
    fields: dict[str, Any] = {  # Any: as above
        "repair_id": order.id,
        "incident_id": order.incident_id,
        "origin": repair_pb2.REPAIR_ORIGIN_CONTROL_PLANE,
        "rung": order.rung,
        "state": state,
    }
    return repair_pb2.RepairReport(**(fields | changes))


async def ordered(stream: Stream) -> repair_pb2.RepairOrder:
    """Read until a desired state has a repair."""
    while True:
        for one in reversed(stream.received):
            if one.WhichOneof("message") == "desired_state":
                if one.desired_state.HasField("repair"):
                    return one.desired_state.repair
                break
        await stream.next("desired_state")


async def acked(stream: Stream, sequence: int) -> None:
    while (await stream.next("spool_ack")).spool_ack.sequence < sequence:
        pass


def hello(rig: Rig, host: Host, *present: health_pb2.Condition, **fields: Any) -> node_link_pb2.Hello:  # Any: fields
    return node_link_pb2.Hello(
        inventory=inventory(host.name, host.gpus),
        host_time=stamp(rig.clock.now()),
        conditions=present,
        spool_id="spool-1",
        **fields,
    )


@asynccontextmanager
async def greeted(rig: Rig, host: Host, *present: health_pb2.Condition, **fields: Any) -> AsyncIterator[Stream]:  # Any
    async with host.dial() as stream:
        await stream.send(hello=hello(rig, host, *present, **fields))
        await stream.next("welcome")
        yield stream


@pytest.fixture
async def healing(rig: Rig) -> AsyncIterator[None]:
    agent = asyncio.create_task(Incidents(rig.store, rig.governor).run())
    yield
    agent.cancel()
    await asyncio.wait([agent])


async def ids(rig: Rig, host: Host) -> list[str]:
    return [one.id for one in await rig.store.read(lambda tx: conditions.of_node(tx, host.node_id))]


async def test_a_kernel_line_becomes_a_condition_a_repair_and_a_verified_end(rig: Rig, healing: None) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host) as stream:
        what = condition(rig, host)
        await stream.send(spool=batch([event(rig, 1, RAISED, what)]))
        await acked(stream, 1)
        order = await ordered(stream)
        assert (order.rung, list(order.gpu_uuids), list(order.condition_ids)) == (RESET, [host.uuids()[0]], [what.id])
        assert order.HasField("not_after")
        await stream.send(repair_report=progress(order, repair_pb2.REPAIR_STATE_RUNNING))
        await rig.until_node(host.node_id, lambda node: node.state is NodeState.REPAIRING)
        await stream.send(repair_report=progress(order, repair_pb2.REPAIR_STATE_VERIFYING))
        await rig.until_node(host.node_id, lambda node: node.state is NodeState.VERIFYING)
        end = progress(order, repair_pb2.REPAIR_STATE_SUCCEEDED, ended_at=stamp(rig.clock.now()))
        done = node_link_pb2.SpoolRecord(sequence=3, recorded_at=stamp(rig.clock.now()), repair_report=end)
        await stream.send(spool=batch([event(rig, 2, CLEARED, what), done]))
        await acked(stream, 3)
        await rig.until_node(host.node_id, lambda node: node.state is NodeState.READY)
        page = await rig.store.read(
            lambda tx: incidents.page(tx, IncidentFilter(node_id=host.node_id), PageRequest(10))
        )
        (incident,) = page.items
        assert incident.state is IncidentState.RESOLVED
        assert "ev-1" in incident.diagnosis
        while stream.received[-1].desired_state.HasField("repair"):
            await stream.next("desired_state")  # what has ended is not asked for any more


async def test_records_enter_the_books_once_however_often_they_are_sent(rig: Rig) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host) as stream:
        what = condition(rig, host)
        records = [event(rig, 1, RAISED, what), event(rig, 2, CLEARED, what), event(rig, 3, RAISED, what)]
        for _ in range(3):
            await stream.send(spool=batch(records))
        await stream.send(spool=batch([*records, event(rig, 4, CLEARED, what)]))
        await acked(stream, 4)
    counts = await rig.store.read(lambda tx: conditions.event_counts(tx, host.node_id))
    assert counts == {HealthEventKind.RAISED: 2, HealthEventKind.CLEARED: 2}
    (spool,) = await rig.store.read(lambda tx: spools.of_node(tx, host.node_id))
    assert (spool.spool_id, spool.sequence) == ("spool-1", 4)


async def test_what_is_not_in_a_hello_is_over(rig: Rig) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host, condition(rig, host, "a"), condition(rig, host, "b")):
        assert sorted(await ids(rig, host)) == ["a", "b"]
    async with greeted(rig, host, condition(rig, host, "b"), condition(rig, host, "c")):
        assert sorted(await ids(rig, host)) == ["b", "c"]
    async with greeted(rig, host):
        assert await ids(rig, host) == []


async def test_trouble_that_came_and_went_while_the_link_was_down_orders_no_repair(rig: Rig, healing: None) -> None:
    host = await rig.join("alpha")
    before = rig.clock.now() - timedelta(hours=1)
    async with greeted(rig, host) as stream:
        what = condition(rig, host)
        await stream.send(spool=batch([event(rig, 1, RAISED, what, at=before)]))
        await acked(stream, 1)
        assert await ids(rig, host) == []
        await stream.send(spool=batch([event(rig, 2, CLEARED, what, at=before)]))
        await acked(stream, 2)
    assert await rig.store.read(lambda tx: conditions.event_counts(tx, host.node_id)) == {
        HealthEventKind.RAISED: 1,
        HealthEventKind.CLEARED: 1,
    }
    assert await rig.store.read(incidents.unended) == ()


async def test_a_host_whose_clock_is_set_back_is_still_heard(rig: Rig) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host) as stream:
        back = rig.clock.now() - timedelta(hours=2)
        await stream.send(heartbeat=node_link_pb2.Heartbeat(sequence=1, host_time=stamp(back)))
        await stream.send(spool=batch([event(rig, 1, RAISED, condition(rig, host), at=back + timedelta(seconds=1))]))
        await acked(stream, 1)
        assert await ids(rig, host) == ["gpu/xid-79"]


async def test_a_repair_is_asked_for_again_after_a_reconnect_until_it_has_ended(rig: Rig, healing: None) -> None:
    host = await rig.join("alpha")
    what = condition(rig, host)
    async with greeted(rig, host, what) as stream:
        first = await ordered(stream)
    async with greeted(rig, host, what) as stream:
        assert (await ordered(stream)).id == first.id
        ended = progress(first, repair_pb2.REPAIR_STATE_FAILED, ended_at=stamp(rig.clock.now()))
        await stream.send(repair_report=ended)
        while (order := await ordered(stream)).id == first.id:
            await stream.next("desired_state")
        assert order.rung == repair_pb2.REPAIR_RUNG_RELOAD_DRIVER


async def test_a_host_cannot_end_or_fake_the_repair_of_another(rig: Rig) -> None:
    victim, thief = await rig.join("victim"), await rig.join("thief")
    async with greeted(rig, victim) as stream, greeted(rig, thief) as hostile:
        await rig.propose(RepairNode(victim.node_id, Rung.VERIFY, "a test wants it"))
        order = await ordered(stream)
        end = progress(order, repair_pb2.REPAIR_STATE_SUCCEEDED, ended_at=stamp(rig.clock.now()))
        record = node_link_pb2.SpoolRecord(sequence=1, recorded_at=stamp(rig.clock.now()), repair_report=end)
        await hostile.send(repair_report=end)
        await hostile.send(spool=batch([record], "theirs"))
        await acked(hostile, 1)
        repair = await rig.store.read(lambda tx: repairs.unfinished(tx, victim.node_id))
        assert repair is not None
        assert repair.state is RepairState.PENDING
        assert len(await rig.audited(thief.node_id, "repair.refuse")) == 1
        end.origin = repair_pb2.REPAIR_ORIGIN_LOCAL_POLICY
        await hostile.send(spool=batch([node_link_pb2.SpoolRecord(sequence=2, repair_report=end)], "theirs"))
        await acked(hostile, 2)
        repair = await rig.store.read(lambda tx: repairs.unfinished(tx, victim.node_id))
        assert repair is not None
        assert repair.state is RepairState.PENDING
        assert repair.id == order.id


async def test_what_makes_no_sense_is_left_out_and_not_sent_again(rig: Rig) -> None:
    host = await rig.join("alpha")
    hostile = [
        condition(rig, host, "bad\nid"),
        condition(rig, host, "x" * 300),
        condition(rig, host, "no-scope", scope=0),
        condition(rig, host, "no-severity", severity=99),
        condition(rig, host, "kind", kind="\x00"),
    ]
    async with greeted(rig, host, *hostile, condition(rig, host, "good")) as stream:
        assert await ids(rig, host) == ["good"]
        records = [event(rig, number + 1, RAISED, one) for number, one in enumerate(hostile)]
        records.append(node_link_pb2.SpoolRecord(sequence=6, recorded_at=stamp(rig.clock.now())))
        records.append(event(rig, 7, RAISED, condition(rig, host, "better")))
        await stream.send(spool=batch(records))
        await acked(stream, 7)
        assert sorted(await ids(rig, host)) == ["better", "good"]


async def test_texts_and_times_of_a_stranger_are_bounded(rig: Rig) -> None:
    host = await rig.join("alpha")
    far = stamp(rig.clock.now() + timedelta(days=400))
    odd = condition(
        rig,
        host,
        summary="\x1b[31m" + "x" * 9000,
        first_seen_at=far,
        last_seen_at=far,
        process_ids=[0, 1, 7, *range(100, 200)],
        service="a b; rm",
        count=2**63,
        evidence=[health_pb2.ConditionEvidence(id="e", text="y" * 9000, observed_at=far)] * 50,
    )
    async with greeted(rig, host, odd):
        (taken,) = await rig.store.read(lambda tx: conditions.of_node(tx, host.node_id))
    assert len(taken.summary) <= 500
    assert "\x1b" not in taken.summary
    assert taken.first_seen_at <= rig.clock.now()
    assert set(taken.process_ids).isdisjoint({0, 1})
    assert (len(taken.process_ids), taken.service, len(taken.evidence)) == (14, "", 8)
    assert all(len(piece.text) <= 500 for piece in taken.evidence)


async def test_a_host_that_sends_too_much_at_once_has_to_come_back(rig: Rig) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host) as stream:
        what = condition(rig, host)
        await stream.send(spool=batch([event(rig, number, RAISED, what) for number in range(1, 502)]))
        assert not (await stream.farewell()).permanent
    async with greeted(rig, host, what) as stream:
        await stream.send(spool=batch([event(rig, 1, RAISED, what)], "../../etc"))
        assert not (await stream.farewell()).permanent


async def test_what_a_spool_had_to_give_up_is_on_record(rig: Rig) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host) as stream:
        loss = node_link_pb2.SpoolLoss(records=17, telemetry_samples=4000, reason="the disk was full")
        await stream.send(spool=batch([node_link_pb2.SpoolRecord(sequence=18, loss=loss)]))
        await acked(stream, 18)
    (record,) = await rig.audited(host.node_id, "spool.lost")
    assert record.reasoning == "the disk was full"
    (spool,) = await rig.store.read(lambda tx: spools.of_node(tx, host.node_id))
    assert (spool.lost_records, spool.lost_samples) == (17, 4000)


def minute(rig: Rig, host: Host, minutes_ago: float, **changes: Any) -> event_pb2.TelemetryRollup:  # Any: fields
    gpu: dict[str, Any] = {"uuid": host.uuids()[0], "temperature_celsius_max": 71, "power_watts": 400.0}  # Any: fields
    return event_pb2.TelemetryRollup(
        started_at=stamp(rig.clock.now() - timedelta(minutes=minutes_ago)),
        samples=60,
        gpus=[event_pb2.GpuRollup(**(gpu | changes))],
    )


async def test_minutes_without_raw_telemetry_are_kept_once_and_only_what_can_be(rig: Rig) -> None:
    host = await rig.join("alpha")
    strange = {"utilization_percent": float("nan"), "temperature_celsius_max": 2**31 - 1, "power_watts": -4.0}
    told = [
        minute(rig, host, 3),
        minute(rig, host, 3),
        minute(rig, host, 2, **strange),
        minute(rig, host, 60 * 24 * 30),
        event_pb2.TelemetryRollup(
            started_at=stamp(rig.clock.now()), gpus=[event_pb2.GpuRollup(uuid=f"GPU-{n}") for n in range(99)]
        ),
    ]
    async with greeted(rig, host) as stream:
        records = [
            node_link_pb2.SpoolRecord(sequence=number, telemetry_rollup=one) for number, one in enumerate(told, start=1)
        ]
        await stream.send(spool=batch(records))
        await acked(stream, len(told))

    long_ago = rig.clock.now() - timedelta(days=365)
    kept = await rig.store.read(lambda tx: rollups.of_node(tx, host.node_id, since=long_ago, limit=10))
    assert [one.samples for one in kept] == [60, 60]
    assert kept[0].gpus[0].temperature_celsius_max == 71
    assert (kept[1].gpus[0].utilization_percent, kept[1].gpus[0].power_watts) == (0.0, 0.0)
    assert kept[1].gpus[0].temperature_celsius_max == 1_000


async def test_old_minutes_and_the_oldest_of_too_many_go(rig: Rig) -> None:
    host = await rig.join("alpha")

    def write(tx: Tx) -> None:
        for number in range(10):
            rollups.keep(tx, host.node_id, Rollup(tx.now - timedelta(minutes=number), 60, ()))

    await rig.store.write(write)
    this_minute = rig.clock.now().replace(second=0, microsecond=0)
    six_minutes_ago = this_minute - timedelta(minutes=6)
    await rig.store.write(lambda tx: rollups.prune(tx, before=six_minutes_ago, most=1_000))
    assert await rig.store.read(rollups.count) == 7
    await rig.store.write(lambda tx: rollups.prune(tx, before=six_minutes_ago, most=3))
    kept = await rig.store.read(
        lambda tx: rollups.of_node(tx, host.node_id, since=rig.clock.now() - timedelta(days=1), limit=10)
    )
    assert len(kept) == 4
    assert kept[-1].started_at == this_minute


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


async def test_a_repair_that_a_host_began_alone_is_known_from_its_hello(rig: Rig, healing: None) -> None:
    host = await rig.join("alpha")
    alone = repair_pb2.RepairReport(
        repair_id="r-0123456789ab",
        origin=repair_pb2.REPAIR_ORIGIN_LOCAL_POLICY,
        rung=RESET,
        state=repair_pb2.REPAIR_STATE_RUNNING,
        condition_ids=["gpu/xid-79"],
        policy_version=3,
    )
    async with greeted(rig, host, condition(rig, host), repair=alone) as stream:
        await rig.until_node(host.node_id, lambda node: node.state is NodeState.REPAIRING)
        alone.state = repair_pb2.REPAIR_STATE_SUCCEEDED
        alone.ended_at.CopyFrom(stamp(rig.clock.now()))
        end = node_link_pb2.SpoolRecord(sequence=2, recorded_at=stamp(rig.clock.now()), repair_report=alone)
        await stream.send(spool=batch([event(rig, 1, CLEARED, condition(rig, host)), end]))
        await rig.until_node(host.node_id, lambda node: node.state is NodeState.READY)
    page = await rig.store.read(lambda tx: incidents.page(tx, IncidentFilter(), PageRequest(10)))
    assert [one.state for one in page.items] == [IncidentState.RESOLVED]


async def test_what_a_host_has_mended_alone_is_told_once_and_with_what_was_wrong(rig: Rig, healing: None) -> None:
    host = await rig.join("alpha")
    now = stamp(rig.clock.now())
    alone = repair_pb2.RepairReport(
        repair_id="r-0123456789ab",
        origin=repair_pb2.REPAIR_ORIGIN_LOCAL_POLICY,
        rung=RESET,
        state=repair_pb2.REPAIR_STATE_SUCCEEDED,
        condition_ids=["gpu/xid-79"],
        policy_version=3,
        ended_at=now,
    )
    async with greeted(rig, host, repair=alone) as stream:
        wrong = condition(rig, host)
        end = node_link_pb2.SpoolRecord(sequence=2, recorded_at=now, repair_report=alone)
        await stream.send(spool=batch([event(rig, 1, RAISED, wrong), end, event(rig, 3, CLEARED, wrong)]))
        await acked(stream, 3)
        page = await rig.until(
            lambda tx: incidents.page(tx, IncidentFilter(), PageRequest(10)),
            lambda page: any(one.state is IncidentState.RESOLVED for one in page.items),
        )
    (incident,) = page.items
    assert [one.id for one in incident.conditions] == ["gpu/xid-79"]
    assert len(incident.repairs) == 1


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


async def test_a_host_cannot_stop_the_books_by_what_its_spools_say(rig: Rig) -> None:
    hostile, honest = await rig.join("hostile"), await rig.join("honest")
    most = node_link_pb2.SpoolLoss(records=2**63, telemetry_samples=2**63, reason="all")
    async with greeted(rig, hostile) as stream, greeted(rig, honest) as other:
        for start in (1, 501, 1001):
            await stream.send(
                spool=batch(
                    [node_link_pb2.SpoolRecord(sequence=start + number, loss=most) for number in range(500)], "losses"
                )
            )
            await acked(stream, start + 499)
        assert len(await rig.audited(hostile.node_id, "spool.lost")) == 1
        for number in range(12):
            raised = event(rig, 7, RAISED, condition(rig, hostile, f"c-{number}"))
            await stream.send(spool=batch([raised], f"spool-{number}"))
            await acked(stream, 7)
        again = event(rig, 7, RAISED, condition(rig, hostile, "again"))
        await stream.send(spool=batch([again], "spool-0"))
        await acked(stream, 7)
        assert "again" not in await ids(rig, hostile)  # that record of that spool is in the books already
        await other.send(spool=batch([event(rig, 1, RAISED, condition(rig, honest))]))
        await acked(other, 1)
        assert await ids(rig, honest) == ["gpu/xid-79"]


async def test_an_order_that_its_host_has_not_begun_is_withdrawn_while_everything_is_stopped(
    rig: Rig, healing: None
) -> None:
    host = await rig.join("alpha")
    admin = Principal(UserId("u-admin"), "root@localhost", Role.ADMIN, CredentialKind.PASSWORD, "credential")
    async with greeted(rig, host):
        await rig.propose(RepairNode(host.node_id, Rung.VERIFY, "a test wants it"))
    await rig.governor.set_kill_switch(engaged=True, principal=admin, reason="storm")
    async with greeted(rig, host) as stream:
        assert not (await stream.next("desired_state")).desired_state.HasField("repair")
        await rig.governor.set_kill_switch(engaged=False, principal=admin, reason="over")
        order = await ordered(stream)
        await rig.governor.set_kill_switch(engaged=True, principal=admin, reason="storm")
        assert not (await stream.next("desired_state")).desired_state.HasField("repair")
        await rig.governor.set_kill_switch(engaged=False, principal=admin, reason="over")
        await ordered(stream)
        await stream.send(repair_report=progress(order, repair_pb2.REPAIR_STATE_RUNNING))
        await rig.until(
            lambda tx: repairs.unfinished(tx, host.node_id),
            lambda one: one is not None and one.state is RepairState.RUNNING,
        )
        await rig.governor.set_kill_switch(engaged=True, principal=admin, reason="storm")
    async with greeted(rig, host) as stream:
        assert (await ordered(stream)).id == order.id  # what has begun comes to its end
