r"""Score the kernel log parser on a file of lines: which XID or SXid, of which device.

    python bench/kmsg_conformance.py --cases FILE

The file is tab-separated: line, code, pci, kind. The kind is xid, sxid, fallen_off_bus_implied_xid79 or none. A first
row with these names may give another order. A line may carry the header of /dev/kmsg or the prefix of dmesg, journalctl
or syslog; a line break inside it is written as \n. Two ids of a device are the same if they differ in how domain and
function are written, or one of them leaves these out. An expected cell that is empty or `-` is not compared.
Prints every mismatch and, last, one JSON object.
"""

import argparse
import json
import os
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from node_agent.probe.kernel.parse import KernelParser
from node_agent.probe.kernel.pci import normalise_pci_bus_id
from node_agent.probe.kernel.record import message_lines, parse_record
from node_agent.probe.observations import KernelLine, SxidReport, XidReport

TARGET_SCORE = 1.0
COLUMNS: tuple[str, ...] = ("line", "code", "pci", "kind")
NOT_COMPARED = frozenset({"", "-", "none", "n/a"})
READ_AT = datetime(2026, 1, 1, tzinfo=UTC)

# What dmesg, journalctl and syslog print before a message of the kernel; removed as often as it fits.
PREFIX: Final = re.compile(
    r"""
      <\d{1,3}>1\s\S{1,40}\s\S{1,64}\skernel\s\S{1,40}\s\S{1,40}\s\S{1,40}\s   # syslog, RFC 5424
    | <\d{1,3}>                                                            # priority
    | \[[^\[\]"'=]{1,40}\]                                                 # time since boot, date, or caller
    | (?:kern|user|daemon|syslog)\s{0,6}:\s{0,4}\w{1,8}\s{0,6}:            # dmesg --decode
    | \d{4}-\d\d-\d\dT?\s?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?   # ISO 8601
    | (?:[A-Z][a-z]{2}\s)?[A-Z][a-z]{2}\s{1,2}\d{1,2}\s(?:\d{4}\s)?\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:\s\d{4})?
    | (?:[\w.-]{1,64}\s)?kernel(?:\[\d{1,10}\])?:                          # host and source
    | \d\d:\d\d:\d\d(?:\.\d{1,9})?(?=\s)                                   # bare time of day
    | \d{1,10}\.\d{1,9}(?=\s)                                              # bare time since boot
    """,
    re.VERBOSE,
)
MAXIMUM_PREFIXES = 8


@dataclass(frozen=True)
class Case:
    """A row of the file."""

    number: int
    line: str
    code: str
    pci: str
    kind: str


@dataclass(frozen=True)
class Answer:
    """What the parser says."""

    kind: str
    code: str = ""
    pci: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.code, self.pci) if part)


def read_cases(path: Path) -> list[Case]:
    """Read the file; a line may itself hold tabs if the columns are in their usual order."""
    try:
        rows = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    except OSError as error:
        raise SystemExit(f"Cannot read cases from {path}: {error}") from error
    order = COLUMNS
    cases: list[Case] = []
    for number, row in enumerate(rows, start=1):
        text = row.rstrip("\r")
        names = tuple(cell.strip().lower() for cell in text.split("\t"))
        if not cases and set(COLUMNS) <= set(names):
            order = names
            continue
        if not text.strip() or (text.startswith("#") and "\t" not in text):
            continue
        cells = text.rsplit("\t", 3) if order == COLUMNS else text.split("\t")
        cells += [""] * (len(order) - len(cells))
        by_name = dict(zip(order, cells, strict=False))
        kind = by_name["kind"].strip().lower() or "none"
        cases.append(Case(number, unquote(by_name["line"]), by_name["code"].strip(), by_name["pci"].strip(), kind))
    return cases


def unquote(cell: str) -> str:
    """Return the text of a cell that may be quoted as in CSV."""
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"'
    return cell[1:-1].replace('""', '"') if quoted else cell


def messages(line: str) -> Iterator[str]:
    """Return the kernel's own lines in a cell, without what tools print before them."""
    record = parse_record(line.encode())
    whole = "\n".join(message_lines(record.message if record else line.encode()))
    for part in whole.replace("\\r", "").replace("\\n", "\n").split("\n"):
        text = part.strip()
        for _ in range(MAXIMUM_PREFIXES):
            match = PREFIX.match(text)
            if match is None:
                break
            text = text[match.end() :].lstrip()
        yield text


class Reader:
    """Answers row after row as the daemon would, with what it remembers of the rows before."""

    def __init__(self) -> None:
        self._parser = KernelParser()
        self._sequence = 0

    def answer(self, case: Case) -> Answer:
        """Return what a row reports; of several reports the one of the expected kind."""
        answers: list[Answer] = []
        for text in messages(case.line):
            self._sequence += 1
            line = KernelLine(self._sequence, 0.0, 4, text, READ_AT)
            for report in self._parser.feed(line):
                if isinstance(report, XidReport):
                    kind = "fallen_off_bus_implied_xid79" if report.implied else "xid"
                    answers.append(Answer(kind, str(report.code), report.pci_bus_id))
                elif isinstance(report, SxidReport):
                    answers.append(Answer("sxid", str(report.code), report.pci_bus_id))
        expected = [answer for answer in answers if answer.kind == case.kind]
        return (expected or answers or [Answer("none")])[0]


def is_right(case: Case, answer: Answer) -> bool:
    """Return whether an answer is what the row expects."""
    if answer.kind != case.kind:
        return False
    if case.kind == "none":
        return True
    code_right = case.code.lower() in NOT_COMPARED or case.code.lstrip("0") == answer.code.lstrip("0")
    return code_right and same_device(case.pci, answer.pci)


def same_device(expected: str, found: str) -> bool:
    """Compare two bus ids; domain and function count only where the expected one writes them."""
    if expected.lower() in NOT_COMPARED:
        return True
    bare = re.sub(r"^PCI:", "", expected.strip("()"), flags=re.IGNORECASE).split(" ")[0]
    wanted = normalise_pci_bus_id(bare)
    if not wanted:
        return bare.lower() == found.lower()
    if "." not in bare:
        wanted, found = wanted.partition(".")[0], found.partition(".")[0]
    if bare.count(":") == 1:
        wanted, found = wanted.partition(":")[2], found.partition(":")[2]
    return wanted == found


def main() -> None:
    """Answer and score each row of a file."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cases", type=Path, required=True, help="tab-separated: line, code, pci, kind")
    cases = read_cases(arguments.parse_args().cases)
    reader = Reader()
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    started = time.process_time()
    for case in cases:
        answer = reader.answer(case)
        asked[case.kind] += 1
        if is_right(case, answer):
            right[case.kind] += 1
        else:
            expected = Answer(case.kind, case.code, case.pci)
            print(f"row {case.number}: expected {expected}, got {answer}: {case.line}")
    figures = {
        "name": "kmsg_conformance",
        "score": round(right.total() / asked.total(), 4) if cases else 0.0,
        "cases": asked.total(),
        "right": right.total(),
        "mismatches": asked.total() - right.total(),
        "by_kind": {kind: {"cases": asked[kind], "right": right[kind]} for kind in sorted(asked)},
        "cpu_seconds": round(time.process_time() - started, 4),
        "targets": {"score": TARGET_SCORE},
        "machine": f"{platform.machine()} {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
