import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from node_agent.probe.host_checks import HostCheckSettings
from node_agent.probe.host_checks.disks import Disks, DiskUse, judge, look_at
from node_agent.probe.host_checks.mounts import Mount, mount_of, parse_mounts, read_mounts
from node_agent.probe.observations import HostFinding, HostReport, Standing
from tests.node_agent.probe.steps import PatientThreads, StepClock, only

GIB = 1024**3
ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"
DATA = "30 22 8:17 / /data rw,noatime shared:2 - xfs /dev/sdb1 rw,attr2"
DATA_FAILED = "30 22 8:17 / /data rw,noatime shared:2 - xfs /dev/sdb1 ro,attr2"


def use(
    point: str = "/",
    *,
    total: int = 1000 * GIB,
    free: int = 500 * GIB,
    inodes: int = 60_000_000,
    free_inodes: int = 30_000_000,
    read_only: bool = False,
) -> DiskUse:
    return DiskUse(point, total, free, inodes, free_inodes, read_only)


class Host:
    """A host whose mounts are a real file and whose file systems are as full as a test says."""

    def __init__(self, directory: Path, *mount_points: str) -> None:
        self.clock = StepClock()
        self.directory = directory
        self.uses: dict[str, DiskUse | Exception] = {}
        self.hang: dict[str, threading.Event] = {}
        self.threads = PatientThreads(self.clock, lambda key: key.removeprefix("disk ") in self.hang)
        (directory / "self").mkdir(exist_ok=True)
        settings = HostCheckSettings(
            state_dir=Path("/state"), mount_points=mount_points, proc_root=directory, deadline_seconds=0.05
        )
        self.disks = Disks(settings, self.clock, self.threads, look=self._look)

    def _look(self, path: str, _mounts: tuple[Mount, ...]) -> DiskUse:
        if path in self.hang:
            self.hang[path].wait(60)
        answer = self.uses.get(path, FileNotFoundError())
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def look(self, *mounts: str) -> list[HostReport]:
        (self.directory / "self/mountinfo").write_text("\n".join(mounts) + "\n")
        return await self.disks.look()


def standings(reports: Sequence[HostReport]) -> dict[tuple[str, str], str]:
    return {(report.finding.value, report.subject): report.standing.value for report in reports}


def test_the_real_host_answers() -> None:
    mounts = read_mounts(Path("/proc/self/mountinfo"))
    found = look_at("/", mounts)
    assert found.mount_point == "/"
    assert 0 <= found.free_bytes <= found.total_bytes


