"""What hosts send from their spools, and what of it enters the books."""

from datetime import timedelta
from typing import Any

from control_plane.model.health import HealthEventKind
from control_plane.model.telemetry import Rollup
from control_plane.store import conditions, rollups, spools
from control_plane.store.database import Tx
from orquanta.v1 import event_pb2, health_pb2, node_link_pb2
from tests.control_plane.services.node_link.health_rig import (
    CLEARED,
    RAISED,
    acked,
    batch,
    condition,
    event,
    greeted,
    ids,
)
from tests.control_plane.services.node_link.hosts import Host, stamp
from tests.control_plane.services.node_link.rig import Rig


def minute(rig: Rig, host: Host, minutes_ago: float, **changes: Any) -> event_pb2.TelemetryRollup:  # Any: fields
    gpu: dict[str, Any] = {"uuid": host.uuids()[0], "temperature_celsius_max": 71, "power_watts": 400.0}  # Any: fields
    return event_pb2.TelemetryRollup(
        started_at=stamp(rig.clock.now() - timedelta(minutes=minutes_ago)),
        samples=60,
        gpus=[event_pb2.GpuRollup(**(gpu | changes))],
    )


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


async def test_minutes_without_raw_telemetry_are_kept_once_and_only_what_can_be(rig: Rig) -> None:
    host = await rig.join("alpha")
    strange = {"utilization_percent": float("nan"), "temperature_celsius_max": 2**31 - 1, "power_watts": -4.0}
    third = minute(rig, host, 3)
    told = [
        third,
        third,
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
    now = rig.clock.now()
    this_minute = now.replace(second=0, microsecond=0)

    def write(tx: Tx) -> None:
        for number in range(10):
            rollups.keep(tx, host.node_id, Rollup(now - timedelta(minutes=number), 60, ()))

    await rig.store.write(write)
    six_minutes_ago = this_minute - timedelta(minutes=6)
    await rig.store.write(lambda tx: rollups.prune(tx, before=six_minutes_ago, most=1_000))
    assert await rig.store.read(rollups.count) == 7
    await rig.store.write(lambda tx: rollups.prune(tx, before=six_minutes_ago, most=3))
    kept = await rig.store.read(
        lambda tx: rollups.of_node(tx, host.node_id, since=rig.clock.now() - timedelta(days=1), limit=10)
    )
    assert len(kept) == 4
    assert kept[-1].started_at == this_minute


async def test_a_host_cannot_stop_the_books_by_what_its_spools_say(rig: Rig) -> None:
    hostile, honest = await rig.join("hostile"), await rig.join("honest")
    most = node_link_pb2.SpoolLoss(records=2**63, telemetry_samples=2**63, reason="all")
    async with greeted(rig, hostile) as stream:
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
        async with greeted(rig, honest) as other:
            await other.send(spool=batch([event(rig, 1, RAISED, condition(rig, honest))]))
            await acked(other, 1)
        assert await ids(rig, honest) == ["gpu/xid-79"]
