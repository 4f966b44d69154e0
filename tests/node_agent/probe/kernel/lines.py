"""Lines of the kernel's log, and what the parser makes of them."""

from datetime import UTC, datetime

from node_agent.probe.kernel.parse import KernelParser
from node_agent.probe.observations import (
    KernelFaultReport,
    KernelLine,
    KernelReport,
    XidReport,
)

READ_AT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def line(text: str, sequence: int = 1) -> KernelLine:
    return KernelLine(sequence=sequence, monotonic_seconds=12.5, priority=4, text=text, read_at=READ_AT)


def feed(*texts: str, parser: KernelParser | None = None) -> list[KernelReport]:
    parser = parser or KernelParser()
    reports = [report for number, text in enumerate(texts) for report in parser.feed(line(text, number))]
    return reports + parser.flush()


def xid(text: str, driver_version: str = "") -> XidReport:
    (report,) = feed(text, parser=KernelParser(driver_version))
    assert isinstance(report, XidReport)
    return report


def fault(*texts: str) -> KernelFaultReport:
    (report,) = feed(*texts)
    assert isinstance(report, KernelFaultReport)
    return report
