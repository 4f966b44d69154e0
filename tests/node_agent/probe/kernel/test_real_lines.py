"""Lines as drivers of the last ten years print them, with the prefixes of the tools that show them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.kmsg_conformance import Answer, Case, Reader, is_right, read_cases, same_device

LINES = Path(__file__).with_name("real_lines.tsv")
BENCH = Path(__file__).parents[4] / "bench" / "kmsg_conformance.py"


@pytest.mark.parametrize("case", read_cases(LINES), ids=lambda case: f"row-{case.number}-{case.kind}")
def test_a_real_line_is_understood(case: Case) -> None:
    answer = Reader().answer(case)
    assert is_right(case, answer), f"{case.line}: got {answer}"


def test_a_gpu_named_on_one_row_has_fallen_on_a_later_one() -> None:
    reader = Reader()
    rows = [
        Case(1, "NVRM: The NVIDIA GPU 0000:18:00.0", "", "", "none"),
        Case(2, "NVRM: (PCI ID: 10de:2901) installed in this system has", "", "", "none"),
        Case(3, "NVRM: fallen off the bus and is not responding to commands.", "79", "0000:18:00", "fallen"),
    ]
    answers = [reader.answer(row) for row in rows]
    assert answers == [Answer("none"), Answer("none"), Answer("fallen_off_bus_implied_xid79", "79", "0000:18:00.0")]


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("0000:3b:00", "0000:3b:00.0", True),
        ("PCI:0000:3B:00", "0000:3b:00.0", True),
        ("00000000:3B:00.0", "0000:3b:00.0", True),
        ("3b:00.0", "0009:3b:00.0", True),
        ("0009:3b:00", "0000:3b:00.0", False),
        ("0000:3b:00.1", "0000:3b:00.0", False),
        ("-", "0000:3b:00.0", True),
    ],
)
def test_ids_of_devices_are_compared_by_what_they_say(expected: str, found: str, *, same: bool) -> None:
    assert same_device(expected, found) is same


def test_the_script_prints_each_mismatch_and_then_the_score(tmp_path: Path) -> None:
    cases = tmp_path / "cases.tsv"
    cases.write_text(
        "NVRM: Xid (PCI:0000:05:00): 79, GPU has fallen off the bus.\t79\t0000:05:00\txid\n"
        "NVRM: Xid (PCI:0000:05:00): 79, GPU has fallen off the bus.\t48\t0000:05:00\txid\n"
        "usb 1-1: new device\t\t\tnone\n"
        "nvidia-nvswitch0: SXid (PCI:0000:06:00.0): 20034, Fatal, Link 30 LTSSM Fault Up\t20034\t06:00.0\tsxid\n"
    )
    done = subprocess.run([sys.executable, BENCH, "--cases", cases], capture_output=True, text=True, check=True)
    mismatch, last = done.stdout.splitlines()
    assert mismatch.startswith("row 2: expected xid 48")
    figures = json.loads(last)
    assert figures["score"] == 0.75
    assert (figures["cases"], figures["right"], figures["mismatches"]) == (4, 3, 1)


def test_columns_may_come_in_another_order_with_names(tmp_path: Path) -> None:
    cases = tmp_path / "cases.tsv"
    cases.write_text('kind\tcode\tpci\tline\nxid\t13\t01:00\t"NVRM: Xid (0000:01:00): 13"\n')
    (case,) = read_cases(cases)
    assert is_right(case, Reader().answer(case))
