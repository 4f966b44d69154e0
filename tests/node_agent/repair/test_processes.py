"""What a process's control group says of the service that it belongs to."""

from pathlib import Path

import pytest

from node_agent.repair import processes


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
