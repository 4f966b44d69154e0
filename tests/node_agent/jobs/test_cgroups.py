"""Limits on either version of cgroups, as far as the host goes along."""

from pathlib import Path

import pytest

from node_agent.jobs.supervisor import cgroups
from node_agent.jobs.supervisor.cgroups import Cgroup

LIMITS: dict[str, int | None] = {"memory_bytes": 1 << 30, "cpu_milli": 1500, "pids": 99}


def test_version_2_gets_limits_in_one_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "mounts", lambda: {"unified": str(tmp_path)})
    group = Cgroup.create("/orquanta/jobs", "a-1.0", LIMITS)
    leaf = tmp_path / "orquanta/jobs/a-1.0"
    found = {path.name: path.read_text() for path in leaf.iterdir()}
    assert found == {
        "memory.max": str(1 << 30),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "cpu.max": "150000 100000",
        "pids.max": "99",
    }
    assert set(group.enforced) == {"memory", "cpu", "pids"}
    (leaf / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    (leaf / "memory.peak").write_text("12345\n")
    (leaf / "cgroup.procs").write_text("7\n8\n")
    assert (group.oom_kills(), group.peak_memory_bytes(), group.pids()) == (1, 12345, {7, 8})
    assert group.kill()
    assert (leaf / "cgroup.kill").read_text() == "1"


def test_version_1_gets_limits_in_a_directory_per_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "mounts", lambda: {c: str(tmp_path / c) for c in ("memory", "cpu", "pids")})
    group = Cgroup.create("/orquanta", "a-1.0", LIMITS)
    assert (tmp_path / "memory/orquanta/a-1.0/memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (tmp_path / "cpu/orquanta/a-1.0/cpu.cfs_quota_us").read_text() == "150000"
    assert (tmp_path / "pids/orquanta/a-1.0/pids.max").read_text() == "99"
    group.could_not_join("pids")
    assert set(group.enforced) == {"memory", "cpu"}


def test_a_host_that_refuses_enforces_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(
        cgroups, "mounts", lambda: {"unified": str(tmp_path / "file"), "memory": str(tmp_path / "file")}
    )
    group = Cgroup.create("/orquanta", "a-1.0", LIMITS)
    assert (group.enforced, group.paths, group.oom_kills(), group.peak_memory_bytes()) == ([], {}, 0, None)
    assert not group.kill()
    group.remove()
