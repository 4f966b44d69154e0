"""Whether a fault of its host has ended a member."""

from dataclasses import replace
from datetime import timedelta

import pytest

from control_plane.fleet.faults import fault_of
from control_plane.model.health import Condition, ConditionSeverity
from control_plane.model.job import AllocationMember, AllocationState, ExitReason
from control_plane.model.repair import Rung
from tests.control_plane.clinic import condition
from tests.control_plane.fleet.values import NOW, member

DEAD: AllocationMember = replace(
    member(0), state=AllocationState.ENDED, exit_reason=ExitReason.EXITED, exit_code=1, ended_at=NOW
)
GPU = DEAD.gpu_uuids[0]


def fault(seconds: float = 0.0, **changes: object) -> Condition:
    return condition("x", NOW + timedelta(seconds=seconds), gpu_uuid=GPU, code=79, **changes)  # type: ignore[arg-type] # as there


@pytest.mark.parametrize(("seconds", "blamed"), [(-121, False), (-119, True), (0, True), (29, True), (31, False)])
def test_a_fault_counts_only_around_the_end(seconds: float, blamed: bool) -> None:
    assert (fault_of(DEAD, [fault(seconds)]) is not None) == blamed


@pytest.mark.parametrize("code", [13, 31, 43, 45])
def test_a_fault_that_programs_bring_about_is_the_jobs_own(code: int) -> None:
    assert fault_of(DEAD, [replace(fault(), code=code)]) is None


def test_only_what_is_fatal_and_on_its_gpus_or_of_its_whole_host_counts() -> None:
    assert fault_of(DEAD, [fault(severity=ConditionSeverity.WARNING)]) is None
    assert fault_of(DEAD, [replace(fault(), gpu_uuid="GPU-other")]) is None
    assert fault_of(DEAD, [replace(fault(), gpu_uuid="", repair=Rung.REBOOT_HOST)]) is not None
    assert fault_of(DEAD, [replace(fault(), gpu_uuid="", kind="DISK_FULL", repair=None)]) is None
    assert fault_of(replace(DEAD, gpu_uuids=()), [replace(fault(), gpu_uuid="")]) is None


def test_a_fault_that_was_there_for_long_counts_if_it_was_seen_again_at_the_end() -> None:
    assert fault_of(DEAD, [replace(fault(-3600), last_seen_at=NOW)]) is not None


def test_the_earliest_fault_is_told() -> None:
    first = replace(fault(-5), id="first")
    assert fault_of(DEAD, [fault(), first]) is first
