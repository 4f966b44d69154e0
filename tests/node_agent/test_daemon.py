"""The real daemon in its own process, against a scripted control plane and a real broker."""

import asyncio
import json
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from orquanta.v1 import event_pb2, job_pb2, node_link_pb2
from tests.node_agent.broker import output
from tests.node_agent.daemon_process import command
from tests.node_agent.jobs.host import CAP_SETUID, has_capability
from tests.node_agent.site import Site, allocation, assignment, site_of

RUNNING = job_pb2.ALLOCATION_STATE_RUNNING
ENDED = job_pb2.ALLOCATION_STATE_ENDED


async def test_a_job_runs_and_its_end_and_all_its_output_arrive(site: Site) -> None:
    site.plane.desired = (assignment("echo out; echo err >&2; exit 3"),)
    await site.start("--virtual-gpus", "8xH100")
    report = await site.plane.reported(ENDED)
    assert (report.exit_reason, report.exit_code) == (job_pb2.EXIT_REASON_EXITED, 3)
    chunks = await site.nats.chunks()
    records = [record for chunk in chunks for record in chunk.records]
    assert {(r.stream, r.data) for r in records} == {
        (job_pb2.LOG_STREAM_STDOUT, b"out\n"),
        (job_pb2.LOG_STREAM_STDERR, b"err\n"),
    }
    assert (chunks[-1].end, chunks[-1].offset, chunks[-1].next_offset) == (True, 8, 8)
    hello = site.plane.stream.hello
    assert hello is not None
    assert [gpu.gpu_type for gpu in hello.inventory.gpus] == ["H100"] * 8
    assert hello.inventory.virtual_gpus
    assert hello.inventory.address == "127.0.0.1"


async def test_a_killed_daemon_comes_back_to_a_running_job_and_loses_no_output(site: Site) -> None:
    lines = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; [ $((i%40)) -eq 0 ] && sleep 0.1; done; exit 7"
    site.plane.desired = (assignment(lines),)
    daemon = await site.start()
    await site.plane.reported(RUNNING)
    await site.nats.chunks(count=2)
    await daemon.kill()
    daemon = await site.start()
    report = await site.plane.reported(ENDED)
    assert report.exit_code == 7
    assert report.epoch == 1
    assert output(await site.nats.chunks()) == b"".join(b"line %d\n" % i for i in range(1, 401))


async def test_what_ended_while_the_daemon_was_dead_is_told_by_the_next_one(site: Site, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    site.plane.desired = (
        assignment(f"until [ -e {flag} ]; do sleep 0.05; done; echo late; touch {flag}.done; exit 9"),
    )
    daemon = await site.start()
    await site.plane.reported(RUNNING)
    await daemon.kill()
    flag.touch()
    async with asyncio.timeout(30):
        while not flag.with_suffix(".done").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)
    site.plane.desired = ()
    await site.start()
    assert (await site.plane.reported(ENDED)).exit_code == 9
    assert output(await site.nats.chunks()) == b"late\n"


async def test_logs_wait_for_a_killed_broker_and_come_whole(site: Site) -> None:
    site.plane.desired = (assignment("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.2; done"),)
    await site.start()
    await site.nats.chunks(count=1)
    await site.nats.kill()
    await site.plane.reported(ENDED)
    await site.nats.start()
    assert output(await site.nats.chunks()) == b"1\n2\n3\n4\n5\n6\n7\n8\n"


async def test_telemetry_of_every_gpu_arrives_and_shows_the_job(site: Site) -> None:
    client = await site.nats.connect()
    subscription = await client.subscribe("orq.node.n-0123456789ab.telemetry")
    await site.start("--virtual-gpus", "2xH100")
    stream = await site.plane.up()
    assert stream.hello is not None
    uuid = stream.hello.inventory.gpus[1].uuid
    stream.order(assignment("sleep 60", gpu_uuids=[uuid]), revision=2)
    busy: dict[str, int] = {}
    async with asyncio.timeout(30):
        while max(busy.values(), default=0) < 50:
            batch = event_pb2.TelemetryBatch.FromString((await subscription.next_msg(timeout=30)).data)
            busy = {gpu.uuid: gpu.utilization_percent for gpu in batch.gpus}
    assert len(busy) == 2
    assert max(busy, key=lambda gpu: busy[gpu]) == uuid
    await client.close()


async def test_a_template_runs_and_a_template_that_is_unknown_is_refused(site: Site) -> None:
    known = assignment("", name=allocation(1), template="benchmark", arguments=["--steps", "1"])
    unknown = assignment("", name=allocation(2), template="../../bin/sh")
    site.plane.desired = (known, unknown)
    await site.start()
    await site.plane.wait_for(lambda: {r.allocation_id for r in _ends(site)} == {allocation(1), allocation(2)})
    ends = {report.allocation_id: report for report in _ends(site)}
    assert ends[allocation(1)].exit_code == 0
    assert ends[allocation(2)].exit_reason == job_pb2.EXIT_REASON_START_FAILED
    assert "no template" in ends[allocation(2)].message


def _ends(site: Site) -> list[node_link_pb2.MemberReport]:
    return [r for stream in site.plane.streams for r in stream.all_reports if r.state == ENDED]


async def test_a_member_that_is_no_longer_wanted_is_stopped(site: Site) -> None:
    site.plane.desired = (assignment("sleep 60"),)
    await site.start()
    await site.plane.reported(RUNNING)
    site.plane.stream.order(revision=2)
    assert (await site.plane.reported(ENDED)).exit_reason == job_pb2.EXIT_REASON_STOPPED


