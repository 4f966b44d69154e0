"""From lines of the kernel to conditions."""

import pytest

from node_agent.health.model import Authority, ChangeKind, JobOnGpu, Rung, Scope, Severity, Source
from node_agent.probe.observations import NvmlXid
from tests.node_agent.health.host import Host, kinds, pci, uuid


def test_lost_gpu_asks_for_a_reboot_by_the_catalogue(host: Host) -> None:
    told = host.xid(2, 79, rest="GPU has fallen off the bus.")
    assert kinds(told) == [ChangeKind.RAISED]
    lost = told[0].condition
    assert (lost.id, lost.kind, lost.severity) == (f"gpu/{uuid(2)}/lost", "GPU_LOST", Severity.FATAL)
    assert (lost.repair, lost.authority, lost.vendor_action) == (Rung.REBOOT_HOST, Authority.CATALOGUE, "RESTART_BM")
    assert lost.sticky
    assert lost.evidence[0].source is Source.KERNEL
    assert "79" in lost.evidence[0].text


def test_fallen_off_the_bus_without_a_code_and_xid_79_are_one_condition(host: Host) -> None:
    host.kernel(f"NVRM: GPU {pci(1)}: GPU has fallen off the bus.")
    host.xid(1, 79, rest="GPU has fallen off the bus.")
    assert list(host.conditions()) == [f"gpu/{uuid(1)}/lost"]
    assert host.conditions()[f"gpu/{uuid(1)}/lost"].count == 2


def test_what_a_lost_gpu_prints_afterwards_is_no_condition_of_its_own(host: Host) -> None:
    host.xid(0, 79, rest="GPU has fallen off the bus.")
    for code in (45, 119, 31, 62, 13):
        host.xid(0, code, pid=7)
    assert list(host.conditions()) == [f"gpu/{uuid(0)}/lost"]
    assert host.engine.consequences(uuid(0), 119) == 1
    assert any("119" in one.text for one in host.conditions()[f"gpu/{uuid(0)}/lost"].evidence)


def test_driver_that_states_a_reset_wins_over_the_catalogue_s_reboot(host: Host) -> None:
    host.xid(0, 79, rest="GPU has fallen off the bus.")
    told = host.xid(0, 154, rest="GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)")
    lost = host.conditions()[f"gpu/{uuid(0)}/lost"]
    assert (lost.repair, lost.authority) == (Rung.RESET_GPU, Authority.DRIVER)
    assert kinds(told) == [ChangeKind.CHANGED]
    assert len(host.conditions()) == 1


def test_statement_that_comes_first_decides_the_repair_of_the_fault_that_follows(host: Host) -> None:
    host.xid(0, 154, rest="GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)")
    assert host.repairs() == {f"gpu/{uuid(0)}/recovery-action": "REBOOT_HOST"}
    host.xid(0, 119)
    assert host.repairs() == {f"gpu/{uuid(0)}/xid-119": "REBOOT_HOST"}
    assert host.conditions()[f"gpu/{uuid(0)}/xid-119"].authority is Authority.DRIVER


def test_statement_stands_against_repeats_of_the_fault(host: Host) -> None:
    host.xid(0, 119)
    host.xid(0, 154, rest="GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)")
    host.wait(5)
    assert host.xid(0, 119) == []
    assert host.repairs() == {f"gpu/{uuid(0)}/xid-119": "REBOOT_HOST"}


def test_words_of_a_statement_that_are_not_known_need_a_person(host: Host) -> None:
    host.xid(0, 154, rest="GPU recovery action changed from 0x0 (None) to 0x9 (Replace Fan)")
    assert host.repairs() == {f"gpu/{uuid(0)}/recovery-action": "QUARANTINE"}


def test_withdrawn_statement_clears_its_condition(host: Host) -> None:
    host.xid(0, 154, rest="GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)")
    told = host.xid(0, 154, rest="GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)")
    assert kinds(told) == [ChangeKind.CLEARED]
    assert host.conditions() == {}


@pytest.mark.parametrize("code", [43, 45])
def test_torn_down_application_alone_is_no_fault(host: Host, code: int) -> None:
    host.xid(0, code, pid=7)
    (only,) = host.conditions().values()
    assert (only.severity, only.repair) == (Severity.INFO, None)


