"""What a process's control group says of the service that it belongs to."""

from pathlib import Path

import pytest

from node_agent.repair import processes

ID = "0123456789ab" + "c" * 52


@pytest.mark.parametrize(
    ("group", "unit"),
    [
        ("0::/system.slice/nvidia-dcgm.service", "nvidia-dcgm.service"),
        ("1:name=systemd:/system.slice/nvidia-dcgm.service", "nvidia-dcgm.service"),
        ("0::/system.slice/system-serial.slice/serial@1.service", "serial@1.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/nvidia-dcgm.service", ""),
        ("0::/system.slice/docker-0a1b.scope/system.slice/nvidia-dcgm.service", ""),
        ("0::/kubepods/nvidia-dcgm.service", ""),
        ("0::/", ""),
    ],
)
def test_only_services_of_the_system_count_as_such(
    group: str, unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "cgroup").write_text(f"{group}\n")
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert processes.unit_of(77) == unit


def test_a_process_that_has_gone_is_in_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert processes.unit_of(77) == ""


@pytest.mark.parametrize(
    ("group", "place"),
    [
        (f"0::/system.slice/docker-{ID}.scope", "container docker 0123456789ab"),
        (f"12:devices:/docker/{ID}\n0::/", "container docker 0123456789ab"),
        (f"0::/machine.slice/libpod-{ID}.scope/container", "container libpod 0123456789ab"),
        (
            f"0::/kubepods.slice/kubepods-pod0f9e8d7c_6b5a_4321_8765_0123456789ab.slice/cri-containerd-{ID}.scope",
            "container cri-containerd 0123456789ab of pod 0f9e8d7c-6b5a-4321-8765-0123456789ab",
        ),
        (
            f"0::/kubepods/besteffort/pod0f9e8d7c-6b5a-4321-8765-0123456789ab/{ID}",
            "container 0123456789ab of pod 0f9e8d7c-6b5a-4321-8765-0123456789ab",
        ),
        (
            "4:memory:/\n1:name=systemd:/user.slice/user-1000.slice/session-3.scope",
            "cgroup user.slice/user-1000.slice/session-3.scope",
        ),
        ("0::/system.slice/tensorboard.service", "cgroup system.slice/tensorboard.service"),
        ("0::/a\x1b[31m" + "z" * 5000, "cgroup a?[31m" + "z" * 91 + "..."),
        ("0::/", ""),
        ("garbage", ""),
    ],
    ids=["docker", "docker_v1", "podman", "pod", "pod_cgroupfs", "session", "service", "hostile", "root", "garbage"],
)
def test_where_a_process_runs_is_said_for_a_person(
    group: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "cgroup").write_text(f"{group}\n")
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert processes.place_of(77) == place


def test_a_process_that_has_gone_runs_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert processes.place_of(77) == ""
