"""Kill -9 at every step of a repair: the next daemon starts what was stopped, repeats nothing blindly, and ends it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from node_agent.repair.codec import from_json
from node_agent.repair.model import RepairRecord, RepairState
from tests.node_agent.repair.stage import BOOT, DCGM, EXPORTER, HOLDING, PERSISTENCED, Stage

_REPOSITORY = Path(__file__).parents[3]
_TIMEOUT_SECONDS = 100
RESET = {"rung": "RESET_GPU"}
RELOAD = {"rung": "RELOAD_DRIVER", "gpu_uuids": []}
# A reset writes its journal 29 times here; beyond that the last runs prove that nothing was killed.
_WRITES = 32


def start(stage: Stage, *crash: str, boot_id: str = BOOT) -> int:
    command = [sys.executable, "-m", "tests.node_agent.repair.harness", str(stage.root), boot_id, *crash]
    with (stage.root / "said").open("wb") as said:  # a file: children that live on would hold a pipe open
        done = subprocess.run(command, cwd=_REPOSITORY, stdout=said, stderr=said, timeout=_TIMEOUT_SECONDS, check=False)
    assert done.returncode in (0, -9), (stage.root / "said").read_text()
    return done.returncode


def give(stage: Stage, wanted: Mapping[str, object]) -> None:
    (stage.root / "order").write_text(json.dumps(wanted))


def result(stage: Stage) -> RepairRecord:
    return from_json(json.loads((stage.journal_dir / "r-1.json").read_text())["record"])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(_WRITES))
def test_a_reset_killed_at_any_write_of_its_journal_leaves_every_service_running(
    stage: Stage, number: int, when: str
) -> None:
    give(stage, RESET)
    code = start(stage, "write", str(number), when)
    if code == 0:
        assert number > 20
        assert result(stage).state is RepairState.SUCCEEDED
        return
    assert start(stage) == 0
    record = result(stage)
    assert record.state.ended
    assert stage.running_services() == set(HOLDING)
    assert stage.resets() <= 1, "a reset must never be repeated blindly"
    if stage.resets() == 1:
        assert record.state is RepairState.SUCCEEDED, record.message
    if number % 8 == 0:
        assert start(stage) == 0
        assert result(stage) == record, "an ended repair is not carried out again"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "line",
    [
        f"systemctl stop -- {EXPORTER}",
        f"systemctl stop -- {PERSISTENCED}",
        "nvidia-smi --gpu-reset -i 00000000:1B:00.0",
        f"systemctl start -- {PERSISTENCED}",
        f"systemctl start -- {EXPORTER}",
    ],
)
def test_a_reset_killed_in_the_midst_of_a_command_waits_for_it_and_starts_every_service(
    stage: Stage, line: str, when: str
) -> None:
    give(stage, RESET)
    (stage.state / "crash").write_text(f"{when} {line}")
    assert start(stage) == -9
    assert start(stage) == 0
    record = result(stage)
    assert record.state.ended
    assert stage.running_services() == set(HOLDING)
    assert stage.resets() <= 1
    begun = "--gpu-reset" in line or " start " in line
    assert (stage.resets() == 1) == begun
    assert record.state is (RepairState.SUCCEEDED if begun else RepairState.FAILED), record


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "line", ["modprobe -r -- nvidia_uvm", "modprobe -r -- nvidia", "modprobe -- nvidia", f"systemctl stop -- {DCGM}"]
)
def test_a_reload_killed_in_the_midst_leaves_the_driver_loaded_and_every_service_running(
    stage: Stage, line: str, when: str
) -> None:
    give(stage, RELOAD)
    (stage.state / "crash").write_text(f"{when} {line}")
    assert start(stage) == -9
    assert start(stage) == 0
    assert result(stage).state.ended
    assert stage.running_services() == set(HOLDING)
    modules = {text.split()[0] for text in (stage.state / "modules").read_text().splitlines()}
    assert modules == {"nvidia", "nvidia_uvm", "xfs"}


def test_a_host_that_restarts_in_the_midst_of_a_reset_is_verified_after_boot(stage: Stage) -> None:
    give(stage, RESET)
    (stage.state / "crash").write_text("before nvidia-smi --gpu-reset -i 00000000:1B:00.0")
    assert start(stage) == -9
    assert start(stage, boot_id="boot-two") == 0
    record = result(stage)
    assert record.state is RepairState.SUCCEEDED, record
    assert record.boot_id == BOOT
    assert stage.running_services() == set(HOLDING)


def test_a_reboot_killed_by_the_reboot_is_verified_after_boot_and_not_repeated(stage: Stage) -> None:
    give(stage, {"rung": "REBOOT_HOST"})
    (stage.state / "crash").write_text("after systemctl reboot")
    assert start(stage) == -9
    assert start(stage, boot_id="boot-two") == 0
    record = result(stage)
    assert record.state is RepairState.SUCCEEDED, record
    assert record.checks
    assert stage.log().count("systemctl reboot") == 1


def test_a_reboot_that_does_not_come_is_failed_and_not_repeated(stage: Stage) -> None:
    give(stage, {"rung": "REBOOT_HOST"})
    (stage.state / "crash").write_text("after systemctl reboot")
    assert start(stage) == -9
    assert start(stage) == 0
    record = result(stage)
    assert record.state is RepairState.FAILED
    assert "same boot" in record.message
    assert stage.log().count("systemctl reboot") == 1
