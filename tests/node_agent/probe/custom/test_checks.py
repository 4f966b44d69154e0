import asyncio
import json
import os
from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.probe.custom import CustomCheck, CustomChecks
from node_agent.probe.custom.trust import NotTrusted, trusted_executable
from node_agent.probe.observations import HostFinding, HostReport, Standing
from tests.node_agent.probe.steps import Taken, only

UUID = "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52"


def executable(directory: Path, body: str, name: str = "check") -> Path:
    """Write a script in one step, so that none is ever run half written."""
    fresh, path = directory / f".{name}", directory / name
    fresh.write_text(f"#!/bin/sh\n{body}\n")
    fresh.chmod(0o755)
    fresh.rename(path)
    return path


def answer(**finding: str) -> str:
    return f"cat <<'END'\n{json.dumps(finding)}\nEND"


async def look(path: Path, *arguments: str, timeout_seconds: float = 60) -> list[HostReport]:
    check = CustomCheck("site", (str(path), *arguments), timeout_seconds)
    return await CustomChecks([check], SystemClock()).look(check)


async def test_a_check_says_how_something_stands(tmp_path: Path) -> None:
    path = executable(tmp_path, answer(status="warning", message="12 retries"))
    (report,) = await look(path)
    assert (report.finding, report.subject, report.standing, report.text) == (
        HostFinding.CUSTOM,
        "site",
        Standing.WARNING,
        "12 retries",
    )
    assert report.observed_at.tzinfo is not None


async def test_a_check_gets_its_arguments_as_they_are(tmp_path: Path) -> None:
    path = executable(tmp_path, 'printf \'{"status": "good", "message": "%s"}\' "$1"')
    (report,) = await look(path, "$(reboot); `x` *")
    assert report.text == "$(reboot); `x` *"


async def test_a_finding_about_a_gpu_has_a_subject_of_its_own_and_ends_when_it_is_not_reported(tmp_path: Path) -> None:
    path = executable(tmp_path, answer(status="bad", message="slow", gpu_uuid=UUID))
    check = CustomCheck("site", (str(path),), 60)
    checks = CustomChecks([check], SystemClock())
    reports = await checks.look(check)
    slow = only(reports, HostFinding.CUSTOM, f"site/{UUID}")
    assert (slow.standing, slow.gpu_uuid) == (Standing.BAD, UUID)
    assert only(reports, HostFinding.CUSTOM, "site").standing is Standing.GOOD
    executable(tmp_path, "echo '[]'")
    ended = only(await checks.look(check), HostFinding.CUSTOM, f"site/{UUID}")
    assert (ended.standing, ended.gpu_uuid) == (Standing.GOOD, UUID)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('echo \'{"status": "good"}\'; echo broken >&2; exit 3', "ended with exit code 3: broken"),
        ("kill -9 $$", "ended with signal 9"),
        ("echo fine", "no JSON: 'fine'"),
        ("exit 0", "printed nothing"),
        ("exec yes", "more than 64 KiB"),
        ("head -c 60000 /dev/urandom", "no JSON"),
    ],
)
async def test_a_check_that_gives_no_answer_leaves_things_unknown(tmp_path: Path, body: str, words: str) -> None:
    (report,) = await look(executable(tmp_path, body))
    assert report.standing is Standing.UNKNOWN
    assert words in report.text
    assert report.text.isprintable()


async def test_a_check_that_hangs_is_killed_and_leaves_things_unknown(tmp_path: Path) -> None:
    path = executable(tmp_path, "sleep 600 & sleep 600")
    (report,) = await look(path, timeout_seconds=0.5)
    assert report.standing is Standing.UNKNOWN
    assert "longer than 0.5 s" in report.text


async def test_a_check_without_an_interpreter_leaves_things_unknown(tmp_path: Path) -> None:
    path = tmp_path / "check"
    path.write_text("#!/absent/interpreter\n")
    path.chmod(0o755)
    (report,) = await look(path)
    assert report.standing is Standing.UNKNOWN
    assert "cannot be started" in report.text


async def test_an_executable_that_others_can_change_is_not_run(tmp_path: Path) -> None:
    path = executable(tmp_path, f"touch {tmp_path}/ran; echo '[]'")
    path.chmod(0o775)
    (report,) = await look(path)
    assert report.standing is Standing.UNKNOWN
    assert "chmod go-w" in report.text
    assert not (tmp_path / "ran").exists()


def test_trust_asks_for_an_executable_file_in_directories_that_only_its_owner_changes(tmp_path: Path) -> None:
    directory = tmp_path / "checks"
    directory.mkdir(mode=0o755)
    path = executable(directory, "true")
    (tmp_path / "link").symlink_to(path)
    assert trusted_executable(str(tmp_path / "link")) == str(path.resolve())
    directory.chmod(0o777)
    with pytest.raises(NotTrusted, match="could replace"):
        trusted_executable(str(path))
    directory.chmod(0o1777)
    assert trusted_executable(str(path)) == str(path.resolve())
    path.chmod(0o644)
    with pytest.raises(NotTrusted, match="chmod 755"):
        trusted_executable(str(path))
    with pytest.raises(NotTrusted, match="chmod 755"):
        trusted_executable(str(directory))
    with pytest.raises(NotTrusted, match="No such file"):
        trusted_executable(str(directory / "absent"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_executable_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    path = executable(tmp_path, "true")
    os.chown(path, 12_345, 12_345)
    with pytest.raises(NotTrusted, match="belongs to user 12345"):
        trusted_executable(str(path))


async def test_checks_run_side_by_side_and_tell_what_changes(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text('{"status": "good"}')
    swap = tmp_path / "swap"
    swap.write_text('{"status": "bad", "message": "now"}')
    reader = executable(tmp_path, f"cat {state}", "reader")
    hanger = executable(tmp_path, "sleep 600", "hanger")
    checks = [CustomCheck("hangs", (str(hanger),), 300, 1), CustomCheck("reads", (str(reader),), 60, 1)]
    taken = Taken()
    task = asyncio.create_task(CustomChecks(checks, SystemClock(), sleep=lambda _: asyncio.sleep(0.01)).run(taken))
    await taken.until(HostFinding.CUSTOM, "reads", Standing.GOOD)
    swap.rename(state)
    bad = await taken.until(HostFinding.CUSTOM, "reads", Standing.BAD)
    assert bad.text == "now"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [report.standing for report in taken.all] == [Standing.GOOD, Standing.BAD]


async def test_a_look_by_hand_runs_all_checks(tmp_path: Path) -> None:
    checks = [CustomCheck(name, (str(executable(tmp_path, "echo '[]'", name)),), 60) for name in ("a", "b")]
    reports = await CustomChecks(checks, SystemClock()).look_once()
    assert [report.subject for report in reports] == ["a", "b"]
