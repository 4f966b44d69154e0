"""Installing writes what it says, twice is once, and a removal leaves what it must."""

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from node_agent.errors import StateUnusable
from node_agent.install.apply import apply
from node_agent.install.plan import CONFIG, SERVICE, UNIT, Kind, Step, Target, install_plan, uninstall_plan, unit_text
from node_agent.settings import load


def target(root: Path, *, live: bool = False) -> Target:
    return Target(
        root, Path("/opt/orquanta-node/bin/orquanta-node"), Path("/var/lib/orquanta-node"), "orquanta-jobs", live
    )


def test_the_service_is_written_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        apply(install_plan(target(tmp_path), start=True), tmp_path, dry_run=False, say=lambda _: None)
    unit = (tmp_path / UNIT).read_text()
    assert "ExecStart=/opt/orquanta-node/bin/orquanta-node run" in unit
    assert "KillMode=process" in unit
    assert not re.search("@[A-Z]", unit)
    assert stat.S_IMODE((tmp_path / UNIT).stat().st_mode) == 0o644


def test_the_daemon_understands_the_settings_that_are_written(tmp_path: Path) -> None:
    apply(install_plan(target(tmp_path), start=False), tmp_path, dry_run=False, say=lambda _: None)
    settings = load({"config": tmp_path / CONFIG}, {})
    assert settings.state_dir == Path("/var/lib/orquanta-node")
    assert settings.run_as == "orquanta-jobs"


def test_an_upgrade_leaves_the_settings_of_the_operator_alone(tmp_path: Path) -> None:
    (tmp_path / CONFIG).parent.mkdir(parents=True)
    (tmp_path / CONFIG).write_text('run_as = "mine"\n')
    apply(install_plan(target(tmp_path), start=False), tmp_path, dry_run=False, say=lambda _: None)
    assert (tmp_path / CONFIG).read_text() == 'run_as = "mine"\n'


def test_a_dry_run_says_everything_and_changes_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    steps = install_plan(target(tmp_path, live=True), start=True)
    apply(steps, tmp_path, dry_run=True, say=lines.append)
    assert len(lines) == len(steps)
    assert any("systemctl restart orquanta-node.service" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_a_removal_keeps_identity_and_settings_unless_told_otherwise(tmp_path: Path) -> None:
    apply(install_plan(target(tmp_path), start=False), tmp_path, dry_run=False, say=lambda _: None)
    state = tmp_path / "var/lib/orquanta-node"
    (state / "identity").mkdir(parents=True)
    apply(uninstall_plan(target(tmp_path), purge=False), tmp_path, dry_run=False, say=lambda _: None)
    assert not (tmp_path / UNIT).exists()
    assert (tmp_path / CONFIG).exists()
    assert state.is_dir()
    apply(uninstall_plan(target(tmp_path), purge=True), tmp_path, dry_run=False, say=lambda _: None)
    assert not (tmp_path / CONFIG).exists()
    assert not state.exists()


@pytest.mark.parametrize("bad", ["/opt/a b", "/opt/x\nExecStartPre=/bin/sh", "relative", "/opt/../etc", "/opt/%h"])
def test_a_path_that_cannot_stand_in_a_unit_is_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in a unit"):
        unit_text(Target(tmp_path, Path(bad), Path("/var/lib/orquanta-node"), "orquanta-jobs", live=False))


def test_a_command_that_fails_says_what_it_said(tmp_path: Path) -> None:
    step = Step(Kind.COMMAND, "a test", command=("systemctl", "cat", "no-such-unit-of-ours.service"))
    with pytest.raises(StateUnusable, match="systemctl"):
        apply([step], tmp_path, dry_run=False, say=lambda _: None)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    where = target(tmp_path)
    unit = tmp_path / SERVICE
    unit.write_text(unit_text(Target(tmp_path, Path("/bin/true"), where.state_dir, where.run_as, live=False)))
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert SERVICE not in done.stderr, done.stderr
