"""Reads real FIFOs, real files and, where permitted, the real kernel log."""

import asyncio
import contextlib
import errno
import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.probe.kernel.reader import KERNEL_LOG, KernelLog, LogPosition, boot_id, scan_log
from node_agent.probe.observations import KernelFaultReport, KernelLoss, KernelReport, XidReport

DEADLINE_SECONDS = 60.0
XID = "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."


class Reports:
    """What a reader handed over."""

    def __init__(self) -> None:
        self.all: list[KernelReport] = []
        self._arrived = asyncio.Event()

    async def take(self, reports: Sequence[KernelReport]) -> None:
        self.all += reports
        self._arrived.set()

    async def until(self, enough: Callable[[list[KernelReport]], bool]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not enough(self.all):
                self._arrived.clear()
                await self._arrived.wait()

    def xids(self) -> list[XidReport]:
        return [report for report in self.all if isinstance(report, XidReport)]


@asynccontextmanager
async def reading(kernel_log: KernelLog) -> AsyncIterator[Reports]:
    reports = Reports()
    task = asyncio.ensure_future(kernel_log.run(reports.take))
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await kernel_log.opened.wait()
        yield reports
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def write(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "kmsg"
    os.mkfifo(path)
    return path


async def test_records_of_a_fifo_are_reported_with_their_numbers_and_times(fifo: Path) -> None:
    kernel_log = KernelLog(fifo, clock=SystemClock())
    async with reading(kernel_log) as reports:
        write(fifo, f"4,17,2500000,-;{XID}\n SUBSYSTEM=pci\n6,18,2600000,-;nothing of note\n")
        await reports.until(lambda found: len(found) == 1)
        (report,) = reports.xids()
        assert (report.line.sequence, report.line.monotonic_seconds, report.line.priority) == (17, 2.5, 4)
        assert report.line.text == XID


async def test_bare_lines_are_read_too(fifo: Path) -> None:
    async with reading(KernelLog(fifo, clock=SystemClock())) as reports:
        write(fifo, f"[   12.345678] {XID}\n")
        await reports.until(lambda found: len(found) == 1)
        assert reports.xids()[0].pci_bus_id == "0000:3b:00.0"


async def test_one_message_of_several_lines_names_its_gpu(fifo: Path) -> None:
    async with reading(KernelLog(fifo, clock=SystemClock())) as reports:
        message = "NVRM: The NVIDIA GPU 0000:18:00.0\\x0aNVRM: (PCI ID: 10de:2901) installed in this system has"
        write(fifo, f"3,5,1,-;{message}\\x0aNVRM: fallen off the bus and is not responding to commands.\n")
        await reports.until(lambda found: len(found) == 1)
        assert (reports.xids()[0].code, reports.xids()[0].pci_bus_id) == (79, "0000:18:00.0")


@pytest.mark.parametrize("facility", [1, 3, 16], ids=["user", "daemon", "local0"])
async def test_what_a_program_wrote_is_not_believed(fifo: Path, facility: int) -> None:
    async with reading(KernelLog(fifo, clock=SystemClock())) as reports:
        write(fifo, f"{8 * facility + 3},5,1,-;{XID}\n{8 * facility + 3},6,2,-;EDAC MC0: 1 UE memory\n3,7,3,-;{XID}\n")
        await reports.until(bool)
    assert len(reports.all) == 1
    assert [report.line.sequence for report in reports.xids()] == [7]


async def test_a_program_is_believed_where_faults_are_injected(fifo: Path) -> None:
    async with reading(KernelLog(fifo, clock=SystemClock(), any_writer=True)) as reports:
        write(fifo, f"11,5,1,-;{XID}\n")
        await reports.until(bool)
    assert [report.line.sequence for report in reports.xids()] == [5]


@pytest.mark.parametrize(
    "message",
    [
        f"python3[77]: segfault at 0 ip 0 sp 0 error 4 in x\\x0a{XID}[5000+1000]",
        f"NVRM:[77]: segfault at 0 ip 0 sp 0 error 4 in x\\x0a{XID}[5000+1000]",
        f"\\x0aNVRM: y[77]: segfault at 0 ip 0 sp 0 error 4 in x\\x0a{XID}[5000+1000]",
        "NVRM: GPU 3b:00[77]: segfault at 0 ip 0 sp 0 error 4 in fallen off the bus[5000+1000]",
        "NVRM: GPU 3b:00[77]: segfault at 0 ip 0 sp 0 error 4 in x\\x0aNVRM: fallen off the bus[5000+1000]",
        "XFS (sda1): z[77]: segfault at 0 ip 0 sp 0 error 4 in I/O error[5000+1000]",
    ],
    ids=["break", "name_and_break", "break_first", "name", "name_and_fallen", "disk"],
)
async def test_names_that_a_program_chose_state_no_fault(fifo: Path, message: str) -> None:
    async with reading(KernelLog(fifo, clock=SystemClock())) as reports:
        write(fifo, f"6,5,1,-;{message}\n3,7,3,-;{XID}\n")
        await reports.until(lambda _: any(report.line.sequence == 7 for report in reports.xids()))
    assert len(reports.all) == 1


async def test_a_hung_task_is_reported_even_if_no_line_follows(fifo: Path) -> None:
    async with reading(KernelLog(fifo, clock=SystemClock(), follow_seconds=0.001)) as reports:
        write(fifo, "3,5,1,-;INFO: task sh:9 blocked for more than 120 seconds.\n")
        await reports.until(lambda found: len(found) == 1)
        (report,) = reports.all
        assert isinstance(report, KernelFaultReport)
        assert report.subject == "sh"


async def test_a_storm_leaves_turns_to_other_work_and_loses_nothing(fifo: Path) -> None:
    lines = 20_000
    turns = 0
    done = False

    async def other_work() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    def storm() -> None:
        with fifo.open("wb", buffering=0) as stream:
            for number in range(lines):
                stream.write(f"4,{number},{number},-;{XID}\n".encode())

    async with reading(KernelLog(fifo, clock=SystemClock())) as reports, asyncio.TaskGroup() as group:
        group.create_task(other_work())
        await asyncio.to_thread(storm)
        await reports.until(lambda found: len(found) == lines)
        done = True
    assert [report.line.sequence for report in reports.xids()] == list(range(lines))
    assert turns > lines // 256


async def test_a_file_is_read_from_its_end_on_and_followed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(f"{XID}\n")
    async with reading(KernelLog(path, clock=SystemClock())) as reports:
        with path.open("a") as stream:
            stream.write("NVRM: Xid (PCI:0000:3c:00): 48, pid=1, name=x, DBE\n")
        await reports.until(lambda found: len(found) == 1)
        assert reports.xids()[0].code == 48


async def test_what_came_while_away_is_read_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(f"{XID}\n")
    async with reading(KernelLog(path, clock=SystemClock(), after=LogPosition("", -1))) as reports:
        await reports.until(lambda found: len(found) == 1)


@pytest.mark.parametrize("path", ["missing", "/proc/self", "/dev/null"])
async def test_a_log_that_cannot_be_read_ends_the_reading_and_nothing_else(path: str, tmp_path: Path) -> None:
    reports = Reports()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await KernelLog(tmp_path / path, clock=SystemClock()).run(reports.take)
    assert reports.all == []


async def test_a_failure_of_the_taker_is_not_taken_for_one_of_the_log(fifo: Path) -> None:
    async def fail(_: Sequence[KernelReport]) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    kernel_log = KernelLog(fifo, clock=SystemClock())
    fifo_writer = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(fifo_writer, f"{XID}\n".encode())
        with pytest.raises(OSError, match="disk full"):
            async with asyncio.timeout(DEADLINE_SECONDS):
                await kernel_log.run(fail)
    finally:
        os.close(fifo_writer)
    assert kernel_log.position.sequence == -1


def can_use_kernel_log() -> bool:
    try:
        os.close(os.open(KERNEL_LOG, os.O_RDWR | os.O_NONBLOCK))
        first_records(1)
    except OSError:
        return False
    return True


def first_records(count: int) -> list[bytes]:
    descriptor = os.open(KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return [os.read(descriptor, 16_384) for _ in range(count)]
    finally:
        os.close(descriptor)


needs_kernel_log = pytest.mark.skipif(not can_use_kernel_log(), reason="/dev/kmsg cannot be read and written here")


def print_in_kernel_log(text: str) -> None:
    with KERNEL_LOG.open("wb", buffering=0) as stream:
        stream.write(f"<4>{text}\n".encode())


def marked(reports: Sequence[KernelReport], mark: str) -> list[XidReport]:
    return [report for report in reports if isinstance(report, XidReport) and report.process_name == mark]


def unique() -> tuple[str, str]:
    mark = f"t{uuid.uuid4().hex[:12]}"
    return mark, f"NVRM: Xid (PCI:00f7:1e:00): 13, pid=77, name={mark}, Graphics Exception"


@needs_kernel_log
async def test_a_line_in_the_real_kernel_log_is_reported_once() -> None:
    mark, text = unique()
    kernel_log = KernelLog(clock=SystemClock(), any_writer=True)
    async with reading(kernel_log) as reports:
        print_in_kernel_log(text)
        await reports.until(lambda found: len(marked(found, mark)) == 1)
    (report,) = marked(reports.all, mark)
    assert (report.code, report.pci_bus_id, report.pid, report.line.text) == (13, "00f7:1e:00.0", 77, text)
    assert report.line.sequence > 0
    assert kernel_log.position.boot_id == boot_id()


@needs_kernel_log
async def test_lines_before_the_start_are_not_reported_but_those_while_away_are() -> None:
    before, text_before = unique()
    while_away, text_while_away = unique()
    after, text_after = unique()
    print_in_kernel_log(text_before)
    first = KernelLog(clock=SystemClock(), any_writer=True)
    async with reading(first) as reports:
        pass
    assert marked(reports.all, before) == []
    assert first.position.sequence >= 0
    print_in_kernel_log(text_while_away)
    async with reading(KernelLog(clock=SystemClock(), any_writer=True, after=first.position)) as later:
        print_in_kernel_log(text_after)
        await later.until(lambda found: bool(marked(found, after)))
    assert len(marked(later.all, while_away)) == 1
    assert marked(later.all, before) == []


@needs_kernel_log
async def test_after_a_reboot_everything_since_is_read() -> None:
    mark, text = unique()
    print_in_kernel_log(text)
    position = LogPosition("00000000-0000-0000-0000-000000000000", 2**40)
    async with reading(KernelLog(clock=SystemClock(), any_writer=True, after=position)) as reports:
        await reports.until(lambda found: bool(marked(found, mark)))


@needs_kernel_log
async def test_lines_overwritten_while_away_are_counted() -> None:
    oldest = int(first_records(1)[0].split(b",")[1])
    if oldest == 0:
        pytest.skip("the kernel has not overwritten anything yet")
    mark, text = unique()
    print_in_kernel_log(text)
    async with reading(KernelLog(clock=SystemClock(), any_writer=True, after=LogPosition(boot_id(), 0))) as reports:
        await reports.until(lambda found: bool(marked(found, mark)))
    (loss,) = [report for report in reports.all if isinstance(report, KernelLoss)]
    assert loss.lines >= oldest - 1


@needs_kernel_log
async def test_lines_overwritten_while_reading_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    mark, text = unique()
    kernel_log = KernelLog(clock=SystemClock(), any_writer=True)
    real_read = os.read
    overtaken = False

    def read(descriptor: int, size: int) -> bytes:
        # The kernel says EPIPE when it has overwritten the next message; its ring is too large to fill here.
        nonlocal overtaken
        raw = real_read(descriptor, size)
        if mark.encode() in raw and not overtaken:
            overtaken = True
            raise BrokenPipeError(errno.EPIPE, "overtaken")
        return raw

    async with reading(kernel_log) as reports:
        monkeypatch.setattr(os, "read", read)
        print_in_kernel_log(text)
        print_in_kernel_log(text)
        await reports.until(lambda found: bool(marked(found, mark)))
    losses = [report for report in reports.all if isinstance(report, KernelLoss)]
    assert [loss.lines for loss in losses] == [1]
    assert len(marked(reports.all, mark)) == 1


@needs_kernel_log
def test_a_scan_shows_what_the_log_holds() -> None:
    mark, text = unique()
    print_in_kernel_log(text)
    assert len(marked(scan_log(SystemClock(), any_writer=True), mark)) == 1


@needs_kernel_log
def test_the_kernel_marks_what_a_program_wrote_however_it_asks() -> None:
    mark, text = unique()
    with KERNEL_LOG.open("wb", buffering=0) as stream:
        for prefix in ("", "<0>", "<3>", "<30>"):
            stream.write(f"{prefix}{text}\n".encode())
    assert marked(scan_log(SystemClock()), mark) == []
    assert len(marked(scan_log(SystemClock(), any_writer=True), mark)) == 4