@pytest.mark.parametrize("code", [43, 45])
def test_torn_down_application_after_another_xid_is_only_counted(host: Host, code: int) -> None:
    host.xid(0, 31, pid=7)
    host.clock.advance(1)
    assert host.xid(0, code, pid=7) == []
    assert list(host.conditions()) == [f"gpu/{uuid(0)}/xid-31"]
    assert host.engine.consequences(uuid(0), code) == 1


def test_torn_down_application_on_other_gpus_of_its_job_is_only_counted(host: Host) -> None:
    host.engine.set_jobs({uuid(i): JobOnGpu("j-1", "a-1") for i in range(8)})
    host.xid(0, 48)
    for index in range(8):
        host.xid(index, 45, pid=100 + index)
    assert list(host.conditions()) == [f"gpu/{uuid(0)}/xid-48"]


def test_torn_down_application_long_after_another_xid_is_its_own_news(host: Host) -> None:
    host.xid(0, 31, pid=7)
    host.clock.advance(host.rules.consequence_seconds + 1)
    host.xid(0, 45, pid=8)
    assert f"gpu/{uuid(0)}/xid-45" in host.conditions()


def test_application_fault_after_a_memory_error_is_its_consequence(host: Host) -> None:
    host.xid(0, 95)
    host.xid(0, 31, pid=7)
    assert list(host.conditions()) == [f"gpu/{uuid(0)}/xid-95"]


def test_contained_memory_error_lowers_the_double_bit_error(host: Host) -> None:
    host.xid(0, 48)
    assert host.conditions()[f"gpu/{uuid(0)}/xid-48"].severity is Severity.FATAL
    host.xid(0, 94, pid=7)
    conditions = host.conditions()
    assert conditions[f"gpu/{uuid(0)}/xid-48"].severity is Severity.WARNING
    assert conditions[f"gpu/{uuid(0)}/xid-48"].repair is Rung.RESET_GPU
    assert (conditions[f"gpu/{uuid(0)}/xid-94"].severity, conditions[f"gpu/{uuid(0)}/xid-94"].repair) == (
        Severity.WARNING,
        None,
    )
    assert all(one.severity < Severity.FATAL for one in conditions.values())


def test_storm_of_contained_errors_does_not_go_back_and_forth(host: Host) -> None:
    for _ in range(50):
        host.xid(0, 48)
        host.xid(0, 94, pid=7)
        host.clock.advance(2)
    assert len([one for one in host.changes if one.kind is ChangeKind.CHANGED]) <= 4


def test_uncontained_memory_error_asks_for_a_reset(host: Host) -> None:
    host.xid(0, 48)
    host.xid(0, 95)
    assert host.repairs() == {f"gpu/{uuid(0)}/xid-48": "RESET_GPU", f"gpu/{uuid(0)}/xid-95": "RESET_GPU"}
    assert {one.severity for one in host.conditions().values()} == {Severity.FATAL}


def test_details_of_a_double_bit_error_are_part_of_it(host: Host) -> None:
    host.xid(0, 48)
    host.xid(0, 171)
    assert list(host.conditions()) == [f"gpu/{uuid(0)}/xid-48"]


def test_xid_that_the_catalogue_does_not_have_is_surfaced(host: Host) -> None:
    host.xid(0, 9999)
    (only,) = host.conditions().values()
    assert (only.severity, only.repair, only.code) == (Severity.WARNING, None, 9999)


def test_xid_of_a_gpu_that_is_not_in_the_inventory_proposes_no_repair(host: Host) -> None:
    host.kernel("NVRM: Xid (PCI:0000:ee:00): 119, pid=7, name=x, Timeout")
    host.kernel("NVRM: Xid (PCI:0000:ef:00): 79, pid=7, name=x, GPU has fallen off the bus.")
    assert host.repairs() == {}
    assert len(host.conditions()) == 2


@pytest.mark.parametrize(
    ("registers", "severity", "repair"),
    [
        ("0x0, 0x0, 0x10000, 0x0, 0x0, 0x0, 0x0", Severity.FATAL, Rung.RESET_GPU),
        ("0x1, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0", Severity.INFO, None),
        ("0x2, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0", Severity.WARNING, None),
        ("0x200000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0", Severity.WARNING, None),
        ("0x10, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0", Severity.WARNING, None),
        ("0x100, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0", Severity.FATAL, Rung.RESET_GPU),
    ],
)
def test_registers_of_xid_74_decide(host: Host, registers: str, severity: Severity, repair: Rung | None) -> None:
    host.xid(0, 74, rest=f"NVLink: fatal error detected on link 6({registers})")
    (only,) = host.conditions().values()
    assert (only.scope, only.id) == (Scope.LINK, f"link/{uuid(0)}/nvlink-6/xid-74")
    assert (only.severity, only.repair, only.gpu_uuid) == (severity, repair, uuid(0))