def test_a_symbolic_link_is_followed_to_its_file_system(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self")
    assert look_at(str(tmp_path / "link"), read_mounts(Path("/proc/self/mountinfo"))).mount_point == "/proc"


def test_mounts_are_read_with_escapes_and_odd_lines_are_left_out() -> None:
    text = rf"{ROOT}|garbage||31 22 0:9 / /mnt/my\040disk ro - nfs4 server:/x\011y rw|1 2 - ".replace("|", "\n")
    assert parse_mounts(text) == (
        Mount("/", "ext4", "/dev/sda1", read_only=False, all_read_only=False),
        Mount("/mnt/my disk", "nfs4", "server:/x\ty", read_only=True, all_read_only=False),
    )


def test_a_path_belongs_to_the_longest_mount_and_the_newest_of_equals() -> None:
    mounts = parse_mounts("\n".join([ROOT, DATA, DATA.replace("xfs", "ext4")]))
    found = mount_of("/data/x", mounts)
    assert found is not None
    assert (found.point, found.kind) == ("/data", "ext4")
    other = mount_of("/database", mounts)
    assert other is not None
    assert other.point == "/"


@pytest.mark.parametrize(
    ("free", "total", "expected"),
    [
        (500, 1000, Standing.GOOD),
        (60, 1000, Standing.GOOD),  # 6 % is little, 60 is not
        (19, 1000, Standing.WARNING),
        (1, 1000, Standing.BAD),
        (1, 20, Standing.WARNING),  # 5 % of a small one
        (0, 1, Standing.BAD),
        (0, 0, Standing.GOOD),  # /proc and the like have no size
    ],
)
def test_a_file_system_is_full_by_share_and_amount_together(free: int, total: int, expected: Standing) -> None:
    assert judge(free, total, warning=(10, 20), bad=(3, 2)) is expected


async def test_space_inodes_and_writability_are_reported_once_for_each_file_system(tmp_path: Path) -> None:
    host = Host(tmp_path, "/", "/var", "/absent")
    host.uses = {"/state": use(), "/": use(), "/var": use("/var", free=GIB, free_inodes=1)}
    assert standings(await host.look(ROOT)) == {
        ("disk_space", "/"): "good",
        ("inodes", "/"): "good",
        ("read_only", "/"): "good",
        ("disk_space", "/var"): "bad",
        ("inodes", "/var"): "bad",
        ("read_only", "/var"): "good",
    }


async def test_a_file_system_that_makes_inodes_as_it_goes_is_not_out_of_them(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.uses = {"/state": use(inodes=0, free_inodes=0)}
    assert only(await host.look(ROOT), HostFinding.INODES, "/").standing is Standing.GOOD


async def test_a_state_directory_that_turns_read_only_is_bad_and_one_that_always_was_a_warning(tmp_path: Path) -> None:
    host = Host(tmp_path, "/usr")
    host.uses = {"/state": use("/state", read_only=True), "/usr": use("/usr", read_only=True)}
    reports = await host.look(ROOT)
    assert only(reports, HostFinding.READ_ONLY, "/state").standing is Standing.WARNING
    assert only(reports, HostFinding.READ_ONLY, "/usr").standing is Standing.GOOD
    host.uses["/state"] = use("/state")
    assert only(await host.look(ROOT), HostFinding.READ_ONLY, "/state").standing is Standing.GOOD
    host.uses["/state"] = use("/state", read_only=True)
    assert only(await host.look(ROOT), HostFinding.READ_ONLY, "/state").standing is Standing.BAD


async def test_any_file_system_that_turns_read_only_is_noticed_until_it_is_writable_or_gone(tmp_path: Path) -> None:
    host = Host(tmp_path, "/data")
    assert await host.look(ROOT, DATA) == []
    turned = only(await host.look(ROOT, DATA_FAILED), HostFinding.READ_ONLY, "/data")
    assert turned.standing is Standing.BAD
    assert "kernel log" in turned.text
    still = only(await host.look(ROOT, DATA_FAILED), HostFinding.READ_ONLY, "/data")
    assert still.standing is Standing.BAD
    assert only(await host.look(ROOT, DATA), HostFinding.READ_ONLY, "/data").standing is Standing.GOOD
    await host.look(ROOT, DATA_FAILED)
    gone = only(await host.look(ROOT), HostFinding.READ_ONLY, "/data")
    assert (gone.standing, gone.text) == (Standing.GOOD, "not mounted any more")
    assert await host.look(ROOT) == []


async def test_a_file_system_that_nobody_asked_to_watch_is_a_warning_when_it_turns_read_only(tmp_path: Path) -> None:
    host = Host(tmp_path)
    await host.look(ROOT, DATA)
    report = only(await host.look(ROOT, DATA_FAILED), HostFinding.READ_ONLY, "/data")
    assert report.standing is Standing.WARNING


async def test_a_bind_mount_made_read_only_on_purpose_is_no_fault(tmp_path: Path) -> None:
    host = Host(tmp_path)
    await host.look(ROOT, DATA)
    assert await host.look(ROOT, DATA.replace("rw,noatime", "ro,noatime")) == []


async def test_a_hung_file_system_stalls_no_other_and_is_bad_from_the_second_look(tmp_path: Path) -> None:
    host = Host(tmp_path, "/mnt/nfs")
    mounts = (ROOT, "40 22 0:50 / /mnt/nfs rw - nfs4 server:/x rw")
    host.uses = {"/state": use(), "/mnt/nfs": use("/mnt/nfs")}
    host.hang["/mnt/nfs"] = threading.Event()
    try:
        first = await host.look(*mounts)
        second = await host.look(*mounts)
        assert host.threads.taken == 1
    finally:
        host.hang.pop("/mnt/nfs").set()
    assert only(first, HostFinding.DISK_SPACE, "/mnt/nfs").standing is Standing.UNKNOWN
    assert only(first, HostFinding.DISK_SPACE, "/").standing is Standing.GOOD
    hung = only(second, HostFinding.DISK_SPACE, "/mnt/nfs")
    assert hung.standing is Standing.BAD
    assert "does not answer" in hung.text
    while only(await host.look(*mounts), HostFinding.DISK_SPACE, "/mnt/nfs").standing is not Standing.GOOD:
        pass


async def test_a_path_that_seemed_to_lie_elsewhere_while_it_hung_leaves_nothing_bad_behind(tmp_path: Path) -> None:
    host = Host(tmp_path, "/mnt/link")
    host.uses = {"/mnt/link": use("/data")}
    host.hang["/mnt/link"] = threading.Event()
    try:
        hung = await host.look(ROOT, DATA)
    finally:
        host.hang.pop("/mnt/link").set()
    assert standings(hung) == {("disk_space", "/"): "unknown"}
    reports = await host.look(ROOT, DATA)
    while ("disk_space", "/data") not in standings(reports):
        reports = await host.look(ROOT, DATA)
    assert only(reports, HostFinding.DISK_SPACE, "/").standing is Standing.GOOD


async def test_a_file_system_with_an_error_is_bad(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.uses = {"/state": OSError(5, "Input/output error")}
    report = only(await host.look(ROOT), HostFinding.DISK_SPACE, "/")
    assert report.standing is Standing.BAD
    assert "Input/output error" in report.text
