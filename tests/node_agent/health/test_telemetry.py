"""From samples to conditions."""

from dataclasses import replace

import pytest

from node_agent.health.model import Authority, ChangeKind, Rung, Severity
from node_agent.probe.samples import (
    GPU_MISSING,
    BankSpares,
    EccCounts,
    Fabric,
    FabricState,
    GpuSample,
    NvlinkSample,
    PcieLink,
    ReadFailure,
    RecoveryAction,
    RemappedRows,
    RetiredPages,
    ThrottleReason,
    unread,
)
from tests.node_agent.health.host import Host, kinds, uuid
from tests.node_agent.health.samples import batch, sample


def feed(host: Host, seconds: int, *samples: GpuSample, nvml_error: str | None = None) -> None:
    """Feed the same samples once a second."""
    for _ in range(seconds):
        host.clock.advance(1)
        host.observe(batch(host, samples, nvml_error=nvml_error))
        host.take(host.engine.tick())


def test_healthy_gpus_have_no_conditions(host: Host) -> None:
    feed(host, 300, *(sample(index) for index in range(8)))
    assert host.changes == []


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (ThrottleReason.HW_THERMAL_SLOWDOWN, "THERMAL"),
        (ThrottleReason.SW_THERMAL_SLOWDOWN, "THERMAL"),
        (ThrottleReason.HW_SLOWDOWN, "THERMAL"),
        (ThrottleReason.HW_SLOWDOWN | ThrottleReason.HW_POWER_BRAKE_SLOWDOWN, "POWER_BRAKE"),
    ],
)
def test_slowdown_that_lasts_is_a_warning_and_a_peak_is_nothing(host: Host, reason: ThrottleReason, kind: str) -> None:
    slow = replace(sample(0), throttle_reasons=reason)
    for _ in range(20):
        feed(host, 20, slow)
        feed(host, 10, sample(0))
    assert host.changes == []
    feed(host, 70, slow)
    (only,) = host.conditions().values()
    assert (only.kind, only.severity, only.repair) == (kind, Severity.WARNING, None)
    feed(host, 100, sample(0))
    assert len(host.conditions()) == 1
    feed(host, 30, sample(0))
    assert host.conditions() == {}


def test_no_degrees_left_are_heat_too(host: Host) -> None:
    feed(host, 70, replace(sample(0), temperature_margin_celsius=0))
    assert [one.kind for one in host.conditions().values()] == ["THERMAL"]


def test_rows_that_wait_for_a_reset_ask_for_one_and_clear_after_it(host: Host) -> None:
    feed(host, 1, sample(0), sample(1))
    feed(host, 1, replace(sample(0), remapped_rows=RemappedRows(0, 1, pending=True, failure=False)), sample(1))
    assert host.repairs() == {f"gpu/{uuid(0)}/row-remap-pending": "RESET_GPU"}
    assert host.conditions()[f"gpu/{uuid(0)}/row-remap-pending"].severity is Severity.WARNING
    feed(host, 1, sample(0), sample(1))
    assert host.conditions() == {}


def test_row_that_cannot_be_remapped_needs_a_person_and_stays(host: Host) -> None:
    feed(host, 1, replace(sample(0), remapped_rows=RemappedRows(0, 9, pending=False, failure=True)))
    feed(host, 10, sample(0))
    host.take(host.engine.note_repair([uuid(0)], Rung.RESET_GPU, True, host.clock.now()))
    host.take(host.engine.note_boot("a", host.clock.now()))
    host.take(host.engine.note_boot("b", host.clock.now()))
    assert host.repairs() == {f"gpu/{uuid(0)}/row-remap-failed": "QUARANTINE"}


def test_pages_that_wait_and_banks_without_spares(host: Host) -> None:
    feed(host, 1, replace(sample(0), retired_pages=RetiredPages(1, 2, pending=True)))
    feed(host, 1, replace(sample(1), bank_spares=BankSpares(600, 30, 5, 4, 1)))
    conditions = host.conditions()
    assert conditions[f"gpu/{uuid(0)}/retired-pages-pending"].repair is Rung.RESET_GPU
    assert conditions[f"gpu/{uuid(1)}/row-spares"].repair is None


def test_uncorrected_errors_that_grow_ask_for_a_reset(host: Host) -> None:
    feed(host, 2, replace(sample(0), ecc=EccCounts(0, 4, 0, 4)))
    assert host.conditions() == {}, "what was counted before is no news"
    feed(host, 1, replace(sample(0), ecc=EccCounts(0, 5, 0, 5)))
    (only,) = host.conditions().values()
    assert (only.kind, only.repair, only.authority) == ("ECC_UNCORRECTED", Rung.RESET_GPU, Authority.RULE)


def test_uncorrected_errors_and_their_xid_are_one_condition_in_either_order(host: Host) -> None:
    feed(host, 1, sample(0), sample(1))
    host.xid(0, 48)
    grown = [replace(sample(index), ecc=EccCounts(0, 1, 0, 1)) for index in (0, 1)]
    feed(host, 1, *grown)
    host.xid(1, 48)
    assert sorted(host.conditions()) == [f"gpu/{uuid(0)}/xid-48", f"gpu/{uuid(1)}/xid-48"]