def test_third_parity_error_of_a_link_is_a_defect(host: Host) -> None:
    for _ in range(3):
        host.xid(0, 74, rest="NVLink: fatal error detected on link 6(0x10, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)")
        host.clock.advance(100)
    assert host.repairs() == {f"link/{uuid(0)}/nvlink-6/xid-74": "QUARANTINE"}


def test_links_that_a_lost_gpu_takes_down_propose_no_repair(host: Host) -> None:
    host.xid(0, 79, rest="GPU has fallen off the bus.")
    host.xid(1, 74, rest="NVLink: fatal error detected on link 6(0x0, 0x0, 0x10000, 0x0, 0x0, 0x0, 0x0)")
    assert list(host.repairs()) == [f"gpu/{uuid(0)}/lost"]


def test_codes_of_nvlink_5_decide(host: Host) -> None:
    host.xid(0, 149, rest="NETIR_LINK_EVT Fatal XC0 i0 Link 08 (0x000004d1 0x00000000 0x0 0x0 0x0 0x0 0x0)")
    host.xid(1, 145, rest="RLW_REMAP Nonfatal XC0 i0 Link 03 (0x00000004 0x80000000 0x0 0x0 0x0 0x0 0x0)")
    conditions = host.conditions()
    link = conditions[f"link/{uuid(0)}/nvlink-8/xid-149"]
    assert (link.severity, link.repair) == (Severity.FATAL, Rung.RESET_GPU)
    assert conditions[f"link/{uuid(1)}/nvlink-3/xid-145"].repair is None


def test_same_fault_on_all_gpus_at_once_is_one_of_the_driver(host: Host) -> None:
    for index in range(8):
        host.xid(index, 119)
    conditions = host.conditions()
    assert conditions["host/driver/xid-119"].repair is Rung.RELOAD_DRIVER
    assert {one.repair for one in conditions.values()} == {Rung.RELOAD_DRIVER}
    host.wait(5)
    told = [one for index in range(8) for one in host.xid(index, 119)]
    assert {one.condition.repair for one in told} <= {Rung.RELOAD_DRIVER}
    assert {one.repair for one in host.conditions().values()} == {Rung.RELOAD_DRIVER}


def test_same_fault_on_two_of_eight_gpus_is_two_faults(host: Host) -> None:
    for index in range(2):
        host.xid(index, 119)
    assert set(host.repairs().values()) == {"RESET_GPU"}
    assert "host/driver/xid-119" not in host.conditions()


def test_storm_of_identical_lines_is_one_condition_and_a_handful_of_events(host: Host) -> None:
    for _ in range(100):
        for _ in range(1000):
            host.xid(0, 95)
        host.clock.advance(0.1)
    (only,) = host.conditions().values()
    assert only.count == 100_000
    assert len(host.changes) == 1 + 5
    assert [change.condition.count for change in host.changes] == [1, 10, 100, 1000, 10_000, 100_000]
    assert len(only.evidence) <= 8


def test_condition_that_is_only_worth_knowing_ends_by_silence(host: Host) -> None:
    host.xid(0, 13, pid=7)
    assert host.wait(host.rules.info_clear_seconds - 5, step=5) == []
    assert kinds(host.wait(10)) == [ChangeKind.CLEARED]


def test_fatal_fault_never_ends_by_silence(host: Host) -> None:
    host.xid(0, 119)
    assert host.wait(7 * 86400, step=3600) == []
    assert len(host.conditions()) == 1


def test_xid_that_only_nvml_told_of_becomes_a_condition(host: Host) -> None:
    host.observe(NvmlXid(119, uuid(3), pci(3), None, host.clock.now()))
    assert host.conditions() == {}
    host.wait(3)
    (only,) = host.conditions().values()
    assert (only.id, only.evidence[0].source) == (f"gpu/{uuid(3)}/xid-119", Source.NVML)


def test_xid_that_nvml_and_the_kernel_told_of_counts_once(host: Host) -> None:
    host.observe(NvmlXid(119, uuid(3), pci(3), None, host.clock.now()))
    host.xid(3, 119)
    host.wait(3)
    (only,) = host.conditions().values()
    assert only.count == 1
