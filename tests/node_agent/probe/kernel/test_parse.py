import pytest

from node_agent.probe.kernel.parse import KernelParser, may_matter
from node_agent.probe.observations import (
    KernelFault,
    StatedAction,
    SxidReport,
    XidReport,
)
from tests.node_agent.probe.kernel.lines import fault, feed, line, xid


def test_an_xid_keeps_its_line_process_and_detail() -> None:
    text = "NVRM: Xid (PCI:0000:cb:00): 109, pid=1797828, name=pt_main_thread, Ch 00000008, errorString CTX SWITCH"
    report = xid(text)
    assert report.line == line(text, 0)
    assert (report.code, report.pci_bus_id, report.pid) == (109, "0000:cb:00.0", 1797828)
    assert (report.process_name, report.detail) == ("pt_main_thread", "Ch 00000008, errorString CTX SWITCH")
    assert (report.stated_action, report.nvlink, report.implied) == (None, None, False)


@pytest.mark.parametrize(
    ("process", "pid", "name"),
    [
        ("pid='<unknown>', name=<unknown>, ", None, ""),
        ("pid=7, name=ray::WorkerDict, ", 7, "ray::WorkerDict"),
        ("pid=7, name=nvc:[driver], ", 7, "nvc:[driver]"),
        ("pid=7, name=kworker/u8:2, ", 7, "kworker/u8:2"),
        ("pid=7, ", 7, ""),
        ("pid=99999999999, name=x, ", None, "x"),
        ("", None, ""),
    ],
)
def test_processes_are_read_in_all_their_forms(process: str, pid: int | None, name: str) -> None:
    report = xid(f"NVRM: Xid (PCI:0000:3b:00): 31, {process}Ch 00000008, intr 00000000")
    assert (report.pid, report.process_name, report.detail) == (pid, name, "Ch 00000008, intr 00000000")


@pytest.mark.parametrize(
    ("words", "action"),
    [
        ("from 0x0 (None) to 0x1 (GPU Reset Required)", StatedAction.GPU_RESET),
        ("from 0x0 (None) to 0x2 (Node Reboot Required)", StatedAction.NODE_REBOOT),
        ("from 0x1 (GPU Reset Required) to 0x0 (None)", StatedAction.NONE),
        ("from 0x0 (None) to 0x3 (Drain P2P)", StatedAction.DRAIN_P2P),
        ("from 0x0 (None) to 0x4 (Drain and Reset)", StatedAction.DRAIN_AND_RESET),
        ("from 0x0 to 0x2", StatedAction.NODE_REBOOT),
        ("from 0x0 (None) to 0x5 (Recover IMEX Domain)", StatedAction.UNKNOWN),
        ("from 0x0 (None) to 0x9", StatedAction.UNKNOWN),
        ("(", StatedAction.UNKNOWN),
    ],
)
def test_xid_154_states_the_action_it_arrives_at(words: str, action: StatedAction) -> None:
    report = xid(f"NVRM: Xid (PCI:0008:01:00): 154, GPU recovery action changed {words}")
    assert report.stated_action is action


def test_nvlink_errors_are_decoded() -> None:
    report = xid(
        "NVRM: Xid (PCI:0018:01:00): 149, pid=922932, name=a:b, NETIR_LINK_EVT  Fatal   XC0 i1 Link 09 "
        "(0x025525c6 0x00000000 0x00000000 0x00000000 0x00000000 0x00000000)",
        "570.148.08",
    )
    assert report.nvlink is not None
    assert (report.nvlink.unit, report.nvlink.link, report.nvlink.severity) == ("NETIR_LINK_EVT", 9, "Fatal")
    assert (report.nvlink.intrinfo, report.nvlink.error_status) == (0x025525C6, 0)
    assert report.nvlink.injected
    assert report.nvlink.vendor_action == "RESET_GPU"


@pytest.mark.parametrize("unit", ["TLW_RX/TLW_RX_PIPE0", "MSE Degraded", "NVLPW_CTRL/NVLPW"])
def test_units_with_slashes_and_blanks_are_read(unit: str) -> None:
    report = xid(f"NVRM: Xid (PCI:0018:01:00): 146, {unit} Nonfatal XC0 i0 Link -1 (0x0000000a 0x00000001)")
    assert report.nvlink is not None
    assert (report.nvlink.unit, report.nvlink.link, report.nvlink.severity) == (unit, None, "Nonfatal")


def test_a_cut_nvlink_line_is_still_an_xid() -> None:
    report = xid("NVRM: Xid (PCI:0018:01:00): 149, NETIR Fatal XC0 i0 Link -1 (0x000fe406")
    assert (report.code, report.nvlink) == (149, None)