def test_corrected_errors_matter_at_a_rate_only(host: Host) -> None:
    for count in range(600):
        feed(host, 1, replace(sample(0), ecc=EccCounts(count // 10, 0, 0, 0)))
    assert host.changes == []
    for count in range(200):
        feed(host, 1, replace(sample(0), ecc=EccCounts(60 + 20 * count, 0, 0, 0)))
    assert [one.kind for one in host.conditions().values()] == ["ECC_CORRECTED_RATE"]
    assert host.repairs() == {}


def test_pcie_falls_back_at_idle_for_good_reason_and_under_load_for_a_bad_one(host: Host) -> None:
    slow = PcieLink(1, 5, 8, 16, 0)
    feed(host, 200, replace(sample(0), utilization_percent=0, pcie=slow))
    assert host.changes == []
    feed(host, 70, replace(sample(0), utilization_percent=90, pcie=slow))
    assert {one.kind for one in host.conditions().values()} == {"PCIE_DEGRADED"}
    assert len(host.conditions()) == 2
    feed(host, 200, replace(sample(0), utilization_percent=0, pcie=slow))
    assert len(host.conditions()) == 2, "idle readings say nothing"
    feed(host, 70, replace(sample(0), utilization_percent=90))
    assert host.conditions() == {}


def test_replays_matter_at_a_rate_only(host: Host) -> None:
    for count in range(300):
        feed(host, 1, replace(sample(0), pcie=PcieLink(5, 5, 16, 16, count // 10)))
    assert host.changes == []
    for count in range(300):
        feed(host, 1, replace(sample(0), pcie=PcieLink(5, 5, 16, 16, 30 + count)))
    assert [one.kind for one in host.conditions().values()] == ["PCIE_REPLAYS"]


def links(*states: bool, errors: int = 0) -> tuple[NvlinkSample, ...]:
    return tuple(NvlinkSample(number, active, crc_errors=errors) for number, active in enumerate(states))


def test_link_that_was_up_and_is_down_asks_for_a_reset(host: Host) -> None:
    feed(host, 3, replace(sample(0), nvlinks=links(True, True, False)))
    feed(host, 20, replace(sample(0), nvlinks=links(True, False, False)))
    assert host.changes == []
    feed(host, 20, replace(sample(0), nvlinks=links(True, False, False)))
    (only,) = host.conditions().values()
    assert (only.id, only.kind, only.repair) == (f"link/{uuid(0)}/nvlink-1/down", "NVLINK_DOWN", Rung.RESET_GPU)
    assert only.gpu_uuid == uuid(0)
    feed(host, 40, replace(sample(0), nvlinks=links(True, True, False)))
    assert host.conditions() == {}


def test_links_are_not_expected_with_mig_nor_while_a_peer_is_lost(host: Host) -> None:
    up = replace(sample(0), nvlinks=links(True, True))
    feed(host, 2, up)
    feed(host, 60, replace(up, nvlinks=links(False, False), mig_enabled=True))
    assert host.changes == []
    host.xid(1, 79)
    feed(host, 60, replace(up, nvlinks=links(True, False)))
    assert list(host.repairs()) == [f"gpu/{uuid(1)}/lost"]


def test_errors_of_a_link_matter_at_a_rate_only(host: Host) -> None:
    for count in range(400):
        feed(host, 1, replace(sample(0), nvlinks=links(True, errors=count)))
    assert host.changes == []
    for count in range(300):
        feed(host, 1, replace(sample(0), nvlinks=links(True, errors=400 + 50 * count)))
    assert [one.kind for one in host.conditions().values()] == ["NVLINK_ERRORS"]


def test_fabric_that_does_not_come_up_asks_for_its_manager(host: Host) -> None:
    waiting = replace(sample(0), fabric=Fabric(FabricState.IN_PROGRESS, 0))
    feed(host, 100, waiting)
    assert host.changes == []
    feed(host, 30, waiting)
    (only,) = host.conditions().values()
    assert (only.repair, only.service) == (Rung.RESTART_SERVICE, "nvidia-fabricmanager.service")
    feed(host, 20, replace(sample(0), fabric=Fabric(FabricState.COMPLETED, 0)))
    assert host.conditions() == {}


def test_lost_gpu_by_nvml_and_by_the_kernel_is_one_condition(host: Host) -> None:
    lost = unread(0, uuid(0), ReadFailure("nvmlDeviceGetHandleByUUID", "GPU_IS_LOST"))
    feed(host, 1, lost, sample(1))
    assert host.conditions() == {}
    feed(host, 1, lost, sample(1))
    assert host.repairs() == {f"gpu/{uuid(0)}/lost": "REBOOT_HOST"}
    host.xid(0, 79)
    feed(host, 100, lost, sample(1))
    assert list(host.conditions()) == [f"gpu/{uuid(0)}/lost"]
    assert len(host.changes) == 1


def test_gpu_that_a_reset_takes_from_the_list_for_some_seconds_is_not_lost(host: Host) -> None:
    gone = unread(0, uuid(0), ReadFailure("nvmlDeviceGetHandleByUUID", GPU_MISSING))
    feed(host, 20, gone)
    feed(host, 5, sample(0))
    assert host.changes == []
    feed(host, 40, gone)
    assert host.repairs() == {f"gpu/{uuid(0)}/lost": "REBOOT_HOST"}


def test_gpu_of_which_nothing_can_be_read_is_a_warning_then_fatal(host: Host) -> None:
    mute = unread(0, uuid(0), ReadFailure("nvmlDeviceGetUtilizationRates", "UNKNOWN"))
    feed(host, 50, mute)
    assert host.changes == []
    feed(host, 20, mute)
    assert host.conditions()[f"gpu/{uuid(0)}/unreadable"].severity is Severity.WARNING
    feed(host, 300, mute)
    assert host.repairs() == {f"gpu/{uuid(0)}/unreadable": "RESET_GPU"}
    feed(host, 70, sample(0))
    assert host.conditions() == {}


def test_gpus_that_the_daemon_let_go_of_are_not_judged(host: Host) -> None:
    lost = tuple(unread(index, uuid(index), ReadFailure("nvmlInit", "UNINITIALIZED")) for index in range(8))
    for error in ("UNINITIALIZED", "PROBE_STARTING", "PROBE_STALLED", "PROBE_DIED"):
        feed(host, 400, *lost, nvml_error=error)
    assert host.changes == []


def test_nvml_that_cannot_be_opened_asks_for_the_driver_to_be_reloaded(host: Host) -> None:
    feed(host, 100, nvml_error="DRIVER_NOT_LOADED")
    assert host.changes == []
    feed(host, 30, nvml_error="DRIVER_NOT_LOADED")
    assert host.repairs() == {"host/driver/nvml": "RELOAD_DRIVER"}


def test_host_without_gpus_needs_no_nvml() -> None:
    host = Host(gpus=0)
    feed(host, 600, nvml_error="LIBRARY_NOT_FOUND")
    assert host.changes == []


@pytest.mark.parametrize(
    ("action", "repair"),
    [
        (RecoveryAction.GPU_RESET, "RESET_GPU"),
        (RecoveryAction.NODE_REBOOT, "REBOOT_HOST"),
        (RecoveryAction.DRAIN_AND_RESET, "RESET_GPU"),
        (RecoveryAction.UNKNOWN, "QUARANTINE"),
    ],
)
def test_recovery_action_that_nvml_states_is_obeyed_and_withdrawn(
    host: Host, action: RecoveryAction, repair: str
) -> None:
    feed(host, 30, replace(sample(0), recovery_action=action))
    assert host.repairs() == {f"gpu/{uuid(0)}/recovery-action": repair}
    assert len(host.changes) == 1
    feed(host, 1, sample(0))
    assert kinds(host.changes) == [ChangeKind.RAISED, ChangeKind.CLEARED]


def test_recovery_action_that_nvml_states_wins_over_the_catalogue(host: Host) -> None:
    host.xid(0, 119)
    feed(host, 600, replace(sample(0), recovery_action=RecoveryAction.NODE_REBOOT))
    assert host.repairs() == {f"gpu/{uuid(0)}/xid-119": "REBOOT_HOST"}
    assert host.conditions()[f"gpu/{uuid(0)}/xid-119"].authority is Authority.DRIVER
    assert kinds(host.changes) == [ChangeKind.RAISED, ChangeKind.CHANGED]


def test_recovery_action_none_does_not_overrule_the_catalogue(host: Host) -> None:
    host.xid(0, 119)
    feed(host, 100, replace(sample(0), recovery_action=RecoveryAction.NONE))
    assert host.repairs() == {f"gpu/{uuid(0)}/xid-119": "RESET_GPU"}


def test_memory_that_nobody_holds_is_worth_knowing(host: Host) -> None:
    held = replace(sample(0), memory_used_bytes=30 << 30, processes=())
    feed(host, 310, held)
    (only,) = host.conditions().values()
    assert (only.kind, only.severity, only.repair) == ("MEMORY_HELD", Severity.INFO, None)


def test_state_that_comes_and_goes_stays_and_stops_the_ladder(host: Host) -> None:
    pending = replace(sample(0), remapped_rows=RemappedRows(0, 1, pending=True, failure=False))
    for _ in range(5):
        feed(host, 5, pending)
        feed(host, 5, sample(0))
    assert host.conditions() == {}
    feed(host, 5, pending)
    feed(host, 500, sample(0))
    (only,) = host.conditions().values()
    assert only.sticky
    assert only.repair is None
    assert "flaps" in only.summary
    host.take(host.engine.clear(only.id, "ada", host.clock.now()))
    feed(host, 5, pending)
    assert host.repairs() == {f"gpu/{uuid(0)}/row-remap-pending": "RESET_GPU"}
