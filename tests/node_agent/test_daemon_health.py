"""The real daemon with virtual GPUs and a kernel log of its own: from a printed line to the books, and to a repair."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node_agent.errors import LocalRefused
from orquanta.v1 import job_pb2, node_link_pb2, node_local_pb2, repair_pb2
from tests.node_agent.kernel_log import (
    CLEARED,
    FATAL,
    GPUS,
    RAISED,
    REFUSED,
    SUCCEEDED,
    Kernel,
    ended,
    eventually,
    gpus_of,
    of_kind,
    ready,
)
from tests.node_agent.site import Site, assignment


async def test_a_line_of_the_kernel_is_a_condition_in_the_books_and_in_the_next_hello(
    site: Site, kernel: Kernel
) -> None:
    daemon = await site.start(*GPUS, settings=kernel.settings)
    gpus = await gpus_of(site)
    await ready(daemon)
    kernel.xid(79, gpus[1])
    await site.plane.wait_for(lambda: of_kind(site, RAISED, gpus[1].uuid))
    condition = of_kind(site, RAISED, gpus[1].uuid)[0].condition
    assert (condition.severity, condition.gpu_uuid) == (FATAL, gpus[1].uuid)
    assert "Xid" in condition.evidence[0].text
    site.plane.stream.cut()
    stream = await site.plane.up(streams=2)
    assert stream.hello is not None
    assert condition.id in [found.id for found in stream.hello.conditions]
    assert stream.hello.spool_id == site.plane.streams[0].batches[0].spool_id


async def test_a_fault_survives_kill_9_and_is_told_once(site: Site, kernel: Kernel) -> None:
    daemon = await site.start(*GPUS, settings=kernel.settings)
    gpus = await gpus_of(site)
    await ready(daemon)
    kernel.xid(79, gpus[0])
    await site.plane.wait_for(lambda: of_kind(site, RAISED, gpus[0].uuid))
    condition_id = of_kind(site, RAISED, gpus[0].uuid)[0].condition.id
    await daemon.kill()
    daemon = await site.start(*GPUS, settings=kernel.settings)
    stream = await site.plane.up(streams=2)
    assert stream.hello is not None
    assert condition_id in [found.id for found in stream.hello.conditions]
    kernel.xid(62, gpus[1], "something else")
    await site.plane.wait_for(lambda: of_kind(site, RAISED, gpus[1].uuid))
    assert len(of_kind(site, RAISED, condition_id)) == 1
    sequences = [record.sequence for record in site.plane.books]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_what_happens_while_the_link_is_down_arrives_once_it_is_up_again(site: Site, kernel: Kernel) -> None:
    daemon = await site.start(*GPUS, settings=kernel.settings)
    gpus = await gpus_of(site)
    await ready(daemon)
    await site.plane.stop_link()
    kernel.xid(79, gpus[0])

    async def on_disk() -> bool:
        events = await daemon.ask(lambda local: list(local.events(None, follow=False)))
        return any(gpus[0].uuid in event.condition.id for event in events)

    await eventually(on_disk)
    await daemon.kill()
    await site.start(*GPUS, settings=kernel.settings)
    await site.plane.start_link()
    await site.plane.wait_for(lambda: of_kind(site, RAISED, gpus[0].uuid))
    assert len(of_kind(site, RAISED, gpus[0].uuid)) == 1


async def test_an_order_to_reset_a_gpu_is_carried_out_verified_reported_and_ends_the_condition(
    site: Site, kernel: Kernel
) -> None:
    daemon = await site.start(*GPUS, settings=kernel.settings)
    gpus = await gpus_of(site)
    await ready(daemon)
    kernel.xid(62, gpus[0], "an error that a reset ends")
    await site.plane.wait_for(lambda: of_kind(site, RAISED, gpus[0].uuid))
    condition = of_kind(site, RAISED, gpus[0].uuid)[0].condition
    order = repair_pb2.RepairOrder(
        id="r-0001",
        incident_id="i-0001",
        rung=repair_pb2.REPAIR_RUNG_RESET_GPU,
        gpu_uuids=[gpus[0].uuid],
        condition_ids=[condition.id],
        reason="XID 62",
    )
    site.plane.stream.order(revision=2, repair=order)
    await site.plane.wait_for(lambda: ended(site))
    report = ended(site)[0]
    assert (report.repair_id, report.incident_id, report.state) == ("r-0001", "i-0001", SUCCEEDED), report.message
    assert report.steps
    assert report.checks
    await site.plane.wait_for(lambda: of_kind(site, CLEARED, condition.id))
    assert {found.repair_id for found in site.plane.stream.repairs} == {"r-0001"}
    site.plane.stream.order(revision=3, repair=order)  # the same order again
    site.plane.stream.cut()
    stream = await site.plane.up(streams=2)
    assert stream.hello is not None
    assert (stream.hello.repair.repair_id, stream.hello.repair.state) == ("r-0001", SUCCEEDED)
    assert len(ended(site)) == 1


@pytest.mark.parametrize(("mode", "state"), [("off", REFUSED), ("dry-run", SUCCEEDED)])
async def test_a_host_that_may_not_be_repaired_says_so_and_changes_nothing(
    site: Site, kernel: Kernel, mode: str, state: repair_pb2.RepairState.ValueType
) -> None:
    daemon = await site.start(*GPUS, settings=f'{kernel.settings}repairs = "{mode}"\n')
    gpus = await gpus_of(site)
    order = repair_pb2.RepairOrder(
        id="r-0002", rung=repair_pb2.REPAIR_RUNG_RESET_GPU, gpu_uuids=[gpus[0].uuid], reason="a try"
    )
    site.plane.stream.order(revision=2, repair=order)
    await site.plane.wait_for(lambda: ended(site))
    report = ended(site)[0]
    assert (report.state, report.dry_run) == (state, mode == "dry-run"), report.message
    assert (await daemon.status())["repairs"] == mode


async def test_operators_words_reach_the_host_and_an_old_word_does_not_mean_a_later_condition(
    site: Site, kernel: Kernel
) -> None:
    daemon = await site.start(*GPUS, settings=kernel.settings)
    gpus = await gpus_of(site)
    await ready(daemon)
    kernel.xid(79, gpus[0])
    await site.plane.wait_for(lambda: of_kind(site, RAISED, gpus[0].uuid))
    condition_id = of_kind(site, RAISED, gpus[0].uuid)[0].condition.id

    def word(*, clear: bool, at: datetime) -> node_link_pb2.ConditionOrder:
        order = node_link_pb2.ConditionOrder(condition_id=condition_id, by="ann", clear=clear)
        order.at.FromDatetime(at)
        return order

    before = datetime.now(UTC) - timedelta(hours=1)
    site.plane.stream.order(revision=2, condition_orders=[word(clear=True, at=before)])
    site.plane.stream.order(revision=3, condition_orders=[word(clear=False, at=datetime.now(UTC))])

    def acknowledged() -> bool:
        return any(event.condition.acknowledged_by == "ann" for event in site.plane.health_events)

    await site.plane.wait_for(acknowledged)
    assert not of_kind(site, CLEARED, condition_id)
    site.plane.stream.order(revision=4, condition_orders=[word(clear=True, at=datetime.now(UTC))])
    await site.plane.wait_for(lambda: of_kind(site, CLEARED, condition_id))


async def test_an_operator_on_the_host_sees_injects_acknowledges_and_clears(site: Site, kernel: Kernel) -> None:
    daemon = await site.start(*GPUS, settings=kernel.settings)
    gpus = await gpus_of(site)
    await ready(daemon)
    pci = gpus[0].pci_bus_id
    line = f"NVRM: Xid (PCI:{pci[4:] if len(pci) > 12 else pci}): 79, pid=0, GPU has fallen off the bus."
    told = await daemon.ask(lambda local: local.inject(node_local_pb2.InjectFaultRequest(fault="kmsg", text=line)))
    assert "printed 1 time(s)" in told
    await site.plane.wait_for(lambda: of_kind(site, RAISED, gpus[0].uuid))
    conditions = await daemon.ask(lambda local: local.conditions())
    condition_id = next(found.id for found in conditions if found.gpu_uuid == gpus[0].uuid)
    known = await daemon.ask(lambda local: local.acknowledge(condition_id, "bob"))
    assert known.acknowledged_by == "bob"
    await daemon.ask(lambda local: local.clear(condition_id, "bob"))
    events = await daemon.ask(lambda local: list(local.events(None, follow=False)))
    assert [event.kind for event in events if event.condition.id == condition_id][-1] == CLEARED


async def test_a_hung_driver_becomes_a_condition_while_the_link_and_jobs_go_on(site: Site, kernel: Kernel) -> None:
    daemon = await site.start(*GPUS, settings=kernel.settings)
    gpus = await gpus_of(site)
    fault = node_local_pb2.InjectFaultRequest(fault="hang", gpu=gpus[0].uuid, value=3600)
    await daemon.ask(lambda local: local.inject(fault))
    await site.plane.wait_for(
        lambda: [event for event in site.plane.health_events if event.condition.kind == "PROBE_STALLED"]
    )
    site.plane.stream.order(assignment("echo alive"), revision=2)
    report = await site.plane.reported(job_pb2.ALLOCATION_STATE_ENDED)
    assert (report.exit_reason, report.exit_code) == (job_pb2.EXIT_REASON_EXITED, 0)


async def test_while_nats_is_away_telemetry_goes_into_roll_ups_and_none_is_lost(site: Site) -> None:
    daemon = await site.start(*GPUS, settings="telemetry_interval_seconds = 0.1\n")
    await site.plane.up()

    async def sent(name: str, least: int) -> bool:
        return int((await daemon.status())[name]) >= least

    await eventually(lambda: sent("telemetry_sent", 3))
    await site.nats.kill()
    await eventually(lambda: sent("telemetry_rolled_up", 150))
    await site.nats.start()
    await site.plane.wait_for(lambda: [record for record in site.plane.books if record.HasField("telemetry_rollup")])
    rollup = next(record.telemetry_rollup for record in site.plane.books if record.HasField("telemetry_rollup"))
    assert rollup.samples >= 100
    assert len(rollup.gpus) == 2


async def test_what_cannot_be_injected_is_refused_with_what_to_do(site: Site) -> None:
    daemon = await site.start(*GPUS)
    await site.plane.up()

    async def refusal(**fault: object) -> str:
        request = node_local_pb2.InjectFaultRequest(**fault)  # type: ignore[arg-type] # names are the caller's
        with pytest.raises(LocalRefused) as caught:
            await daemon.ask(lambda local: local.inject(request))
        return str(caught.value)

    assert "allow_kmsg_injection" in await refusal(fault="kmsg", text="x")
    assert "known are ecc" in await refusal(fault="meteor", gpu="0")
    assert "no GPU '9'" in await refusal(fault="ecc", gpu="9")
    assert "Say which GPU" in await refusal(fault="ecc")
    assert "from 1 to 65535" in await refusal(fault="xid", gpu="0", value=70_000)


async def test_systemd_hears_that_the_daemon_is_ready_and_alive(site: Site, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        await site.start(variables={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"})
        heard: list[str] = []
        while heard.count("WATCHDOG=1") < 3:
            heard.append((await asyncio.to_thread(systemd.recv, 4096)).decode())
    assert "READY=1" in heard