def test_a_driver_version_that_becomes_known_changes_how_the_same_line_decodes() -> None:
    text = "NVRM: Xid (PCI:0000:00:08.0): 145, RLW_REMAP Nonfatal XC1 i0 Link 10 (0x00000004 0x00000040 0x0)"
    parser = KernelParser("570.148.08")
    actions = []
    for version in ("570.148.08", "580.105.08"):
        parser.driver_version = version
        (report,) = parser.feed(line(text))
        assert isinstance(report, XidReport)
        assert report.nvlink is not None
        actions.append(report.nvlink.vendor_action)
    assert actions == ["", "RESET_GPU"]


@pytest.mark.parametrize(
    ("detail", "fatal", "link"),
    [
        ("Fatal, Link 30 LTSSM Fault Up", True, 30),
        ("Non-fatal, Link 46 MC TS crumbstore MCTO (First)", False, 46),
        ("Correctable, Link 02 something", False, 2),
        ("Severity 1 Engine instance 46 Sub-engine instance 00", True, None),
        ("Severity 0 Engine instance 46 Sub-engine instance 00", False, None),
        ("Data {0x50610002, 0x10100030}", None, None),
        ("SOE HALTED", None, None),
    ],
)
def test_an_sxid_says_whether_it_is_fatal_and_which_link_it_is_about(
    detail: str, fatal: bool | None, link: int | None
) -> None:
    (report,) = feed(f"nvidia-nvswitch0: SXid (PCI:0000:c3:00.0): 20034, {detail}")
    assert isinstance(report, SxidReport)
    assert (report.code, report.pci_bus_id, report.fatal, report.link) == (20034, "0000:c3:00.0", fatal, link)
    assert report.detail == detail


def test_a_gpu_off_the_bus_without_a_code_is_an_implied_xid_79() -> None:
    report = xid("NVRM: GPU 0000:29:00.0: GPU has fallen off the bus.")
    assert (report.code, report.pci_bus_id, report.implied) == (79, "0000:29:00.0", True)


def test_a_gpu_named_on_an_earlier_line_is_the_one_off_the_bus() -> None:
    (report,) = feed(
        "NVRM: The NVIDIA GPU 0000:18:00.0",
        "NVRM: (PCI ID: 10de:2901) installed in this system has",
        "usb 1-1: something else in between",
        "NVRM: fallen off the bus and is not responding to commands.",
    )
    assert isinstance(report, XidReport)
    assert (report.code, report.pci_bus_id, report.implied) == (79, "0000:18:00.0", True)


def test_a_gpu_named_long_ago_is_not_blamed() -> None:
    parser = KernelParser()
    assert parser.feed(line("NVRM: The NVIDIA GPU 0000:18:00.0", 10)) == []
    assert parser.feed(line("NVRM: fallen off the bus and is not responding to commands.", 1_000)) == []


def test_a_line_that_only_quotes_the_driver_reports_nothing() -> None:
    assert feed("exporter[12]: NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.") == []


