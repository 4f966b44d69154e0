"""Space, inodes and writability of the file systems that matter."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node_agent.clock import Clock
from node_agent.probe.bounded.text import printable
from node_agent.probe.bounded.threads import DeadlineThreads, NoThread, Stuck
from node_agent.probe.host_checks.mounts import STORAGE, Mount, mount_of, read_mounts, real_path
from node_agent.probe.host_checks.settings import GIBIBYTE, HostCheckSettings
from node_agent.probe.observations import HostFinding, HostReport, Standing

MAXIMUM_PATHS: Final = 32
"""Paths that are looked at; each may take a thread while its file system hangs."""
_MAXIMUM_WATCHED: Final = 1_000
"""File systems whose turn to read-only is noticed."""


@dataclass(frozen=True, slots=True)
class DiskUse:
    """How full one file system is, for a process that is not root. An inode count of 0: it makes them as it goes."""

    mount_point: str
    total_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int
    read_only: bool


def look_at(path: str, mounts: tuple[Mount, ...]) -> DiskUse:
    """Return how full the file system of `path` is. May hang; raises OSError."""
    mount = mount_of(real_path(path), mounts)
    figures = os.statvfs(path)
    return DiskUse(
        mount_point=mount.point if mount else path,
        total_bytes=figures.f_blocks * figures.f_frsize,
        free_bytes=figures.f_bavail * figures.f_frsize,
        inodes=figures.f_files,
        free_inodes=figures.f_favail,
        read_only=bool(figures.f_flag & os.ST_RDONLY) or bool(mount and mount.read_only),
    )


def judge(free: int, total: int, *, warning: tuple[float, int], bad: tuple[float, int]) -> Standing:
    """Judge what is left by (percent, amount): both must be short, each at the level in question."""
    if total <= 0:
        return Standing.GOOD
    percent = 100 * free / total
    if percent < bad[0] and free < bad[1]:
        return Standing.BAD
    return Standing.WARNING if percent < warning[0] and free < warning[1] else Standing.GOOD


class Disks:
    """Looks at file systems; remembers which could be written."""

    def __init__(
        self,
        settings: HostCheckSettings,
        clock: Clock,
        threads: DeadlineThreads,
        look: Callable[[str, tuple[Mount, ...]], DiskUse] = look_at,
    ) -> None:
        """`look` asks the kernel; a test gives one that hangs."""
        self._settings = settings
        self._clock = clock
        self._threads = threads
        self._look = look
        self._state_dir = str(settings.state_dir)
        self._paths = tuple(dict.fromkeys((self._state_dir, *settings.mount_points)))[:MAXIMUM_PATHS]
        self._points: dict[str, str] = {}  # the mount point of each path, as it was reported last
        self._seen_writable: set[str] = set()  # of the paths to look at
        self._writable: set[str] = set()  # of all that is mounted
        self._turned: set[str] = set()

    async def look(self) -> list[HostReport]:
        """Return how all file systems stand."""
        try:
            mounts = read_mounts(self._settings.proc_root / "self/mountinfo")
        except OSError:
            mounts = ()
        looks = await asyncio.gather(*(self._look_at(path, mounts) for path in self._paths))
        reports: dict[tuple[HostFinding, str], HostReport] = {}
        # Paths on one file system say the same of it, the first the most: the state directory must be writable.
        for report in (*(report for look in looks for report in look), *self._turned_read_only(mounts)):
            known = reports.get((report.finding, report.subject))
            if known is None or known.standing is Standing.GOOD:
                reports[report.finding, report.subject] = report
        return list(reports.values())

    async def _look_at(self, path: str, mounts: tuple[Mount, ...]) -> list[HostReport]:
        mount = mount_of(path, mounts)
        point = self._points.setdefault(path, mount.point if mount else path)
        deadline_seconds = self._settings.deadline_seconds
        try:
            use = await self._threads.call(f"disk {path}", lambda: self._look(path, mounts), deadline_seconds)
        except Stuck as stuck:
            # Once may be a busy server; a second look that finds the first one hanging is a fault.
            standing = Standing.BAD if stuck.again else Standing.UNKNOWN
            text = f"the file system of {path} does not answer: a look at it has hung for over {deadline_seconds:g} s"
            return [self._report(HostFinding.DISK_SPACE, point, standing, text)]
        except NoThread as error:
            return [self._report(HostFinding.DISK_SPACE, point, Standing.UNKNOWN, str(error))]
        except FileNotFoundError:  # nothing is wrong with a path that nothing uses
            return []
        except OSError as error:
            text = f"{path} cannot be looked at: {error.strerror}"
            return [self._report(HostFinding.DISK_SPACE, point, Standing.BAD, text)]
        self._points[path] = use.mount_point
        reports = [self._space(use), self._inodes(use), self._state(use, must_write=path == self._state_dir)]
        if point != use.mount_point:  # what was said of the mount point that it seemed to be on is void
            reports.append(self._report(HostFinding.DISK_SPACE, point, Standing.GOOD, f"{path} lies elsewhere"))
        return reports

    def _space(self, use: DiskUse) -> HostReport:
        limits = self._settings.disk_limits
        standing = judge(
            use.free_bytes,
            use.total_bytes,
            warning=(limits.warning_free_percent, limits.warning_free_bytes),
            bad=(limits.bad_free_percent, limits.bad_free_bytes),
        )
        # In steps of a tenth of a gibibyte, so that a disk that fills is told of, not each byte.
        text = (
            f"{use.free_bytes / GIBIBYTE:.1f} GiB of {use.total_bytes / GIBIBYTE:.1f} GiB free"
            f" ({_percent(use.free_bytes, use.total_bytes)})"
        )
        return self._report(HostFinding.DISK_SPACE, use.mount_point, standing, text)

    def _inodes(self, use: DiskUse) -> HostReport:
        limits = self._settings.disk_limits
        standing = judge(
            use.free_inodes,
            use.inodes,
            warning=(limits.warning_inodes_percent, limits.warning_inodes),
            bad=(limits.bad_inodes_percent, limits.bad_inodes),
        )
        text = f"{_percent(use.free_inodes, use.inodes)} of {use.inodes} inodes free"
        return self._report(HostFinding.INODES, use.mount_point, standing, text)

    def _state(self, use: DiskUse, *, must_write: bool) -> HostReport:
        if use.read_only and must_write:
            turned = use.mount_point in self._seen_writable
            standing = Standing.BAD if turned else Standing.WARNING  # a reboot mends only what was writable before
            text = f"read-only, but {self._state_dir} on it must be writable: look for its errors in the kernel log"
            return self._report(HostFinding.READ_ONLY, use.mount_point, standing, text)
        if not use.read_only:
            self._seen_writable.add(use.mount_point)
        text = "read-only from the start" if use.read_only else "writable"
        return self._report(HostFinding.READ_ONLY, use.mount_point, Standing.GOOD, text)

    def _turned_read_only(self, mounts: tuple[Mount, ...]) -> list[HostReport]:
        """Report the file systems that could be written before and cannot now, and those that can again.

        One that nobody asked to watch is a warning: a person may have remounted it so.
        """
        now = {mount.point: mount.all_read_only for mount in mounts if mount.kind in STORAGE}
        turned = {point for point, read_only in now.items() if read_only and point in self._writable | self._turned}
        ended = self._turned - turned
        self._writable = set(sorted(point for point, read_only in now.items() if not read_only)[:_MAXIMUM_WATCHED])
        self._turned = turned
        bad = "turned read-only: look for its errors in the kernel log"
        watched = set(self._points.values())
        reports = [
            self._report(HostFinding.READ_ONLY, point, Standing.BAD if point in watched else Standing.WARNING, bad)
            for point in sorted(turned)
        ]
        for point in sorted(ended):
            text = "writable again" if point in now else "not mounted any more"
            reports.append(self._report(HostFinding.READ_ONLY, point, Standing.GOOD, text))
        return reports

    def _report(self, finding: HostFinding, subject: str, standing: Standing, text: str) -> HostReport:
        return HostReport(finding, printable(subject), standing, printable(text), self._clock.now())


def _percent(part: int, whole: int) -> str:
    if whole <= 0:
        return "100 %"
    return f"{100 * part / whole:.0f} %"
