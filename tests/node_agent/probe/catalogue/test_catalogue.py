import csv
import io
import json
from datetime import UTC, datetime

import pytest

from node_agent.probe.catalogue.catalogue import all_sxids, all_xids, find_sxid, find_xid
from node_agent.probe.catalogue.model import CatalogueSeverity, SxidEntry, VendorAction, XidEntry
from node_agent.probe.catalogue.write import write_csv, write_json, write_table
from node_agent.probe.kernel.parse import KernelParser
from node_agent.probe.observations import KernelLine, SxidReport, XidReport

READ_AT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
NEWEST_XID = 176
WITHOUT_ACTION = range(162, 177)


def line(text: str) -> KernelLine:
    return KernelLine(sequence=1, monotonic_seconds=1.0, priority=4, text=text, read_at=READ_AT)


@pytest.mark.parametrize("entry", all_xids(), ids=lambda entry: str(entry.code))
def test_each_xid_goes_from_a_kernel_line_to_its_entry(entry: XidEntry) -> None:
    text = f"NVRM: Xid (PCI:0000:3b:00): {entry.code}, pid=7, name=ray::WorkerDict, something happened"
    (report,) = KernelParser().feed(line(text))
    assert isinstance(report, XidReport)
    assert (report.code, report.pci_bus_id, report.pid) == (entry.code, "0000:3b:00.0", 7)
    assert find_xid(report.code) is entry


@pytest.mark.parametrize("entry", all_sxids(), ids=lambda entry: str(entry.code))
def test_each_sxid_goes_from_a_kernel_line_to_its_entry(entry: SxidEntry) -> None:
    text = f"nvidia-nvswitch2: SXid (PCI:0000:c1:00.0): {entry.code:05d}, Non-fatal, Link 46 something (First)"
    (report,) = KernelParser().feed(line(text))
    assert isinstance(report, SxidReport)
    assert (report.code, report.fatal, report.link) == (entry.code, False, 46)
    assert find_sxid(report.code) is entry


def test_the_catalogue_has_every_xid_without_a_gap() -> None:
    assert [entry.code for entry in all_xids()] == list(range(1, NEWEST_XID + 1))


@pytest.mark.parametrize(
    ("codes", "action"),
    [
        ((14, 37, 38, 43, 44, 63, 66, 67, 92, 93, 106, 107, 108, 121, 137, 141, 152, 153, 157, 160, 161), "IGNORE"),
        ((8, 11, 13, 25, 31, 32, 39, 60, 68, 69, 77, 80, 82, 94, 105, 135, 139), "RESTART_APP"),
        ((46, 62, 64, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158), "RESET_GPU"),
        ((1, 16, 30, 56, 58, 61, 65, 81, 90, 125, 138, 142), "CONTACT_SUPPORT"),
        ((79,), "RESTART_BM"),
        ((151,), "RESTART_VM"),
        ((54,), "CHECK_MECHANICALS"),
        ((78,), "UPDATE_SWFW"),
        ((159,), "CHECK_UVM"),
        ((45,), "WORKFLOW_XID_45"),
        ((48,), "WORKFLOW_XID_48"),
        ((74,), "WORKFLOW_NVLINK_ERR"),
        (tuple(range(144, 151)), "WORKFLOW_NVLINK5_ERR"),
        ((154,), "XID_154"),
        (tuple(WITHOUT_ACTION), ""),
    ],
)
def test_the_immediate_action_is_the_vendors(codes: tuple[int, ...], action: str) -> None:
    for code in codes:
        entry = find_xid(code)
        assert entry is not None
        assert entry.immediate_action.value == action, code


def test_faults_of_applications_are_no_fault_of_the_gpu() -> None:
    assert {find_xid(code).severity for code in (13, 31, 43, 45)} == {CatalogueSeverity.INFO}  # type: ignore[union-attr]  # all four exist


@pytest.mark.parametrize("code", [48, 62, 64, 74, 79, 95, 119, 120, 140])
def test_what_ends_a_gpus_service_is_fatal(code: int) -> None:
    entry = find_xid(code)
    assert entry is not None
    assert entry.severity is CatalogueSeverity.FATAL


def test_codes_without_a_stated_action_are_only_those_that_the_vendor_left_empty() -> None:
    silent = {entry.code for entry in all_xids() if entry.immediate_action is VendorAction.NOT_STATED}
    assert silent == set(WITHOUT_ACTION)


def test_an_unknown_code_has_no_entry_and_is_still_reported() -> None:
    (xid,) = KernelParser().feed(line("NVRM: Xid (PCI:0000:3b:00): 999, something"))
    (sxid,) = KernelParser().feed(line("nvidia-nvswitch0: SXid (PCI:0000:3b:00.0): 31999, Fatal, Link 02 something"))
    assert isinstance(xid, XidReport)
    assert isinstance(sxid, SxidReport)
    assert find_xid(xid.code) is None
    assert find_sxid(sxid.code) is None


@pytest.mark.parametrize(
    ("code", "severity", "action"),
    [
        (11012, CatalogueSeverity.INFO, VendorAction.IGNORE),
        (20034, CatalogueSeverity.FATAL, VendorAction.RESTART_VM),
        (23001, CatalogueSeverity.FATAL, VendorAction.RESTART_BM),
        (22013, CatalogueSeverity.INFO, VendorAction.IGNORE),
        (28006, CatalogueSeverity.WARNING, VendorAction.NOT_STATED),
    ],
)
def test_sxids_say_what_the_fabric_managers_guide_says(
    code: int, severity: CatalogueSeverity, action: VendorAction
) -> None:
    entry = find_sxid(code)
    assert entry is not None
    assert (entry.severity, entry.immediate_action) == (severity, action)


def test_each_entry_has_a_meaning_a_name_and_a_dated_source() -> None:
    entries: list[XidEntry | SxidEntry] = [*all_xids(), *all_sxids()]
    for entry in entries:
        assert entry.meaning.endswith(".")
        assert entry.meaning.isprintable()
        assert entry.name.replace("_", "").isalnum()
        assert entry.source
        assert entry.dated.year >= 2022


def test_csv_has_the_promised_columns_and_a_row_for_each_xid() -> None:
    stream = io.StringIO()
    write_csv(stream)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert list(rows[0]) == ["xid", "name", "severity", "immediate_action", "source"]
    assert [int(row["xid"]) for row in rows] == list(range(1, NEWEST_XID + 1))
    assert rows[78]["name"] == "ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS"
    assert rows[78]["immediate_action"] == "RESTART_BM"
    assert rows[78]["source"] == "NVIDIA Xid catalog 2025-09-30"


def test_csv_of_sxids_has_a_row_for_each() -> None:
    stream = io.StringIO()
    write_csv(stream, sxids=True)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert len(rows) == len(all_sxids())
    assert list(rows[0]) == ["sxid", "name", "severity", "immediate_action", "source"]


@pytest.mark.parametrize("sxids", [False, True])
def test_json_and_table_have_all_entries(*, sxids: bool) -> None:
    entries = all_sxids() if sxids else all_xids()
    stream = io.StringIO()
    write_json(stream, sxids=sxids)
    rows = json.loads(stream.getvalue())
    assert [row["sxid" if sxids else "xid"] for row in rows] == [entry.code for entry in entries]
    table = io.StringIO()
    write_table(table, sxids=sxids)
    printed = table.getvalue().splitlines()
    assert len(printed) == len(entries) + 1
    assert [int(row.split()[0]) for row in printed[1:]] == [entry.code for entry in entries]
