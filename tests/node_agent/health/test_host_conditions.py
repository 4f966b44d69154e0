"""From reports on the host, faults that the kernel prints and probes that hang to conditions."""

import pytest

from node_agent.health.model import ChangeKind, Rung, Scope, Severity
from node_agent.probe.observations import HostFinding, HostReport, KernelLoss, ProbeStall, Standing
from tests.node_agent.health.host import Host, kinds, pci, uuid


def report(host: Host, finding: HostFinding, subject: str, standing: Standing, *, gpu_uuid: str = "") -> HostReport:
    return HostReport(finding, subject, standing, f"{subject} is {standing.value}", host.clock.now(), gpu_uuid)


@pytest.mark.parametrize(
    ("finding", "subject", "condition_id", "kind", "severity", "repair"),
    [
        (HostFinding.DISK_SPACE, "/", "host/disk/root", "DISK_FULL", Severity.FATAL, None),
        (HostFinding.DISK_SPACE, "/var/lib", "host/disk/var-lib", "DISK_FULL", Severity.FATAL, None),
        (HostFinding.INODES, "/var", "host/inodes/var", "INODES_FULL", Severity.FATAL, None),
        (HostFinding.READ_ONLY, "/", "host/read-only/root", "READ_ONLY", Severity.FATAL, Rung.REBOOT_HOST),
        (
            HostFinding.SERVICE,
            "nvidia-fabricmanager.service",
            "host/service/nvidia-fabricmanager.service",
            "SERVICE_DOWN",
            Severity.FATAL,
            Rung.RESTART_SERVICE,
        ),
        (
            HostFinding.SERVICE,
            "nvidia-persistenced",
            "host/service/nvidia-persistenced",
            "SERVICE_DOWN",
            Severity.WARNING,
            Rung.RESTART_SERVICE,
        ),
        (HostFinding.PORT, "mlx5_0/1", "link/mlx5_0-1", "PORT_DOWN", Severity.WARNING, None),
        (HostFinding.PORT_ERRORS, "mlx5_0/1", "link/mlx5_0-1/errors", "PORT_ERRORS", Severity.WARNING, None),
        (HostFinding.CLOCK_DRIFT, "", "host/clock/root", "CLOCK_DRIFT", Severity.WARNING, None),
        (HostFinding.MEMORY, "", "host/memory/root", "MEMORY_FULL", Severity.WARNING, None),
        (HostFinding.DCGM, "exporter", "host/dcgm/exporter", "DCGM_UNAVAILABLE", Severity.WARNING, None),
        (HostFinding.CUSTOM, "nccl", "host/check/nccl", "CUSTOM", Severity.FATAL, None),
    ],
)
def test_bad_report_becomes_a_condition_and_a_good_one_ends_it(
    host: Host,
    finding: HostFinding,
    subject: str,
    condition_id: str,
    kind: str,
    severity: Severity,
    repair: Rung | None,
) -> None:
    host.observe(report(host, finding, subject, Standing.BAD))
    host.wait(70)
    only = host.conditions()[condition_id]
    assert (only.kind, only.severity, only.repair) == (kind, severity, repair)
    if finding is HostFinding.SERVICE:
        assert only.service == subject
    host.observe(report(host, finding, subject, Standing.GOOD))
    host.wait(70)
    assert host.conditions() == {}
    assert kinds(host.changes) == [ChangeKind.RAISED, ChangeKind.CLEARED]


def test_service_that_comes_back_by_itself_is_no_condition(host: Host) -> None:
    host.observe(report(host, HostFinding.SERVICE, "nvidia-dcgm", Standing.BAD))
    host.wait(10)
    host.observe(report(host, HostFinding.SERVICE, "nvidia-dcgm", Standing.GOOD))
    host.wait(100)
    assert host.changes == []


def test_warning_that_becomes_bad_is_told_as_a_change(host: Host) -> None:
    host.observe(report(host, HostFinding.DISK_SPACE, "/", Standing.WARNING))
    host.observe(report(host, HostFinding.DISK_SPACE, "/", Standing.BAD))
    host.observe(report(host, HostFinding.DISK_SPACE, "/", Standing.WARNING))
    assert [(one.kind, one.condition.severity) for one in host.changes] == [
        (ChangeKind.RAISED, Severity.WARNING),
        (ChangeKind.CHANGED, Severity.FATAL),
        (ChangeKind.CHANGED, Severity.WARNING),
    ]


def test_disk_that_is_full_again_and_again_stays_and_quarantines_nothing(host: Host) -> None:
    for _ in range(6):
        host.observe(report(host, HostFinding.DISK_SPACE, "/", Standing.BAD))
        host.wait(60)
        host.observe(report(host, HostFinding.DISK_SPACE, "/", Standing.GOOD))
        host.wait(60)
    (only,) = host.conditions().values()
    assert only.sticky
    assert "flaps" in only.summary
    assert host.repairs() == {}


def test_unknown_standing_changes_nothing(host: Host) -> None:
    host.observe(report(host, HostFinding.DISK_SPACE, "/", Standing.BAD))
    host.observe(report(host, HostFinding.DISK_SPACE, "/", Standing.UNKNOWN))
    host.wait(100)
    assert list(host.conditions()) == ["host/disk/root"]


