"""A virtual host by itself: jobs, faults, repairs, its spool and its sensors, without any control plane."""

from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration as WireDuration

from orquanta.v1 import event_pb2, health_pb2, job_pb2, node_link_pb2, repair_pb2
from simulator.counts import HostCounts, Latencies
from simulator.draws import Duration
from simulator.faults import FAULTS
from simulator.host import Terms, VirtualHost
from simulator.members import JobTerms
from simulator.models import MODELS
from simulator.repairs import RepairTerms
from simulator.spool import SPOOL_MAX

NOW = 1_800_000_000.0
XID119, XID79, XID63 = FAULTS["xid119"], FAULTS["xid79"], FAULTS["xid63"]
MakeHost = Callable[..., VirtualHost]


@pytest.fixture
def make() -> MakeHost:
    def made(*, name: str = "sim-0", job_failures: int = 0, repair_failures: int = 0, seed: int = 1) -> VirtualHost:
        terms = Terms(
            MODELS["H100"],
            4,
            JobTerms(Duration.parse("30"), job_failures, seed),
            RepairTerms(Duration.parse("2"), Duration.parse("20"), repair_failures, seed),
            seed,
        )
        host = VirtualHost(0, name, "n-000000000001", terms, HostCounts(), Latencies(), NOW)
        host.hello(NOW)
        return host

    return made


def assignment(host: VirtualHost, *, gpus: int = 2, rank: int = 0, world: int = 1) -> node_link_pb2.MemberAssignment:
    return node_link_pb2.MemberAssignment(
        allocation_id="a-1",
        job_id="j-1",
        epoch=1,
        rank=rank,
        world_size=world,
        gpu_uuids=host.body.uuids[:gpus],
        stop_grace=WireDuration(seconds=10),
    )


def desired(*members: node_link_pb2.MemberAssignment, epoch: int = 1, **fields: object) -> node_link_pb2.DesiredState:
    return node_link_pb2.DesiredState(control_epoch=epoch, members=members, **fields)  # type: ignore[arg-type] # by their names


def order(host: VirtualHost, condition_id: str, rung: int = repair_pb2.REPAIR_RUNG_RESET_GPU) -> repair_pb2.RepairOrder:
    return repair_pb2.RepairOrder(
        id="r-1",
        rung=rung,  # type: ignore[arg-type] # one of the rungs
        gpu_uuids=host.body.uuids[:1],
        condition_ids=[condition_id],
    )


def told(host: VirtualHost, kind: str) -> list[node_link_pb2.ConnectRequest]:
    return [one for one in host.said if one.WhichOneof("message") == kind]


def records(host: VirtualHost) -> list[node_link_pb2.SpoolRecord]:
    return [record for one in told(host, "spool") for record in one.spool.records]


def pass_time(host: VirtualHost, seconds: float, step: float = 0.25) -> float:
    for number in range(1, int(seconds / step) + 1):
        host.advance(NOW + number * step)
    return NOW + seconds


def test_a_member_starts_runs_for_its_time_prints_and_ends(make: MakeHost) -> None:
    host = make()
    host.obey(desired(assignment(host)), NOW)
    pass_time(host, 33)
    states = [one.member_report.state for one in told(host, "member_report")]
    assert states == [
        job_pb2.ALLOCATION_STATE_STARTING,
        job_pb2.ALLOCATION_STATE_RUNNING,
        job_pb2.ALLOCATION_STATE_ENDED,
    ]
    last = told(host, "member_report")[-1].member_report
    assert (last.exit_code, last.exit_reason) == (0, job_pb2.EXIT_REASON_EXITED)
    assert last.gpu_seconds == pytest.approx(60, abs=2)
    assert host.printed[-1].end
    assert [line.offset for line in host.printed] == sorted(line.offset for line in host.printed)
    assert host.hello(NOW + 34).members[0].state == job_pb2.ALLOCATION_STATE_ENDED
    host.members.acknowledge("a-1", 0)
    assert not host.hello(NOW + 34).members


def test_a_part_of_a_gpu_counts_as_a_part(make: MakeHost) -> None:
    host, part = make(), assignment(make(), gpus=1)
    part.gpu_milli = 250
    host.obey(desired(part), NOW)
    pass_time(host, 33)
    assert told(host, "member_report")[-1].member_report.gpu_seconds == pytest.approx(7.5, abs=0.25)


def test_a_member_that_is_not_wanted_any_more_stops_and_is_not_started_twice(make: MakeHost) -> None:
    host = make()
    host.obey(desired(assignment(host)), NOW)
    pass_time(host, 5)
    host.obey(desired(), NOW + 5)
    host.obey(desired(), NOW + 5)
    host.advance(NOW + 7)
    reports = [one.member_report for one in told(host, "member_report")]
    assert [one.state for one in reports[-2:]] == [job_pb2.ALLOCATION_STATE_STOPPING, job_pb2.ALLOCATION_STATE_ENDED]
    assert reports[-1].exit_reason == job_pb2.EXIT_REASON_STOPPED
    host.obey(desired(assignment(host)), NOW + 8)
    assert len(host.members.known) == 1
    assert host.counts.members_started == 1


def test_exactly_one_member_of_a_gang_that_is_drawn_to_fail_fails(make: MakeHost) -> None:
    hosts = [make(name=f"sim-{rank}", job_failures=1000) for rank in range(4)]
    codes = []
    for rank, host in enumerate(hosts):
        host.obey(desired(assignment(host, rank=rank, world=4)), NOW)
        pass_time(host, 33)
        codes.append(told(host, "member_report")[-1].member_report.exit_code)
    assert sorted(codes) == [0, 0, 0, 1]


