"""The log store: nothing twice, nothing silently missing, bounded, readable while it is written."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.errors import InvalidArgument, ResourceExhausted
from control_plane.model.ids import ALLOCATION, JOB, AllocationId, JobId, new_id
from control_plane.telemetry.log_file import Appended, LogChunk, LogRecord, LogStream, MemberLog, frames
from control_plane.telemetry.log_reader import LogEntry
from control_plane.telemetry.logs import LogStore

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
JOB_ID: JobId = new_id(JOB)
ALLOCATION_ID: AllocationId = new_id(ALLOCATION)


def chunk(
    offset: int, *texts: bytes, rank: int = 0, at: float = 0, end: bool = False, job_id: JobId = JOB_ID, epoch: int = 1
) -> LogChunk:
    records = tuple(
        LogRecord(LogStream.STDOUT, text, START + timedelta(seconds=at + i / 1000)) for i, text in enumerate(texts)
    )
    return LogChunk(job_id, ALLOCATION_ID, epoch, rank, offset, offset + sum(map(len, texts)), records, end=end)


@pytest.fixture
async def logs(tmp_path: Path) -> LogStore:
    store = LogStore(tmp_path / "logs", poll_seconds=0.01, drain_seconds=0.02)
    await store.start()
    return store


async def put(logs: LogStore, *chunks: LogChunk, accept_gap: bool = False) -> list[Appended]:
    return await logs.append([(one, accept_gap) for one in chunks])


async def collect(entries: AsyncIterator[LogEntry]) -> list[LogEntry]:
    return [entry async for entry in entries]


async def text_of(logs: LogStore, *, ranks: Sequence[int] = (0,), tail_lines: int = 0, position: str = "") -> bytes:
    entries = await collect(logs.read(JOB_ID, 1, ranks=ranks, tail_lines=tail_lines, position=position))
    return b"".join(entry.data for entry in entries)


async def never() -> bool:
    return False


async def already() -> bool:
    return True


async def test_what_was_appended_is_read_back_with_stream_and_time(logs: LogStore) -> None:
    record = LogRecord(LogStream.STDERR, b"oh\xff\n", START + timedelta(microseconds=7))
    await put(logs, LogChunk(JOB_ID, ALLOCATION_ID, 1, 0, 0, 4, (record,)))
    (entry,) = await collect(logs.read(JOB_ID, 1, ranks=[0]))
    assert (entry.stream, entry.data, entry.read_at) == (LogStream.STDERR, b"oh\xff\n", record.read_at)
    assert (entry.epoch, entry.rank, entry.lost_bytes) == (1, 0, 0)


async def test_a_repeat_is_stored_once_and_an_overlap_is_trimmed(logs: LogStore) -> None:
    assert await put(logs, chunk(0, b"one\n", b"two\n")) == [Appended.STORED]
    assert await put(logs, chunk(0, b"one\n", b"two\n"), chunk(4, b"two\n")) == [Appended.REPEAT] * 2
    assert await put(logs, chunk(2, b"e\ntw", b"o\nthree\n")) == [Appended.STORED]
    assert await text_of(logs) == b"one\ntwo\nthree\n"


async def test_the_last_output_of_what_has_just_ended_is_waited_for_a_while(tmp_path: Path, logs: LogStore) -> None:
    await put(logs, chunk(0, b"one\n"))
    partly = await logs.tail(JOB_ID, 1, ranks=[0], lines=10, wait=True)
    assert ([entry.data for entry in partly.entries], partly.complete) == ([b"one\n"], False)
    patient = LogStore(tmp_path / "logs", drain_seconds=60)
    reading = asyncio.ensure_future(patient.tail(JOB_ID, 1, ranks=[0], lines=10, wait=True))
    while not patient._followers:  # noqa: ASYNC110 - it waits by then
        await asyncio.sleep(0)
    await put(patient, chunk(4, b"two\n"))
    await put(patient, chunk(8, end=True))
    whole = await reading
    assert ([entry.data for entry in whole.entries], whole.complete) == ([b"one\n", b"two\n"], True)


async def test_a_gap_is_waited_for_until_it_is_said_to_be_lost(logs: LogStore) -> None:
    await put(logs, chunk(0, b"one\n"))
    assert await put(logs, chunk(10, b"four\n")) == [Appended.GAP]
    assert await text_of(logs) == b"one\n"
    assert await put(logs, chunk(10, b"four\n"), accept_gap=True) == [Appended.STORED]
    entries = await collect(logs.read(JOB_ID, 1, ranks=[0]))
    assert [(entry.data, entry.lost_bytes) for entry in entries] == [(b"one\n", 0), (b"four\n", 6)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 25)), max_size=30))
def test_any_mix_of_repeats_and_overlaps_gives_each_byte_once(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int]]
) -> None:
    whole = bytes(range(100))
    member = MemberLog.open(tmp_path_factory.mktemp("log") / "1.0.log")
    reached = 0
    for start, length in pieces:
        data = whole[start : start + length]
        (outcome,) = member.append([(chunk(start, data), False)], max_bytes=1 << 20)
        if start > reached:
            assert outcome is Appended.GAP
        else:
            reached = max(reached, start + len(data))
    again = MemberLog.open(member.path)
    assert (again.next_offset, again.size) == (member.next_offset, member.size) == (reached, member.size)
    if reached:
        with member.path.open("rb") as file:
            stored = b"".join(record.data for frame in frames(file) for _, record in frame.records())
        assert stored == whole[:reached]


async def test_after_a_crash_the_torn_frame_is_cut_off_and_the_chunk_taken_again(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    first = LogStore(directory)
    await first.start()
    await put(first, chunk(0, b"one\n"), chunk(4, b"two\n"))
    path = directory / JOB_ID / "1.0.log"
    path.write_bytes(path.read_bytes()[:-3])
    second = LogStore(directory)
    await second.start()
    assert await put(second, chunk(0, b"one\n"), chunk(4, b"two\n")) == [Appended.REPEAT, Appended.STORED]
    assert await text_of(second) == b"one\ntwo\n"


async def test_a_damaged_byte_is_found_and_what_follows_it_is_not_shown_as_sound(tmp_path: Path) -> None:
    store = LogStore(tmp_path)
    await store.start()
    await put(store, chunk(0, b"one\n"), chunk(4, b"two\n"))
    path = tmp_path / JOB_ID / "1.0.log"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(bytes(content))
    assert await text_of(store) == b"one\n"


async def test_ranks_are_merged_in_order_of_time(logs: LogStore) -> None:
    await put(logs, chunk(0, b"a", rank=0, at=0), chunk(1, b"c", rank=0, at=2), chunk(0, b"b", rank=1, at=1))
    await put(logs, chunk(1, b"d", rank=1, at=3))
    assert await text_of(logs, ranks=[0, 1]) == b"abcd"
    assert await logs.ranks(JOB_ID, 1) == (0, 1)


async def test_reading_resumes_after_any_entry_and_epochs_are_apart(logs: LogStore) -> None:
    await put(logs, chunk(0, b"a", b"b"), chunk(0, b"x", rank=1, at=0.0005), chunk(0, b"other", epoch=2))
    entries = await collect(logs.read(JOB_ID, 1, ranks=[0, 1]))
    whole = [entry.data for entry in entries]
    assert b"".join(whole) == b"axb"
    for index, entry in enumerate(entries):
        rest = await collect(logs.read(JOB_ID, 1, ranks=[0, 1], position=entry.position))
        assert [one.data for one in rest] == whole[index + 1 :]


@pytest.mark.parametrize("position", ["x", "0:", "0:1,", "9" * 100_000, "-1:0", "7:1"])
async def test_a_bad_resume_position_is_refused(logs: LogStore, position: str) -> None:
    with pytest.raises(InvalidArgument, match="resume token"):
        await collect(logs.read(JOB_ID, 1, ranks=[0], position=position))


@pytest.mark.parametrize(("lines", "expected"), [(1, b"c\n"), (2, b"b\nc\n"), (3, b"a\nb\nc\n"), (100, b"a\nb\nc\n")])
async def test_the_last_lines_are_whole_lines(logs: LogStore, lines: int, expected: bytes) -> None:
    await put(logs, chunk(0, b"a\nb", b"\nc\n"))
    assert await text_of(logs, tail_lines=lines) == expected


async def test_an_unfinished_line_counts_as_the_last_one(logs: LogStore) -> None:
    await put(logs, chunk(0, b"a\nb\npart"))
    assert await text_of(logs, tail_lines=1) == b"part"
    assert await text_of(logs, tail_lines=2) == b"b\npart"


async def test_the_tail_of_a_large_log_is_found_and_following_goes_on_after_it(logs: LogStore) -> None:
    lines = [b"%06d\n" % number for number in range(20_000)]
    offset = 0
    for start in range(0, len(lines), 1000):
        piece = chunk(offset, *lines[start : start + 1000], at=start)
        offset = piece.next_offset
        await put(logs, piece)
    assert await text_of(logs, tail_lines=3) == b"019997\n019998\n019999\n"
    await put(logs, chunk(offset, b"last\n", at=99_999, end=True))
    followed = await collect(logs.follow(JOB_ID, 1, ranks=[0], finished=never, tail_lines=2))
    assert b"".join(entry.data for entry in followed) == b"019999\nlast\n"


async def test_a_follower_gets_what_arrives_until_every_rank_has_ended(logs: LogStore) -> None:
    await put(logs, chunk(0, b"one\n"))
    seen: list[bytes] = []
    first = asyncio.Event()

    async def follow() -> None:
        async for entry in logs.follow(JOB_ID, 1, ranks=[0, 1], finished=never):
            seen.append(entry.data)
            first.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        await first.wait()
        await put(logs, chunk(4, b"two\n", end=True))
        await put(logs, chunk(0, b"other\n", rank=1, at=5))
        await put(logs, chunk(6, rank=1, end=True))
    assert seen == [b"one\n", b"two\n", b"other\n"]


async def test_a_follower_of_a_lost_host_ends_once_the_attempt_has_ended_in_the_books(logs: LogStore) -> None:
    await put(logs, chunk(0, b"one\n"))
    entries = await collect(logs.follow(JOB_ID, 1, ranks=[0, 1], finished=already))
    assert [entry.data for entry in entries] == [b"one\n"]
    assert not logs._followers


async def test_beyond_its_bound_a_member_loses_its_older_half_and_the_reader_is_told(tmp_path: Path) -> None:
    logs = LogStore(tmp_path, member_max_bytes=100_000)
    await logs.start()
    offset = 0
    reader = logs.read(JOB_ID, 1, ranks=[0])
    for number in range(40):
        await put(logs, chunk(offset, bytes([65 + number % 26]) * 5000, at=number))
        offset += 5000
        if number == 0:
            assert (await anext(reader)).data == b"A" * 5000
    size = (tmp_path / JOB_ID / "1.0.log").stat().st_size
    assert size <= 100_000
    assert logs.total_bytes == size
    entries = await collect(logs.read(JOB_ID, 1, ranks=[0]))
    kept = sum(len(entry.data) for entry in entries)
    assert entries[0].lost_bytes + kept == offset
    rest = await collect(reader)  # began before the file was rewritten
    assert 5000 + sum(entry.lost_bytes + len(entry.data) for entry in rest) == offset
    again = LogStore(tmp_path, member_max_bytes=100_000)
    await again.start()
    assert await put(again, chunk(offset - 5000, b"x" * 5000), chunk(offset, b"y")) == [
        Appended.REPEAT,
        Appended.STORED,
    ]


async def test_in_total_the_oldest_ended_jobs_make_room(tmp_path: Path) -> None:
    logs = LogStore(tmp_path, total_max_bytes=100_000)
    await logs.start()
    ids: list[JobId] = [new_id(JOB) for _ in range(5)]
    for age, job_id in enumerate(ids):
        await put(logs, chunk(0, b"x" * 30_000, job_id=job_id))
        path = tmp_path / job_id / "1.0.log"
        stamp = 1_700_000_000 + age
        os.utime(path, (stamp, stamp))
    assert logs.over_total

    async def ended(jobs: Sequence[JobId]) -> frozenset[JobId]:
        return frozenset(jobs) - {ids[0]}

    before = logs.total_bytes
    assert await logs.prune(ended) == before - logs.total_bytes > 60_000
    assert set(os.listdir(tmp_path)) == {ids[0], ids[4]}  # noqa: PTH208 - iterdir blocks just as well
    assert logs.total_bytes <= 90_000


async def test_running_jobs_that_fill_the_bound_lose_their_older_halves_largest_first(tmp_path: Path) -> None:
    logs = LogStore(tmp_path, total_max_bytes=100_000)
    await logs.start()
    for number in range(12):
        await put(logs, chunk(number * 10_000, b"x" * 10_000))

    async def none(jobs: Sequence[JobId]) -> frozenset[JobId]:
        return frozenset()

    await logs.prune(none)
    assert not logs.over_total
    assert (await put(logs, chunk(120_000, b"y"))) == [Appended.STORED]


async def test_a_full_disk_refuses_and_nothing_is_lost_once_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = LogStore(tmp_path)
    await logs.start()
    await put(logs, chunk(0, b"one\n"))
    written: list[int] = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("control_plane.telemetry.log_file.os.fsync", full)
        with pytest.raises(ResourceExhausted, match="free space") as caught:
            await put(logs, chunk(4, b"two\n"))
    assert written
    assert caught.value.reason == "LOG_DISK_UNUSABLE"
    assert await text_of(logs) == b"one\n"
    assert await put(logs, chunk(4, b"two\n")) == [Appended.STORED]
    assert await text_of(logs) == b"one\ntwo\n"


async def test_what_a_stranger_names_never_leaves_the_directory(logs: LogStore) -> None:
    for bad in ("../../etc", "j-../../../x", ""):
        with pytest.raises(InvalidArgument):
            await put(logs, chunk(0, b"x", job_id=JobId(bad)))
        with pytest.raises(InvalidArgument):
            await collect(logs.read(JobId(bad), 1, ranks=[0]))


async def test_the_size_of_what_is_kept_is_known_after_a_restart(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    await logs.start()
    await put(logs, chunk(0, b"x" * 10_000), chunk(0, b"y", rank=1))
    again = LogStore(tmp_path)
    await again.start()
    assert again.total_bytes == logs.total_bytes > 10_000 + 4096
