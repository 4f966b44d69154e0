"""Tasks that hang, and whom the parser blames for it."""

import pytest

from node_agent.probe.kernel.parse import KernelParser
from node_agent.probe.observations import (
    KernelFault,
    KernelFaultReport,
    XidReport,
)
from tests.node_agent.probe.kernel.lines import fault, feed, line

STACK = (
    "      Tainted: P           OE     5.15.0-117-generic #127-Ubuntu",
    '"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.',
    "task:python3         state:D stack:    0 pid:  812 ppid:     1 flags:0x00000004",
    "Call Trace:",
    " <TASK>",
    " __schedule+0x24e/0x590",
)


def test_a_task_that_hangs_in_the_driver_is_told_from_its_stack() -> None:
    report = fault(
        "INFO: task python3:812 blocked for more than 122 seconds.",
        *STACK,
        " os_acquire_rwlock_write+0x37/0x50 [nvidia]",
        " </TASK>",
    )
    assert (report.fault, report.subject, report.pid) == (KernelFault.HUNG_TASK, "python3", 812)
    assert report.in_nvidia
    assert report.line.text.startswith("INFO: task python3:812")


def test_a_task_that_hangs_elsewhere_is_not_blamed_on_the_driver() -> None:
    report = fault(
        "INFO: task kworker/u8:2:812 blocked for more than 122 seconds.",
        *STACK,
        "Modules linked in: nvidia_uvm(POE) nvidia(POE) [last unloaded: nvidia]",
        " ext4_sync_file+0x1/0x2",
        " </TASK>",
        " somebody_else+0x37/0x50 [nvidia]",
    )
    assert (report.subject, report.in_nvidia) == ("kworker/u8:2", False)


def test_a_hung_task_whose_stack_never_comes_is_reported_on_demand() -> None:
    parser = KernelParser()
    assert parser.feed(line("INFO: task sh:9 blocked for more than 120 seconds.")) == []
    assert parser.follows
    (report,) = parser.flush()
    assert isinstance(report, KernelFaultReport)
    assert not parser.follows


def test_a_hung_task_does_not_hold_back_an_xid() -> None:
    parser = KernelParser()
    parser.feed(line("INFO: task sh:9 blocked for more than 120 seconds."))
    (report,) = parser.feed(line("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."))
    assert isinstance(report, XidReport)


def test_two_hung_tasks_are_two_reports() -> None:
    reports = feed(
        "INFO: task a:1 blocked for more than 120 seconds.", "INFO: task b:2 blocked for more than 120 seconds."
    )
    assert [report.subject for report in reports if isinstance(report, KernelFaultReport)] == ["a", "b"]


DRIVER_NAMES = ["nvidia-smi", "nv_queue", "irq/129-nvidia", "UVM global queue"]


@pytest.mark.parametrize("name", DRIVER_NAMES)
def test_a_hung_task_of_a_drivers_name_is_the_drivers_where_no_stack_says_otherwise(name: str) -> None:
    parser = KernelParser()
    assert parser.feed(line(f"INFO: task {name}:77 blocked for more than 120 seconds.")) == []
    (report,) = parser.flush()
    assert isinstance(report, KernelFaultReport)
    assert (report.subject, report.pid, report.in_nvidia) == (name, 77, True)


@pytest.mark.parametrize("name", DRIVER_NAMES)
def test_a_process_that_gave_itself_a_drivers_name_and_hangs_elsewhere_is_not_blamed_on_the_driver(name: str) -> None:
    report = fault(
        f"INFO: task {name}:77 blocked for more than 120 seconds.",
        *STACK,
        " nfs_wait_bit_killable+0x1/0x2 [nfs]",
        " </TASK>",
    )
    assert (report.subject, report.in_nvidia) == (name, False)