def test_a_fatal_fault_kills_the_job_on_its_gpu_and_a_reset_ends_it(make: MakeHost) -> None:
    host = make()
    host.obey(desired(assignment(host, gpus=4)), NOW)
    pass_time(host, 3)
    condition_id = host.strike(XID119, NOW + 3)
    host.advance(NOW + 4)
    assert told(host, "member_report")[-1].member_report.signal == 6
    (raised,) = records(host)
    assert raised.health_event.condition.repair == repair_pb2.REPAIR_RUNG_RESET_GPU
    assert raised.health_event.condition.severity == health_pb2.CONDITION_SEVERITY_FATAL
    host.obey(desired(repair=order(host, condition_id)), NOW + 5)
    host.obey(desired(repair=order(host, condition_id)), NOW + 5)
    for seconds in (6.0, 7.1, 8.7):
        host.advance(NOW + seconds)
    states = [one.repair_report.state for one in told(host, "repair_report")]
    assert states == [
        repair_pb2.REPAIR_STATE_RUNNING,
        repair_pb2.REPAIR_STATE_VERIFYING,
        repair_pb2.REPAIR_STATE_SUCCEEDED,
    ]
    assert [one.WhichOneof("content") for one in records(host)] == ["health_event", "health_event", "repair_report"]
    assert not host.hello(NOW + 9).conditions
    assert host.counts.repairs_taken == 1
    assert host.latencies.ordered[0] == pytest.approx(2000)


def test_a_repair_that_is_too_gentle_fails_and_changes_nothing(make: MakeHost) -> None:
    host = make()
    condition_id = host.strike(XID79, NOW)
    host.obey(desired(repair=order(host, condition_id)), NOW)
    pass_time(host, 6)
    assert host.counts.repairs_failed == 1
    assert [one.id for one in host.hello(NOW + 7).conditions] == [condition_id]


def test_a_reboot_takes_the_host_away_and_comes_back_with_another_boot(make: MakeHost) -> None:
    host = make()
    before = host.hello(NOW).inventory.boot_id
    condition_id = host.strike(XID79, NOW)
    assert "GPU_IS_LOST" in {one.error for one in event_pb2.TelemetryBatch.FromString(host.telemetry(NOW)).gpus}
    host.obey(desired(repair=order(host, condition_id, repair_pb2.REPAIR_RUNG_REBOOT_HOST)), NOW)
    assert host.repairs.reboots
    pass_time(host, 24)
    assert not host.repairs.reboots
    assert host.hello(NOW + 25).inventory.boot_id != before
    assert not host.hello(NOW + 25).conditions


def test_what_passes_by_itself_is_cleared_in_its_time(make: MakeHost) -> None:
    host = make()
    host.strike(XID63, NOW)
    host.advance(NOW + 599)
    assert host.counts.cleared == 0
    assert host.due_at == NOW + 600
    host.advance(NOW + 600)
    assert records(host)[-1].health_event.kind == health_pb2.HEALTH_EVENT_KIND_CLEARED


def test_orders_of_an_older_control_plane_are_refused(make: MakeHost) -> None:
    host = make()
    host.obey(desired(epoch=7), NOW)
    host.obey(desired(assignment(host), epoch=6), NOW)
    assert not host.members.known
    assert (host.counts.orders_refused, host.hello(NOW).control_epoch) == (1, 7)


def test_out_of_contact_for_longer_than_the_fence_it_stops_its_jobs(make: MakeHost) -> None:
    host = make()
    host.obey(desired(assignment(host)), NOW)
    pass_time(host, 5)
    host.fence_at = NOW + 6
    host.unlink()
    host.advance(NOW + 7)
    assert not host.said
    (member,) = host.hello(NOW + 8).members
    assert member.exit_reason == job_pb2.EXIT_REASON_FENCED


def test_records_are_sent_again_on_the_next_stream_until_they_are_acknowledged(make: MakeHost) -> None:
    host = make()
    host.strike(XID63, NOW)
    host.strike(XID119, NOW)
    assert [record.sequence for record in records(host)] == [1, 2]
    host.acknowledge_spool(node_link_pb2.SpoolAck(spool_id="another", sequence=2), NOW)
    host.acknowledge_spool(node_link_pb2.SpoolAck(spool_id=host.spool_id, sequence=1), NOW + 0.5)
    host.hello(NOW + 1)
    assert [record.sequence for record in records(host)] == [2]
    assert list(host.latencies.told) == [500]


def test_a_spool_without_a_link_is_bounded_and_tells_what_it_lost(make: MakeHost) -> None:
    host = make()
    host.unlink()
    for _ in range(SPOOL_MAX + 10):
        host.strike(XID63, NOW)
    assert host.counts.spool_lost == 10
    host.hello(NOW)
    kept = records(host)
    assert (len(kept), kept[0].sequence) == (SPOOL_MAX, 12), "the record about the loss took one more place"
    assert kept[-1].loss.records == 10
    assert max(len(one.spool.records) for one in told(host, "spool")) <= 500


def test_sensors_hang_together_and_fall_the_same_way_for_the_same_seed(make: MakeHost) -> None:
    host, twin = make(), make()
    for one in (host, twin):
        one.obey(desired(assignment(one, gpus=2)), NOW)
        pass_time(one, 3)
    batch = event_pb2.TelemetryBatch()
    for second in range(60):
        said = host.telemetry(NOW + second)
        assert said == twin.telemetry(NOW + second)
        batch = event_pb2.TelemetryBatch.FromString(said)
    busy, idle = batch.gpus[0], batch.gpus[3]
    assert busy.utilization_percent > 75
    assert idle.utilization_percent == 0
    assert busy.power_watts > 4 * idle.power_watts
    assert busy.temperature_celsius > idle.temperature_celsius + 15
    assert busy.memory_used_bytes > 100 * idle.memory_used_bytes
