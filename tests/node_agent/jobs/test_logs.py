"""Jobs' logs on disk: whole, in order, bounded, followed live, and no burden on the job."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node_agent.jobs.logs import LogCursor, Stream
from node_agent.jobs.proc import boot_id, boottime_seconds
from node_agent.jobs.records import HEADER, MAGIC, MAX_PAYLOAD_BYTES, STDERR, STDOUT, segment_name, segment_offset
from node_agent.jobs.status import Outcome
from node_agent.jobs.supervisor.fence import read_fence
from node_agent.jobs.supervisor.log_writer import LogWriter
from tests.node_agent.jobs.host import PATIENCE_SECONDS, Host, ended, output, running, spec


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


async def test_a_hundred_thousand_lines_arrive_whole_and_in_order(host: Host) -> None:
    job = spec("lines", script("for i in range(100_000): print('line', i, flush=i % 100 == 0)"))
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        text = await output(runner, job.key)
        status = await ended(runner, job.key)
    lines = text.decode().splitlines()
    assert lines == [f"line {number}" for number in range(100_000)]
    assert status.log_bytes == len(text)
    assert status.log_dropped_bytes == 0


async def test_binary_rubbish_and_an_unfinished_last_line_survive_on_their_own_streams(host: Host) -> None:
    rubbish = bytes(range(256)) * 1000
    job = spec(
        "binary",
        script(
            "import os\nos.write(1, bytes(range(256)) * 1000)\nimport time; time.sleep(0.1)\n"
            "os.write(2, b'OQ\\x01\\x00 not a header')"
        ),
    )
    async with host.daemon() as runner:
        await host.run(runner, job)
        chunks = [chunk async for chunk in runner.logs.follow(job.key)]
    assert b"".join(c.data for c in chunks if c.stream is Stream.STDOUT) == rubbish
    assert b"".join(c.data for c in chunks if c.stream is Stream.STDERR) == b"OQ\x01\x00 not a header"
    offsets = [chunk.offset for chunk in chunks]
    assert offsets == sorted(offsets)
    assert chunks[-1].end_offset == len(rubbish) + 17
    assert all(chunk.missing_before == 0 for chunk in chunks)


async def test_output_is_followed_while_the_job_still_runs(host: Host) -> None:
    job = spec("live", "echo ready; while [ ! -e $HOME/go ]; do sleep 0.01; done; printf done")
    async with host.daemon() as runner, asyncio.timeout(PATIENCE_SECONDS):
        await runner.converge({job.key: job})
        async with contextlib.aclosing(runner.logs.follow(job.key)) as chunks:
            first = await anext(chunks)
            assert first.data == b"ready\n"
            assert not runner.statuses()[job.key].ended
            (host.work_dir(job.key) / "go").touch()
            rest = [chunk.data async for chunk in chunks]
    assert b"".join(rest) == b"done"


async def test_rotation_bounds_the_log_and_tells_how_much_is_gone(tmp_path: Path) -> None:
    small = Host(tmp_path / "state", log_segment_bytes=10_000, log_segments=3, cgroup_parent=None)
    job = spec("rotate", script("import sys\nfor i in range(20_000): print(f'{i:099d}', flush=True)"))
    async with small.daemon() as runner:
        await small.run(runner, job)
        chunks = [chunk async for chunk in runner.logs.follow(job.key)]
        part = await runner.logs.read(job.key, 0, 1000)
        later = await runner.logs.read(job.key, 1_999_950, 1000)
        nothing = await runner.logs.read(job.key, 2_000_000, 1000)
    size = sum(path.stat().st_size for path in (small.settings.jobs_dir / str(job.key) / "log").iterdir())
    assert size <= 3 * (MAX_PAYLOAD_BYTES + HEADER.size)
    assert chunks[0].missing_before == chunks[0].offset == part.first_offset > 1_000_000
    assert chunks[-1].end_offset == 2_000_000
    assert b"".join(chunk.data for chunk in chunks).endswith(f"{19_999:099d}\n".encode())
    assert part.next_offset == part.first_offset + 1000
    assert b"".join(chunk.data for chunk in later.chunks) == f"{19_999:099d}\n".encode()[-50:]
    assert (nothing.chunks, nothing.next_offset) == ((), 2_000_000)


async def test_an_unknown_member_has_no_log(host: Host) -> None:
    async with host.daemon() as runner:
        found = await runner.logs.read(spec("nobody", "true").key)
        assert (found.chunks, found.next_offset) == ((), 0)
        assert [chunk async for chunk in runner.logs.follow(spec("nobody", "true").key)] == []


def test_a_reader_keeps_up_across_rotation_and_stops_at_half_a_record(tmp_path: Path) -> None:
    writer, cursor = LogWriter(str(tmp_path), 100, 3), LogCursor(tmp_path, 0)
    seen = b""
    for number in range(50):
        writer.append(STDOUT if number % 2 else STDERR, f"{number:04d} ".encode())
        seen += b"".join(chunk.data for chunk in cursor.read(1 << 20))
    assert seen == b"".join(f"{number:04d} ".encode() for number in range(50))
    newest = max(tmp_path.iterdir())
    with newest.open("ab") as file:
        file.write(HEADER.pack(MAGIC, STDOUT, 10, 250, 0) + b"half")
    assert cursor.read(1 << 20) == []
    with newest.open("ab") as file:
        file.write(b" whole")
    assert cursor.read(1 << 20)[0].data == b"half whole"
    cursor.close()
    writer.close()


def test_reading_in_small_steps_gives_the_same_bytes(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), 300, 100)
    for number in range(20):
        writer.append(STDOUT, bytes([number]) * 37)
    writer.close()
    whole = b"".join(bytes([number]) * 37 for number in range(20))
    for step in (1, 7, 37, 100):
        cursor, found = LogCursor(tmp_path, 0), b""
        while chunks := cursor.read(step):
            assert sum(len(chunk.data) for chunk in chunks) <= step
            found += b"".join(chunk.data for chunk in chunks)
        cursor.close()
        assert found == whole


def test_only_segments_are_taken_for_segments() -> None:
    assert segment_offset(segment_name(123)) == 123
    for name in ("123.log", "0" * 20, "0" * 20 + ".log.gz", "x" * 20 + ".log", "²" * 20 + ".log"):
        assert segment_offset(name) is None


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", path], check=False).returncode != 0:
        pytest.skip("this machine does not let us mount a small disk")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def fill(path: Path) -> None:
    for size in (4096, 1):
        with contextlib.suppress(OSError), (path / f"filler-{size}").open("wb", buffering=0) as file:
            while file.write(bytes(size)):
                pass


async def test_a_full_disk_costs_log_bytes_and_neither_the_job_nor_its_result(tiny_disk: Path) -> None:
    host = Host(tiny_disk, cgroup_parent=None)
    chatter = "for i in range(200): print('x' * 9_999, flush=True)"
    job = spec("full", script(chatter + "\nraise SystemExit(4)"))
    async with host.daemon() as runner:
        status = (await host.run(runner, job))[job.key]
        text = await output(runner, job.key)
        runner.set_fence(boottime_seconds() + 500)
        fill(tiny_disk)
        runner.set_fence(deadline := boottime_seconds() + 1000)
        late = spec("late", "true")
        await runner.converge({late.key: late})
        refused = await ended(runner, late.key)
    assert (status.outcome, status.exit_code) == (Outcome.EXITED, 4)
    assert status.log_bytes == 2_000_000
    assert status.log_dropped_bytes == 2_000_000 - len(text) > 0
    assert refused.outcome is Outcome.START_FAILED
    assert "No space left" in refused.message
    assert read_fence(str(host.settings.fence_file), boot_id()) == pytest.approx(deadline, abs=0.001)


async def test_logging_resumes_when_a_full_disk_has_room_again(tiny_disk: Path) -> None:
    host = Host(tiny_disk, cgroup_parent=None)
    wait = "import os, time\nwhile not os.path.exists('/proc/self/cwd/go'): time.sleep(0.01)\n"
    job = spec("room", script(f"print('first', flush=True)\n{wait}print('y' * 400_000, flush=True)\nprint('last')"))
    async with host.daemon() as runner, asyncio.timeout(PATIENCE_SECONDS):
        await runner.converge({job.key: job})
        await running(runner, job.key)
        filler = tiny_disk / "filler"
        (host.work_dir(job.key) / "go").touch()
        with contextlib.suppress(OSError):
            filler.write_bytes(bytes(400_000))
        async with contextlib.aclosing(runner.logs.follow(job.key)) as chunks:
            async for _ in chunks:
                break
        filler.unlink()
        status = await ended(runner, job.key)
    assert status.succeeded


def test_rubbish_after_a_power_cut_hides_no_later_segment(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), 50, 10)
    writer.append(STDOUT, b"first")
    with (tmp_path / segment_name(0)).open("ab") as file:
        file.write(bytes(100))
    for _ in range(3):
        writer.append(STDOUT, b"later")
    writer.close()
    cursor = LogCursor(tmp_path, 0)
    assert b"".join(chunk.data for chunk in cursor.read(1 << 20)).endswith(b"laterlater")
    assert cursor.read(1 << 20) == []
    cursor.close()
