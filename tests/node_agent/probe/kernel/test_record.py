import pytest

from node_agent.probe.kernel.pci import normalise_pci_bus_id
from node_agent.probe.kernel.record import MAXIMUM_TEXT, message_lines, parse_record, without_prefix
from node_agent.probe.kernel.stream import LineSplitter


def test_a_record_has_its_number_priority_and_time_without_its_dictionary() -> None:
    raw = b"12,4033,15410582702,-,caller=T412;usb 1-1: gone; again\n SUBSYSTEM=usb\n DEVICE=c189:1\n"
    record = parse_record(raw)
    assert record is not None
    assert (record.sequence, record.priority, record.message) == (4033, 4, b"usb 1-1: gone; again")
    assert record.monotonic_seconds == pytest.approx(15410.582702)


@pytest.mark.parametrize(
    "raw",
    [b"", b";", b"1,2;x", b"a,b,c,-;x", b"-1,2,3,-;x", b"NVRM: Xid (PCI:0000:01:00): 13", b"1,2,3,-" + b"9" * 300],
)
def test_what_is_no_record_is_none(raw: bytes) -> None:
    assert parse_record(raw) is None


def test_escaped_bytes_are_read_and_line_breaks_make_lines() -> None:
    assert message_lines(b"one\\x0atwo \\xc3\\xa9\\x1b[31m \\x5c") == ["one", "two \u00e9 [31m \\"]


def test_a_line_is_cut_and_printable() -> None:
    (text,) = message_lines(b"\xff\x00" * 10_000)
    assert len(text) == MAXIMUM_TEXT
    assert text.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "NVRM: x",
        "[  123.456789] NVRM: x",
        "[  123.456789][  T2913] NVRM: x",
        "<3>[6085126.134786] NVRM: x",
        "kernel: [123.4] NVRM: x",
        "     NVRM: x",
    ],
)
def test_marks_of_time_and_priority_are_taken_away(text: str) -> None:
    assert without_prefix(text) == "NVRM: x"


@pytest.mark.parametrize(
    ("printed", "normalised"),
    [
        ("0000:03:00.0", "0000:03:00.0"),
        ("0000:03:00", "0000:03:00.0"),
        ("00000000:3B:00.1", "0000:3b:00.1"),
        ("00010000:3B:00", "10000:3b:00.0"),
        ("03:00", "0000:03:00.0"),
        ("0003:00", "0000:03:00.0"),
        ("0009:01:00", "0009:01:00.0"),
        ("0001:ab:1c", "0001:ab:1c.0"),
        ("0300:00", ""),
        ("invalid", ""),
        ("", ""),
    ],
)
def test_bus_ids_are_normalised(printed: str, normalised: str) -> None:
    assert normalise_pci_bus_id(printed) == normalised


def test_lines_come_out_of_chunks_whole() -> None:
    splitter = LineSplitter(100)
    assert splitter.split(b"one\ntw") == [b"one"]
    assert splitter.split(b"o\n\n SUBSYSTEM=pci\nthree") == [b"two"]
    assert splitter.split(b"\n") == [b"three"]


def test_a_line_longer_than_the_bound_is_cut_and_the_next_one_is_whole() -> None:
    splitter = LineSplitter(10)
    lines = [line for chunk in (b"x" * 25, b"y" * 25, b"z\nnext\n") for line in splitter.split(chunk)]
    assert lines == [b"x" * 10, b"next"]
