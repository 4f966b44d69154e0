"""Limits and accounting for one job through cgroups, version 1, version 2 or both, as far as the host allows."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH103, PTH106, PTH112, PTH118, PTH123
from __future__ import annotations

import os
import time

_CPU_PERIOD_US = 100_000
_REMOVE_TRIES = 40
_REMOVE_PAUSE_SECONDS = 0.05


def mounts() -> dict[str, str]:
    """Return where each controller is mounted; version 2 is listed under "unified"."""
    found: dict[str, str] = {}
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, path, kind, options = line.split(" ")[:4]
            if kind == "cgroup2":
                found["unified"] = path
            elif kind == "cgroup":
                found.update({name: path for name in options.split(",") if name in {"memory", "cpu", "pids"}})
    return found


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return None


def _write(path: str, value: str) -> bool:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(value)
    except OSError:
        return False
    return True


def _counter(path: str, name: str) -> int:
    for line in (_read(path) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


class Cgroup:
    """One job's cgroups: `paths` maps "memory", "cpu", "pids" and "unified" to directories that were made.

    `enforced` names the limits that the kernel accepted.
    """

    def __init__(self, paths: dict[str, str]) -> None:
        self.paths = paths
        self.enforced: list[str] = []
        self._made: list[str] = list(paths.values())

    @classmethod
    def find(cls, parent: str, name: str) -> Cgroup:
        """Return what is left of a job's cgroups."""
        paths = {c: os.path.join(mount, parent.strip("/"), name) for c, mount in mounts().items()}
        return cls({c: path for c, path in paths.items() if os.path.isdir(path)})

    @classmethod
    def create(cls, parent: str, name: str, limits: dict[str, int | None]) -> Cgroup:
        """Make the job's cgroups under `parent` (a path inside each hierarchy) and set `limits`.

        `limits` holds memory_bytes, cpu_milli and pids, each None for no limit. Whatever the host refuses is left out.
        """
        found = mounts()
        group = cls({})
        parent = parent.strip("/")
        unified = found.pop("unified", None)
        if unified is not None:
            group._add("unified", unified, parent, name)
        wanted = {"memory"} | {c for c, key in (("cpu", "cpu_milli"), ("pids", "pids")) if limits.get(key)}
        for controller, mount in found.items():
            if controller in wanted:
                group._add(controller, mount, parent, name)
        group._limit_memory(limits.get("memory_bytes"))
        group._limit_cpu(limits.get("cpu_milli"))
        group._limit_pids(limits.get("pids"))
        return group

    def _add(self, controller: str, mount: str, parent: str, name: str) -> None:
        path = os.path.join(mount, parent, name)
        try:
            os.makedirs(path, exist_ok=True)
        except OSError:
            return
        self.paths[controller] = path
        self._made.append(path)
        if controller == "unified":  # children get only the controllers that each level above hands down
            level = mount
            for part in ["", *parent.split("/")]:
                level = os.path.join(level, part)
                for wanted in ("memory", "cpu", "pids"):
                    _write(os.path.join(level, "cgroup.subtree_control"), f"+{wanted}")

    def _set(self, controller: str, file_v1: str, file_v2: str, values: tuple[str, str]) -> bool:
        if controller in self.paths:
            return _write(os.path.join(self.paths[controller], file_v1), values[0])
        return "unified" in self.paths and _write(os.path.join(self.paths["unified"], file_v2), values[1])

    def _limit_memory(self, limit: int | None) -> None:
        if "unified" in self.paths:  # half a job is of no use to anyone: when one process goes, all go
            _write(os.path.join(self.paths["unified"], "memory.oom.group"), "1")
        if not limit:
            return
        if self._set("memory", "memory.limit_in_bytes", "memory.max", (str(limit), str(limit))):
            self.enforced.append("memory")
            self._set("memory", "memory.memsw.limit_in_bytes", "memory.swap.max", (str(limit), "0"))

    def _limit_cpu(self, milli: int | None) -> None:
        if not milli:
            return
        quota = max(1000, milli * _CPU_PERIOD_US // 1000)
        if self._set("cpu", "cpu.cfs_quota_us", "cpu.max", (str(quota), f"{quota} {_CPU_PERIOD_US}")):
            self.enforced.append("cpu")

    def _limit_pids(self, limit: int | None) -> None:
        if limit and self._set("pids", "pids.max", "pids.max", (str(limit), str(limit))):
            self.enforced.append("pids")

    def join_files(self) -> list[tuple[str, str]]:
        """Return (controller, file) pairs; a process that writes "0" into each file is in the job's cgroups."""
        return [(controller, os.path.join(path, "cgroup.procs")) for controller, path in self.paths.items()]

    def could_not_join(self, controller: str) -> None:
        """Take back the limits of a cgroup that the job's process was not allowed to enter."""
        gone = {"memory", "cpu", "pids"} - set(self.paths) if controller == "unified" else {controller}
        self.enforced = [limit for limit in self.enforced if limit not in gone]
        self.paths.pop(controller, None)

    def oom_kills(self) -> int:
        """Return how many of the job's processes the kernel killed for lack of memory."""
        if "memory" in self.paths:
            return _counter(os.path.join(self.paths["memory"], "memory.oom_control"), "oom_kill")
        if "unified" in self.paths:
            return _counter(os.path.join(self.paths["unified"], "memory.events"), "oom_kill")
        return 0

    def peak_memory_bytes(self) -> int | None:
        """Return the most memory that the job held at one time, page cache included; None when nothing counts it."""
        for controller, name in (("memory", "memory.max_usage_in_bytes"), ("unified", "memory.peak")):
            text = _read(os.path.join(self.paths[controller], name)) if controller in self.paths else None
            if text is not None:
                return int(text)
        return None

    def pids(self) -> set[int]:
        """Return the processes in the job's cgroups."""
        return {int(pid) for _, file in self.join_files() for pid in (_read(file) or "").split()}

    def kill(self) -> bool:
        """Have the kernel kill every process of the job at once, where it can (version 2, Linux 5.14)."""
        return "unified" in self.paths and _write(os.path.join(self.paths["unified"], "cgroup.kill"), "1")

    def remove(self) -> None:
        """Delete the job's cgroups; dead processes may take a moment to leave them."""
        for path in self._made:
            for _ in range(_REMOVE_TRIES):
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(_REMOVE_PAUSE_SECONDS)
                else:
                    break
