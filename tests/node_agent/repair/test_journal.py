"""The journal: what was written is there, what is damaged does not stop the daemon, nothing grows without bound."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.health.model import Rung
from node_agent.repair.codec import from_json, to_json
from node_agent.repair.errors import JournalUnusable
from node_agent.repair.journal import MAXIMUM_RECORDS, Entry, RepairJournal, Undo, UndoKind
from node_agent.repair.model import Check, CheckOutcome, Origin, RepairOrder, RepairRecord, RepairState, Step

_NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def entry(serial: int, repair_id: str, state: RepairState = RepairState.RUNNING) -> Entry:
    made = RepairOrder(repair_id, Rung.RESET_GPU, Origin.CONTROL_PLANE, "why", gpu_uuids=("GPU-0",), not_after=_NOW)
    record = RepairRecord(
        made,
        state,
        "message",
        _NOW,
        "boot",
        steps=(Step("step", True, "detail", _NOW, 0.5, undo=True),),
        checks=(Check("nvml", CheckOutcome.NOT_CHECKED, "why", 1.0),),
        handoff_json="{}",
    )
    undo = (Undo(UndoKind.START_SERVICE, "nvidia-dcgm.service"),)
    return Entry(serial, record, "stop it", undo, {"acted": "begun"}, 2)


def test_what_was_written_is_read_by_the_next_daemon(tmp_path: Path) -> None:
    journal = RepairJournal(tmp_path)
    journal.begin(entry(1, "r-1"), journal.stamp())
    journal.write(entry(2, "r-2", RepairState.SUCCEEDED), journal.stamp())
    after = RepairJournal(tmp_path)
    assert after.unfinished() == (entry(1, "r-1"),)
    assert [record.order.id for record in after.records()] == ["r-2", "r-1"]
    assert after.knows("r-1")
    assert not after.knows("r-3")
    assert after.next_serial() == 3


def test_a_write_that_was_overtaken_is_dropped(tmp_path: Path) -> None:
    journal = RepairJournal(tmp_path)
    early, late = journal.stamp(), journal.stamp()
    journal.write(entry(1, "r-1", RepairState.VERIFYING), late)
    journal.write(entry(1, "r-1", RepairState.RUNNING), early)
    assert RepairJournal(tmp_path).records()[0].state is RepairState.VERIFYING


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"version":9}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_entry_is_put_aside_and_its_id_stays_known(tmp_path: Path, damage: bytes) -> None:
    RepairJournal(tmp_path).write(entry(1, "r-1"), 1)
    (tmp_path / "r-1.json").write_bytes(damage)
    after = RepairJournal(tmp_path)
    assert after.records() == ()
    assert after.knows("r-1")
    assert (tmp_path / "r-1.damaged").exists()
    assert RepairJournal(tmp_path).knows("r-1"), "nor does the daemon after that one carry it out"


def test_an_entry_under_another_name_is_not_believed(tmp_path: Path) -> None:
    RepairJournal(tmp_path).write(entry(1, "r-1"), 1)
    (tmp_path / "r-1.json").rename(tmp_path / "r-2.json")
    assert RepairJournal(tmp_path).records() == ()


def test_old_repairs_are_forgotten_but_their_ids_are_not(tmp_path: Path) -> None:
    journal = RepairJournal(tmp_path)
    for number in range(MAXIMUM_RECORDS + 5):
        journal.write(entry(number, f"r-{number}", RepairState.FAILED), journal.stamp())
    for known in (journal, RepairJournal(tmp_path)):
        assert len(known.records()) == MAXIMUM_RECORDS
        assert known.records()[0].order.id == f"r-{MAXIMUM_RECORDS + 4}"
        assert all(known.knows(f"r-{number}") for number in range(MAXIMUM_RECORDS + 5))
    assert len(list(tmp_path.glob("*.json"))) == MAXIMUM_RECORDS


def test_a_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalUnusable, match="nothing is repaired"):
        RepairJournal(tmp_path / "file" / "repairs")


_TEXT = st.text(max_size=50)
_TIMES = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@given(
    st.builds(
        RepairRecord,
        order=st.builds(
            RepairOrder,
            id=st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
            rung=st.sampled_from(Rung),
            origin=st.sampled_from(Origin),
            reason=st.just("because"),
            gpu_uuids=st.lists(st.sampled_from(["GPU-0", "GPU-1"]), max_size=3).map(tuple),
            process_ids=st.lists(st.integers(1, 2**22), max_size=3).map(tuple),
            not_after=st.none() | _TIMES,
            policy_version=st.integers(0, 2**60),
            may_stop_jobs=st.booleans(),
            dry_run=st.booleans(),
            service=st.just("x"),
            condition_ids=st.just(("c",)),
            incident_id=st.just("i-1"),
        ),
        state=st.sampled_from(RepairState),
        message=st.just("said"),
        started_at=_TIMES,
        boot_id=st.just("boot"),
        ended_at=st.none() | _TIMES,
        steps=st.just((Step("a", False, "b", _NOW, 0.0),)),
        checks=st.just(()),
        handoff_json=st.just("{}"),
    )
)
def test_a_record_survives_its_trip_through_json(record: RepairRecord) -> None:
    assert from_json(to_json(record)) == record


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(_JSON, st.sampled_from(["order", "state", "steps", "checks", "started_at", "handoff_json", "boot_id"]))
def test_garbage_in_any_place_is_a_value_error_and_nothing_else(garbage: object, place: str) -> None:
    document = to_json(entry(1, "r-1").record)
    document[place] = garbage
    for broken in (document, garbage, {**to_json(entry(1, "r-1").record), "order": {**document, place: garbage}}):
        try:
            from_json(broken)
        except ValueError:
            continue
