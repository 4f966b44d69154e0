from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.probe.bounded.command import Commands
from node_agent.probe.host_checks import HostCheckSettings
from node_agent.probe.host_checks.services import Services, UnitState, judge, parse_units
from node_agent.probe.observations import HostFinding, HostReport, Standing
from tests.node_agent.probe.steps import StepClock, only

FABRIC_MANAGER = "nvidia-fabricmanager.service"
PERSISTENCED = "nvidia-persistenced.service"


def unit(name: str, load: str, active: str, sub: str, file: str = "enabled") -> str:
    return f"Id={name}\nLoadState={load}\nActiveState={active}\nSubState={sub}\nUnitFileState={file}\n"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take longer for a look than a host may."""
    monkeypatch.setattr("node_agent.probe.host_checks.services._TIMEOUT_SECONDS", 60.0)


class Systemd:
    """A real executable in place of systemctl, which prints what a test writes."""

    def __init__(self, directory: Path, *, fabric_manager_needed: bool = False) -> None:
        self.directory = directory
        self.program = directory / "systemctl"
        self.says(unit(FABRIC_MANAGER, "not-found", "inactive", "dead", ""))
        (directory / "running").mkdir()
        settings = HostCheckSettings(
            state_dir=directory,
            services=(PERSISTENCED,),
            fabric_manager_needed=fabric_manager_needed,
            systemctl=(str(directory / "absent"), str(self.program)),
            systemd_marker=directory / "running",
        )
        self.services = Services(settings, StepClock(), Commands(SystemClock()))

    def says(self, *units: str, script: str = "") -> None:
        (self.directory / "units").write_text("\n".join(units))
        body = script or f"printf '%s\\n' \"$@\" > {self.directory}/asked\ncat {self.directory}/units"
        fresh = self.directory / "systemctl.new"
        fresh.write_text(f"#!/bin/sh\n{body}\n")
        fresh.chmod(0o755)
        fresh.rename(self.program)

    async def look(self, *units: str) -> list[HostReport]:
        self.says(*units)
        return await self.services.look()


RUNS = unit(PERSISTENCED, "loaded", "active", "running")
NO_FABRIC_MANAGER = unit(FABRIC_MANAGER, "not-found", "inactive", "dead", "")


async def test_all_units_are_asked_for_at_once_without_a_shell(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path)
    (report,) = await systemd.look(RUNS)
    assert (report.subject, report.standing) == (PERSISTENCED, Standing.GOOD)
    asked = (tmp_path / "asked").read_text().split()
    assert asked[0] == "show"
    assert asked[-2:] == ["--", PERSISTENCED]


async def test_the_fabric_manager_is_needed_only_where_the_settings_say_so(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path, fabric_manager_needed=True)
    report = only(await systemd.look(NO_FABRIC_MANAGER, RUNS), HostFinding.SERVICE, FABRIC_MANAGER)
    assert report.standing is Standing.BAD
    assert "needs it" in report.text


async def test_a_service_that_fails_is_bad_and_good_again_when_it_runs(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path)
    await systemd.look(RUNS)
    failed = await systemd.look(unit(PERSISTENCED, "loaded", "failed", "failed"))
    assert only(failed, HostFinding.SERVICE, PERSISTENCED).standing is Standing.BAD
    again = await systemd.look(RUNS)
    assert only(again, HostFinding.SERVICE, PERSISTENCED).standing is Standing.GOOD


async def test_a_service_that_ran_and_was_stopped_is_a_warning_though_it_is_not_enabled(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path)
    stopped = unit(PERSISTENCED, "loaded", "inactive", "dead", "disabled")
    before = await systemd.look(stopped)
    assert only(before, HostFinding.SERVICE, PERSISTENCED).standing is Standing.GOOD
    await systemd.look(RUNS)
    after = await systemd.look(stopped)
    assert only(after, HostFinding.SERVICE, PERSISTENCED).standing is Standing.WARNING


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'Failed to connect to bus' >&2; exit 1", "Failed to connect to bus"),
        ("head -c 100000 /dev/urandom", "ended with"),
        ("printf 'Id=a\\n\\nId=b\\n'", "2 of 1 units"),
        ("kill -9 $$", "ended with -9"),
    ],
)
async def test_a_systemd_that_makes_no_sense_is_unknown_until_it_does(tmp_path: Path, script: str, words: str) -> None:
    systemd = Systemd(tmp_path)
    systemd.says(script=script)
    (report,) = await systemd.services.look()
    assert (report.subject, report.standing) == ("systemd", Standing.UNKNOWN)
    if "urandom" not in script:  # too much or no units, whichever comes first
        assert words in report.text
    reports = await systemd.look(RUNS)
    assert only(reports, HostFinding.SERVICE, "systemd").standing is Standing.GOOD


async def test_a_systemd_that_hangs_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_agent.probe.host_checks.services._TIMEOUT_SECONDS", 0.2)
    systemd = Systemd(tmp_path)
    systemd.says(script="exec sleep 600")
    (report,) = await systemd.services.look()
    assert (report.subject, report.standing) == ("systemd", Standing.UNKNOWN)
    assert "did not answer" in report.text


async def test_nothing_is_said_on_a_host_without_systemd(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path)
    (tmp_path / "running").rmdir()
    assert await systemd.services.look() == []
    (tmp_path / "running").mkdir()
    systemd.program.unlink()
    assert await systemd.services.look() == []


@pytest.mark.parametrize(
    ("state", "needed", "expected"),
    [
        (UnitState("loaded", "active", "exited", "static"), True, Standing.GOOD),
        (UnitState("loaded", "activating", "auto-restart", "enabled"), False, Standing.BAD),
        (UnitState("loaded", "activating", "start", "enabled"), False, Standing.WARNING),
        (UnitState("loaded", "inactive", "dead", "enabled"), False, Standing.WARNING),
        (UnitState("loaded", "inactive", "dead", "static"), False, Standing.GOOD),
        (UnitState("masked", "inactive", "dead", "masked"), False, Standing.GOOD),
        (UnitState("masked", "inactive", "dead", "masked"), True, Standing.BAD),
        (UnitState("bad-setting", "inactive", "dead", ""), False, Standing.WARNING),
        (UnitState("", "", "", ""), False, Standing.GOOD),
        (UnitState("", "", "", ""), True, Standing.BAD),
    ],
)
def test_a_unit_is_judged_by_its_states_and_by_whether_it_is_needed(
    state: UnitState, needed: bool, expected: Standing
) -> None:
    assert judge(state, needed=needed, ran_before=False)[0] is expected


def test_states_are_made_printable_and_short() -> None:
    (state,) = parse_units("Id=x\nLoadState=\x1b[31m" + "y" * 1000)
    assert state.load.isprintable()
    assert len(state.load) <= 40