def test_check_of_the_operator_can_be_about_a_gpu(host: Host) -> None:
    host.observe(report(host, HostFinding.CUSTOM, "gemm", Standing.BAD, gpu_uuid=uuid(4)))
    (only,) = host.conditions().values()
    assert (only.scope, only.gpu_uuid, only.severity) == (Scope.GPU, uuid(4), Severity.FATAL)


def test_killed_process_and_lost_lines_are_only_worth_knowing(host: Host) -> None:
    for pid in range(50):
        host.kernel(f"Out of memory: Killed process {1000 + pid} (python3) total-vm:1kB, anon-rss:1kB")
    host.observe(KernelLoss(300, host.clock.now()))
    assert {one.severity for one in host.conditions().values()} == {Severity.INFO}
    assert host.conditions()["host/oom-kill"].count == 50
    host.wait(700, step=10)
    assert host.conditions() == {}


def hang(host: Host) -> None:
    host.kernel("INFO: task nvidia-smi:4242 blocked for more than 120 seconds.")


def test_task_that_hangs_in_the_driver_once_is_a_warning_and_twice_is_fatal(host: Host) -> None:
    hang(host)
    only = host.conditions()["host/driver/hung"]
    assert (only.severity, only.repair, only.process_ids) == (Severity.WARNING, None, (4242,))
    host.clock.advance(120)
    hang(host)
    only = host.conditions()["host/driver/hung"]
    assert (only.severity, only.repair, only.sticky) == (Severity.FATAL, Rung.RELOAD_DRIVER, True)


def test_task_that_hangs_elsewhere_asks_for_nothing(host: Host) -> None:
    for _ in range(5):
        host.kernel("INFO: task kworker/3:1:99 blocked for more than 120 seconds.")
        host.clock.advance(120)
    assert host.repairs() == {}


def stall(host: Host, *, ended: bool = False, probe: str = "nvml") -> None:
    host.observe(ProbeStall(probe, 5.0, host.clock.now(), ended, "nvmlDeviceGetPowerUsage"))


def test_probe_that_hung_once_is_a_warning_that_ends_when_it_answers(host: Host) -> None:
    stall(host)
    (only,) = host.conditions().values()
    assert (only.id, only.severity, only.repair) == ("host/probe/nvml/stalled", Severity.WARNING, None)
    stall(host, ended=True)
    host.wait(5)
    stall(host, ended=True)
    host.wait(60)
    stall(host, ended=True)
    assert host.conditions() == {}


def test_probe_that_hangs_again_and_again_asks_for_the_driver_to_be_reloaded(host: Host) -> None:
    for _ in range(3):
        stall(host)
        host.wait(20)
    only = host.conditions()["host/probe/nvml/stalled"]
    assert (only.severity, only.repair) == (Severity.FATAL, Rung.RELOAD_DRIVER)
    assert "nvmlDeviceGetPowerUsage" in only.evidence[0].text


def test_tasks_and_probe_that_hang_together_ask_for_a_reboot(host: Host) -> None:
    stall(host)
    hang(host)
    assert host.repairs() == {"host/driver/hung": "REBOOT_HOST"}


def test_dcgm_that_hangs_is_never_fatal(host: Host) -> None:
    for _ in range(10):
        stall(host, probe="dcgm")
        host.wait(20)
    assert {one.severity for one in host.conditions().values()} == {Severity.WARNING}
    assert host.repairs() == {}


def test_corrected_errors_of_a_bus_matter_at_a_rate_only(host: Host) -> None:
    line = f"pcieport 0000:00:01.0: AER: Corrected error received: {pci(2)}"
    host.kernel(line)
    (only,) = host.conditions().values()
    assert (only.severity, only.gpu_uuid, only.scope) == (Severity.INFO, uuid(2), Scope.GPU)
    for _ in range(120):
        host.kernel(line)
    (only,) = host.conditions().values()
    assert (only.severity, only.repair) == (Severity.WARNING, None)


def test_errors_of_the_bus_of_a_lost_gpu_are_part_of_its_loss(host: Host) -> None:
    host.xid(2, 79)
    host.kernel(f"pcieport 0000:00:01.0: AER: Uncorrectable (Fatal) error message received from {pci(2)}")
    assert list(host.conditions()) == [f"gpu/{uuid(2)}/lost"]


def test_uncorrected_memory_errors_of_the_host_need_a_person_at_the_third(host: Host) -> None:
    for number in range(3):
        assert host.repairs() == {}, f"after {number}"
        host.kernel("EDAC MC0: 1 UE memory read error on CPU_SrcID#0 (channel:0 slot:0 page:0x1 offset:0x0)")
        host.clock.advance(100)
    assert set(host.repairs().values()) == {"QUARANTINE"}


def test_corrected_memory_errors_of_the_host_are_only_worth_knowing(host: Host) -> None:
    for _ in range(20):
        host.kernel("EDAC MC0: 1 CE memory read error on CPU_SrcID#0 (channel:0 slot:0 page:0x1 offset:0x0)")
    assert {one.severity for one in host.conditions().values()} == {Severity.INFO}


def test_disks_and_file_systems_with_errors_are_warnings(host: Host) -> None:
    host.kernel("nvme nvme0: I/O 12 QID 3 timeout, aborting")
    host.kernel("EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm x: reading directory lblock 0")
    assert {one.severity for one in host.conditions().values()} == {Severity.WARNING}
    assert host.repairs() == {}