FAULTS = [
    (
        "Memory cgroup out of memory: Killed process 12535 (python3) total-vm:217316kB, anon-rss:65024kB",
        (KernelFault.OOM_KILL, "python3", False, 12535),
    ),
    (
        "Out of memory: Killed process 99 ((sd-pam)) total-vm:1kB, anon-rss:2kB",
        (KernelFault.OOM_KILL, "(sd-pam)", False, 99),
    ),
    ("Killed process 812 (java) total-vm:1kB, anon-rss:2kB", (KernelFault.OOM_KILL, "java", False, 812)),
    (
        "watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [nvidia-smi:1234]",
        (KernelFault.HUNG_TASK, "nvidia-smi", False, 1234),
    ),
    (
        "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_MC#0_Chan#0_DIMM#0 (channel:0 slot:0 page:0x1)",
        (KernelFault.EDAC, "MC0", True, None),
    ),
    ("EDAC MC1: 1 UE memory read error on DIMM_A1", (KernelFault.EDAC, "MC1", False, None)),
    ("EDAC skx MC2: 3 CE on channel 1", (KernelFault.EDAC, "MC2", True, None)),
    (
        "mce: Uncorrected hardware memory error in user-access at 1234000",
        (KernelFault.EDAC, "memory", False, None),
    ),
    (
        "pcieport 0000:00:01.0: AER: Corrected error received: 0000:01:00.0",
        (KernelFault.PCIE_AER, "0000:01:00.0", True, None),
    ),
    (
        "pcieport 0000:00:01.0: AER: Multiple Uncorrected (Fatal) error received: 0000:01:00.0",
        (KernelFault.PCIE_AER, "0000:01:00.0", False, None),
    ),
    (
        "pcieport 0000:00:01.0: AER: Uncorrectable (Non-Fatal) error message received from 0000:02:00.0",
        (KernelFault.PCIE_AER, "0000:02:00.0", False, None),
    ),
    (
        "nvidia 0000:3b:00.0: PCIe Bus Error: severity=Corrected, type=Physical Layer, (Receiver ID)",
        (KernelFault.PCIE_AER, "0000:3b:00.0", True, None),
    ),
    (
        "nvidia 0000:3b:00.0: AER: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer",
        (KernelFault.PCIE_AER, "0000:3b:00.0", False, None),
    ),
    (
        "pcieport 0000:c0:01.1: DPC: containment event, status:0x1f11 source:0x0000",
        (KernelFault.PCIE_AER, "0000:c0:01.1", False, None),
    ),
    ("nvme nvme0: I/O 12 QID 3 timeout, aborting", (KernelFault.NVME, "nvme0", False, None)),
    ("nvme nvme3: I/O tag 12 (100c) QID 3 timeout, reset controller", (KernelFault.NVME, "nvme3", False, None)),
    (
        "nvme nvme1: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0xffff",
        (KernelFault.NVME, "nvme1", False, None),
    ),
    ("nvme nvme1: Removing after probe failure status: -19", (KernelFault.NVME, "nvme1", False, None)),
    (
        "blk_update_request: critical medium error, dev nvme0n1, sector 1234 op 0x0:(READ)",
        (KernelFault.NVME, "nvme0n1", False, None),
    ),
    ("I/O error, dev sda, sector 99 op 0x1:(WRITE)", (KernelFault.FILESYSTEM, "sda", False, None)),
    (
        "Buffer I/O error on dev dm-0, logical block 3, lost async page write",
        (KernelFault.FILESYSTEM, "dm-0", False, None),
    ),
    (
        "EXT4-fs error (device nvme0n1p1): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0",
        (KernelFault.FILESYSTEM, "nvme0n1p1", False, None),
    ),
    ("EXT4-fs (sda1): Remounting filesystem read-only", (KernelFault.FILESYSTEM, "sda1", False, None)),
    (
        "XFS (dm-0): Corruption of in-memory data detected.  Shutting down filesystem",
        (KernelFault.FILESYSTEM, "dm-0", False, None),
    ),
    ('XFS (sdb1): metadata I/O error in "xfs_trans_read" at daddr 0x1', (KernelFault.FILESYSTEM, "sdb1", False, None)),
    (
        "BTRFS: error (device sda1) in btrfs_commit_transaction:2418: errno=-5 IO failure",
        (KernelFault.FILESYSTEM, "sda1", False, None),
    ),
    ("BTRFS info (device sda1: state E): forced readonly", (KernelFault.FILESYSTEM, "sda1", False, None)),
    ("Aborting journal on device sda1-8.", (KernelFault.FILESYSTEM, "sda1-8", False, None)),
]


@pytest.mark.parametrize(("text", "expected"), FAULTS, ids=[text[:40] for text, _ in FAULTS])
def test_faults_of_the_host_are_reported(text: str, expected: tuple[KernelFault, str, bool, int | None]) -> None:
    report = fault(text)
    assert (report.fault, report.subject, report.corrected, report.pid) == expected
    assert may_matter(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "EDAC MC: Ver: 3.0.0",
        "EDAC MC0: Giving out device to module skx_edac controller Skylake Socket#0 IMC#0",
        "nvme nvme0: 32/0/0 default/read/poll queues",
        "EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: (null)",
        "EXT4-fs (sda1): re-mounted. Opts: errors=remount-ro",
        "XFS (dm-0): Mounting V5 Filesystem",
        "BTRFS info (device sda1): disk space caching is enabled",
        "pcieport 0000:00:01.0: AER: enabled with IRQ 24",
        "nvidia 0000:3b:00.0:   device [10de:2330] error status/mask=00000040/0000a000",
        "oom_reaper: reaped process 12535 (python3), now anon-rss:0kB",
        "oom-kill:constraint=CONSTRAINT_MEMCG,task=python3,pid=12535,uid=0",
        "systemd-journald[411]: Received client request to flush runtime journal.",
    ],
)
def test_the_noise_of_a_healthy_host_reports_nothing(text: str) -> None:
    assert feed(text) == []