async def test_what_is_cancelled_stops_without_a_checkpoint_and_what_is_moved_or_not_spoken_of_with_one(
    site: Site, tmp_path: Path
) -> None:
    saver = "trap 'echo saved; exit 0' USR1; touch {}; while :; do sleep 0.05; done"
    names = {word: allocation(number) for number, word in enumerate(("cancelled", "moved", "unmentioned"))}
    site.plane.desired = tuple(
        assignment(
            saver.format(tmp_path / word),
            name=name,
            stop_grace=Duration(seconds=30),
            checkpoint_signal=10,
            checkpoint_time=Duration(seconds=600),
        )
        for word, name in names.items()
    )
    await site.start()
    await site.plane.wait_for(lambda: site.plane.streams)
    async with asyncio.timeout(30):
        while not all((tmp_path / word).exists() for word in names):  # noqa: ASYNC110 - other processes make them
            await asyncio.sleep(0.02)
    stops = [
        node_link_pb2.MemberStop(allocation_id=names["cancelled"]),
        node_link_pb2.MemberStop(allocation_id=names["moved"], checkpoint_first=True),
    ]
    site.plane.stream.order(revision=2, stops=stops)
    await site.plane.wait_for(lambda: {report.allocation_id for report in _ends(site)} == set(names.values()))
    ends = {report.allocation_id: report for report in _ends(site)}
    assert ends[names["cancelled"]].signal == signal.SIGTERM
    assert [ends[names[word]].exit_code for word in ("moved", "unmentioned")] == [0, 0]


async def test_sigterm_stops_the_daemon_and_not_the_jobs(site: Site) -> None:
    site.plane.desired = (assignment("sleep 60"),)
    daemon = await site.start()
    await site.plane.reported(RUNNING)
    assert await daemon.terminate() == 0
    await site.start()
    stream = await site.plane.up(streams=2)
    assert stream.hello is not None
    assert [member.state for member in stream.hello.members] == [RUNNING]


async def test_stop_jobs_stops_them_too_and_tells(site: Site) -> None:
    site.plane.desired = (assignment("sleep 60"),)
    daemon = await site.start("--stop-jobs")
    await site.plane.reported(RUNNING)
    assert await daemon.terminate() == 0
    assert (await site.plane.reported(ENDED)).exit_reason == job_pb2.EXIT_REASON_STOPPED


async def test_jobs_stop_by_themselves_when_the_fence_passes_without_the_control_plane(site: Site) -> None:
    site.plane.fence_seconds, site.plane.lease_seconds = 4.0, 3.0
    site.plane.desired = (assignment("sleep 60"),)
    await site.start()
    await site.plane.reported(RUNNING)
    await site.plane.stop_link()
    fence = (site.state_dir / "jobs" / "fence").read_text()
    assert re.match(r"\d+\.\d{3} ", fence)
    status = site.state_dir / "jobs" / f"{allocation()}.0" / "status.json"
    async with asyncio.timeout(30):
        while json.loads(status.read_text())["state"] != "ended":  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)
    await site.plane.start_link()
    assert (await site.plane.reported(ENDED)).exit_reason == job_pb2.EXIT_REASON_FENCED


async def test_a_second_daemon_on_the_same_state_directory_is_refused(site: Site) -> None:
    daemon = await site.start()
    await site.plane.up()
    second = await command("run", "--state-dir", str(site.state_dir))
    assert second.exit_code == 75
    assert f"pid {daemon.pid}" in second.errors
    assert "Traceback" not in second.errors


async def test_a_permanent_disconnect_ends_the_daemon_with_the_reason(site: Site) -> None:
    site.plane.refuse = node_link_pb2.Disconnect(reason="the node was revoked", permanent=True)
    daemon = await site.start()
    assert await daemon.wait() == 77
    assert "the node was revoked" in daemon.log()
    assert "Traceback" not in daemon.log()


async def test_status_tells_what_the_daemon_does(site: Site) -> None:
    before = await command("status", "--state-dir", str(site.state_dir), "--json")
    assert before.exit_code == 3
    await site.start("--virtual-gpus", "2xH100")
    await site.plane.up()
    async with asyncio.timeout(30):
        while (now := await command("status", "--state-dir", str(site.state_dir), "--json")).exit_code != 0:
            pass
    value = json.loads(now.output)
    assert (value["node_id"], value["connected"], len(value["gpus"])) == ("n-0123456789ab", True, 2)


async def test_run_before_join_says_what_to_do(tmp_path: Path) -> None:
    done = await command("run", "--state-dir", str(tmp_path / "state"))
    assert done.exit_code == 78
    assert "orquanta-node join" in done.errors


@pytest.fixture
def passable() -> Iterator[Path]:
    """A directory that another account may pass through."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o711)
        yield Path(path)


@pytest.mark.skipif(not has_capability(CAP_SETUID), reason="this process may not change users")
async def test_jobs_run_as_the_account_that_is_set_and_cannot_read_the_nodes_key(passable: Path) -> None:
    async with site_of(passable) as site:
        await site.join()
        key = site.state_dir / "identity"
        site.plane.desired = (assignment(f"id -u; ls {key}; touch mine && echo written"),)
        await site.start("--run-as", "65534:65534")
        await site.plane.reported(ENDED)
        text = output(await site.nats.chunks())
        assert b"65534\n" in text  # two pipes: what was written first may come second
        assert b"Permission denied" in text
        assert b"written\n" in text
