"""Nothing that is printed may break the parser, make it slow or make it keep more than its bounds."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.kmsg_conformance import read_cases
from node_agent.probe.kernel.parse import KernelParser, may_matter
from node_agent.probe.kernel.record import MAXIMUM_TEXT, message_lines, parse_record
from node_agent.probe.kernel.stream import LineSplitter
from node_agent.probe.observations import MAXIMUM_TEXT as MAXIMUM_DETAIL
from node_agent.probe.observations import KernelLine, KernelLoss, KernelReport, SxidReport, XidReport

READ_AT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
REAL = [case.line.encode() for case in read_cases(Path(__file__).with_name("real_lines.tsv"))]
TEN_MEGABYTES = 10_000_000


def read(raw: bytes, parser: KernelParser | None = None) -> list[KernelReport]:
    parser = parser or KernelParser()
    record = parse_record(raw)
    reports: list[KernelReport] = []
    for text in message_lines(record.message if record else raw):
        assert len(text) <= MAXIMUM_TEXT
        assert text.isprintable()
        reports += parser.feed(KernelLine(1, 0.0, 4, text, READ_AT))
    reports += parser.flush()
    for report in reports:
        assert not isinstance(report, KernelLoss)
        if isinstance(report, XidReport | SxidReport):
            assert len(report.detail) <= MAXIMUM_DETAIL
            assert 0 <= report.code < 1_000_000
            assert report.pci_bus_id
    return reports


@given(st.binary(max_size=3_000))
def test_garbage_is_survived(raw: bytes) -> None:
    read(raw)


@given(st.sampled_from(REAL), st.data())
def test_real_lines_cut_anywhere_are_survived(raw: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, len(raw)))
    read(raw[start:end])


@given(st.sampled_from(REAL), st.data())
def test_real_lines_with_garbage_inside_are_survived(raw: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(raw)))
    read(raw[:place] + data.draw(st.binary(max_size=60)) + raw[place:])


@given(st.lists(st.sampled_from(REAL), max_size=12))
def test_real_lines_in_any_order_are_survived(lines: list[bytes]) -> None:
    parser = KernelParser()
    for raw in lines:
        read(raw, parser)


@given(st.binary(max_size=400))
def test_the_prefilter_never_drops_what_the_parser_would_report(raw: bytes) -> None:
    if read(raw):
        assert may_matter(raw)


@pytest.mark.parametrize("raw", REAL)
def test_the_prefilter_lets_every_real_line_that_matters_through(raw: bytes) -> None:
    if read(raw):
        assert may_matter(raw)


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_chunks_of_any_cut_give_the_same_lines(chunks: list[bytes]) -> None:
    whole, pieces = LineSplitter(10_000), LineSplitter(10_000)
    joined = b"".join(chunks) + b"\n"
    assert whole.split(joined) == [line for chunk in [*chunks, b"\n"] for line in pieces.split(chunk)]


@pytest.mark.parametrize(
    "start",
    [
        b"NVRM: Xid (PCI:0000:01:00): 13, pid=7, name=",
        b"NVRM: Xid (",
        b"NVRM: The NVIDIA GPU ",
        b"nvidia-nvswitch0: SXid (PCI:0000:01:00.0): 20034, ",
        b"INFO: task ",
        b"Killed process 1 (",
        b"EXT4-fs error (device ",
        b"nvme nvme0: ",
        b"watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [",
        b"",
    ],
)
@pytest.mark.parametrize("filler", [b"a", b" ", b"(", b"0", b":", b", ", b"\\x0a", b"\n", b"Link Fatal "])
def test_lines_of_ten_megabytes_are_cut_and_survived(start: bytes, filler: bytes) -> None:
    line = start + filler * (TEN_MEGABYTES // len(filler))
    splitter = LineSplitter(16_384)
    chunks = (line[place : place + 16_384] for place in range(0, len(line), 16_384))
    kept = [piece for chunk in chunks for piece in splitter.split(chunk)]
    for piece in kept[:50]:
        assert len(piece) <= 16_384
        read(piece)
