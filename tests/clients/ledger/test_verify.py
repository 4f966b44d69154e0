"""What verification of the audit finds, and that it finds nothing in a log that nobody touched."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orquanta.ledger.chain import GENESIS, canonical_json, private_hash, record_hash
from orquanta.ledger.checkpoint import Checkpoint, Start
from orquanta.ledger.export_file import Header, checkpoint_line, header_line, read_lines, record_line
from orquanta.ledger.merkle import EMPTY_ROOT, Frontier, leaf_hash
from orquanta.ledger.records import ARCHIVED, ERASED, LedgerRecord, canonical_record
from orquanta.ledger.signatures import Signer
from orquanta.ledger.verify import FaultKind, Verdict, Verifier

SIGNER = Signer(bytes(range(32)))
STRANGER = Signer(bytes(32))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def log_of(
    texts: Sequence[str],
    *,
    fields: dict[int, dict[str, object]] | None = None,
    times: dict[int, datetime] | None = None,
) -> list[LedgerRecord]:
    """Make a log with one record for each text."""
    records: list[LedgerRecord] = []
    previous = GENESIS
    for number, text in enumerate(texts, start=1):
        key = number.to_bytes(32, "big")
        private = canonical_json({"reasoning": text})
        more = (fields or {}).get(number, {"action": "x.done", "user_id": "u1"})
        at = (times or {}).get(number, NOON)
        canonical = canonical_record(number, at.isoformat(), more, private_hash(key, private))
        hashed = record_hash(previous, canonical)
        records.append(LedgerRecord(number, previous, hashed, canonical, private, key))
        previous = hashed
    return records


def rehashed(records: Sequence[LedgerRecord]) -> list[LedgerRecord]:
    """Number and hash records again, as somebody would who wants to hide a change."""
    texts = [str(record.private) for record in records]
    return log_of(texts)


def checkpoint_over(records: Sequence[LedgerRecord], signer: Signer = SIGNER) -> Checkpoint:
    """Sign these records."""
    tree = Frontier()
    for record in records:
        tree.append(record.hash)
    return signer.sign(len(records), tree.root(), NOON)


def verify(
    records: Sequence[LedgerRecord], checkpoints: Sequence[Checkpoint] = (), start: Start | None = None
) -> Verdict:
    """Verify a log."""
    verifier = Verifier(SIGNER.public_key, checkpoints, start)
    for record in records:
        verifier.feed(record)
    return verifier.finish()


def fault(verdict: Verdict) -> tuple[FaultKind, int]:
    """Return the fault's kind and place."""
    assert verdict.fault is not None
    return verdict.fault.kind, verdict.fault.at_id


LOG = log_of([f"because {number}" for number in range(1, 21)])


def test_an_untouched_log_is_intact_and_its_root_is_told() -> None:
    verdict = verify(LOG, [checkpoint_over(LOG[:7]), checkpoint_over(LOG)])

    assert verdict.intact
    assert (verdict.records, verdict.checkpoints, verdict.last_id) == (20, 2, 20)
    assert verdict.root == checkpoint_over(LOG).root


def test_an_empty_log_is_intact() -> None:
    assert verify([]).intact
    assert verify([]).root == EMPTY_ROOT


@pytest.mark.parametrize("field", ["canonical", "private", "private_key", "hash", "previous_hash"])
def test_an_edit_of_any_part_is_found_where_it_is(field: str) -> None:
    touched = list(LOG)
    value = getattr(touched[4], field)
    changed = value.replace("1", "7") + " " if isinstance(value, str) else bytes([value[0] ^ 1]) + value[1:]
    touched[4] = replace(touched[4], **{field: changed})  # type: ignore[arg-type]  # each field in turn

    assert fault(verify(touched)) == (FaultKind.EDIT, 5)


def test_an_edit_of_what_is_shown_is_found() -> None:
    touched = [replace(record, shown={"action": "x.done", "goal_id": ""}) for record in LOG]
    assert verify(touched).intact

    touched[2] = replace(touched[2], shown={"action": "x.denied"})
    assert fault(verify(touched)) == (FaultKind.EDIT, 3)
    touched[2] = replace(touched[2], shown={"action": "x.done", "goal_id": "g-1"})
    assert fault(verify(touched)) == (FaultKind.EDIT, 3)


def test_a_deletion_is_found() -> None:
    assert fault(verify([*LOG[:9], *LOG[10:]])) == (FaultKind.DELETION, 10)
    assert fault(verify(LOG[1:])) == (FaultKind.DELETION, 1)


def test_a_reorder_is_found_in_the_lines_and_in_the_ids() -> None:
    lines = [*LOG[:4], LOG[5], LOG[4], *LOG[6:]]
    assert fault(verify(lines)) == (FaultKind.REORDER, 5)

    swapped = list(LOG)
    five, six = LOG[4], LOG[5]
    first = record_hash(five.previous_hash, six.canonical)
    swapped[4] = replace(six, id=5, previous_hash=five.previous_hash, hash=first)
    swapped[5] = replace(five, id=6, previous_hash=first, hash=record_hash(first, five.canonical))
    assert fault(verify(swapped)) == (FaultKind.REORDER, 5)


def test_a_record_that_stands_twice_is_found() -> None:
    assert fault(verify([*LOG[:5], LOG[3], *LOG[5:]])) == (FaultKind.REORDER, 4)


def test_a_truncation_is_found_by_a_checkpoint() -> None:
    assert verify(LOG[:15]).intact  # the chain alone cannot know
    assert fault(verify(LOG[:15], [checkpoint_over(LOG)])) == (FaultKind.TRUNCATION, 15)
    assert fault(verify([], [checkpoint_over(LOG)])) == (FaultKind.TRUNCATION, 0)


def test_a_rewritten_tail_is_a_fork() -> None:
    forged = rehashed([*LOG[:10], *LOG[11:], LOG[10]])

    assert verify(forged).intact  # the chain alone cannot know
    assert fault(verify(forged, [checkpoint_over(LOG)])) == (FaultKind.FORK, 20)


def test_a_checkpoint_of_another_key_is_not_trusted() -> None:
    assert fault(verify(LOG, [checkpoint_over(LOG, STRANGER)]))[0] is FaultKind.SIGNATURE
    forged = replace(checkpoint_over(LOG, STRANGER), public_key=SIGNER.public_key)
    assert fault(verify(LOG, [forged]))[0] is FaultKind.SIGNATURE
    later = replace(checkpoint_over(LOG), signed_at=NOON + timedelta(days=1))
    assert fault(verify(LOG, [later]))[0] is FaultKind.SIGNATURE


def test_words_may_be_gone_only_if_a_record_says_who_erased_them() -> None:
    fields: dict[int, dict[str, object]] = {
        number: {"action": "x.done", "user_id": f"u{number % 2}"} for number in range(1, 9)
    }
    fields[9] = {"action": ERASED, "erases": {"user_id": "u1", "up_to": 8}}
    records = log_of(["words"] * 9, fields=fields)

    def without(*numbers: int) -> list[LedgerRecord]:
        return [replace(one, private=None, private_key=None) if one.id in numbers else one for one in records]

    assert verify(without(1, 3, 7)).intact
    assert fault(verify(without(1, 4))) == (FaultKind.EDIT, 4)
    assert fault(verify(without(3)[:8])) == (FaultKind.EDIT, 3)


def test_a_log_without_its_oldest_records_verifies_from_what_was_known_of_them() -> None:
    tree = Frontier()
    for record in LOG[:11]:
        tree.append(record.hash)
    start = Start(11, LOG[10].hash, tree.subtrees)

    assert verify(LOG[11:], [checkpoint_over(LOG[:11]), checkpoint_over(LOG)], start).intact
    wrong = Start(11, LOG[10].hash, tuple(reversed(tree.subtrees)))
    assert fault(verify(LOG[11:], [checkpoint_over(LOG[:11]), checkpoint_over(LOG)], wrong)) == (FaultKind.FORK, 11)
    assert fault(verify(LOG[11:], [], Start(11, GENESIS, tree.subtrees))) == (FaultKind.EDIT, 12)
    assert fault(verify(LOG[11:], [], Start(11, LOG[10].hash, ())))[0] is FaultKind.EDIT


def test_an_export_is_read_back_as_it_was_written() -> None:
    header = Header(SIGNER.origin, SIGNER.public_key, Start())
    erased = replace(LOG[1], private=None, private_key=None)
    parts = [header, LOG[0], erased, checkpoint_over(LOG)]
    lines = [header_line(header), record_line(LOG[0]), record_line(erased), checkpoint_line(checkpoint_over(LOG))]

    assert list(read_lines(io.StringIO("\n".join(lines) + "\n"))) == parts


@pytest.mark.parametrize("line", ["{}", "[]", "x", '{"kind":"record"}', '{"kind":"record","id":"x"}', "{" * 100])
def test_a_line_that_is_of_no_export_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 is not of an audit export"):
        list(read_lines(io.StringIO(f"\n{line}\n")))


def _root_as_defined(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash by the recursive definition of RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + _root_as_defined(leaves[:split]) + _root_as_defined(leaves[split:])).digest()


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_the_root_is_that_of_rfc_6962(leaves: list[bytes]) -> None:
    tree = Frontier()
    for leaf in leaves:
        tree.append(leaf)

    assert tree.root() == _root_as_defined(leaves)
    assert Frontier.restore(tree.size, tree.subtrees).root() == tree.root()


def test_text_that_is_no_unicode_is_an_edit_and_no_crash() -> None:
    touched = [replace(LOG[0], canonical=LOG[0].canonical + "\ud800"), *LOG[1:]]
    assert fault(verify(touched)) == (FaultKind.EDIT, 1)


@settings(max_examples=150)
@given(st.data())
def test_no_random_change_goes_unseen(data: st.DataObject) -> None:
    records = list(LOG)
    index = data.draw(st.integers(0, len(records) - 1))
    record = records[index]
    field = data.draw(st.sampled_from(["id", "previous_hash", "hash", "canonical", "private", "private_key"]))
    value = getattr(record, field)
    kind = st.integers(-1, 30) if field == "id" else st.text() if isinstance(value, str) else st.binary()
    changed = data.draw(kind.filter(lambda one: one != value))
    records[index] = replace(record, **{field: changed})  # type: ignore[arg-type]  # each field in turn

    assert not verify(records, [checkpoint_over(LOG)]).intact


def test_checkpoints_that_come_after_their_records_do_not_count_as_signatures() -> None:
    forged = rehashed([*LOG[:10], *LOG[11:], LOG[10], LOG[0]])
    verifier = Verifier(SIGNER.public_key, [])
    for record in forged:
        verifier.feed(record)
    verifier.expect([checkpoint_over(LOG[:15]), checkpoint_over(LOG)])
    verdict = verifier.finish()

    assert (verdict.checkpoints, verdict.signed_id) == (0, 0)
    assert verify(LOG, [checkpoint_over(LOG[:7]), checkpoint_over(LOG[:12])]).signed_id == 12


def test_a_log_whose_end_stays_unsigned_for_an_hour_has_lost_its_checkpoints() -> None:
    times = {number: NOON + timedelta(minutes=number * 7) for number in range(1, 21)}
    records = log_of(["words"] * 20, times=times)

    assert verify(records, [checkpoint_over(records[:15])]).intact
    assert fault(verify(records, [checkpoint_over(records[:10])])) == (FaultKind.SIGNATURE, 10)
    assert fault(verify(records)) == (FaultKind.SIGNATURE, 0)


def test_a_log_that_begins_later_says_whether_what_was_before_was_archived() -> None:
    fields: dict[int, dict[str, object]] = {number: {"action": "x.done"} for number in range(1, 9)}
    fields[7] = {"action": ARCHIVED, "archives": {"up_to": 4, "sha256": "ab"}}
    records = log_of(["words"] * 8, fields=fields)
    tree = Frontier()
    for record in records[:4]:
        tree.append(record.hash)
    start = Start(4, records[3].hash, tree.subtrees)

    archived, cut = verify(records[4:], [], start), verify(records[4:6], [], start)

    assert (archived.after_id, archived.archived) == (4, True)
    assert (cut.after_id, cut.archived) == (4, False)


FORGED_ERASURES: list[object] = [{"record_id": []}, {"record_id": {}}, {"user_id": [], "up_to": "x"}, [], 7]


@pytest.mark.parametrize("erases", FORGED_ERASURES, ids=[str(n) for n in range(len(FORGED_ERASURES))])
def test_a_forged_erasure_excuses_nothing_and_stops_no_verification(erases: object) -> None:
    fields: dict[int, dict[str, object]] = {1: {"action": "x.done"}, 2: {"action": ERASED, "erases": erases}}
    records = log_of(["words"] * 2, fields=fields)
    records[0] = replace(records[0], private=None, private_key=None)

    assert fault(verify(records)) == (FaultKind.EDIT, 1)


def test_nesting_without_end_is_a_fault_and_no_crash() -> None:
    deep = '{"id":1,"x":' + "[" * 100_000
    record = replace(LOG[0], canonical=deep, hash=record_hash(GENESIS, deep))
    assert fault(verify([record])) == (FaultKind.EDIT, 1)
    for line in (deep, '{"kind":"record","id":1e999}', '{"kind":"header","after_id":1e999}'):
        with pytest.raises(ValueError, match="line 1 is not of an audit export"):
            list(read_lines(io.StringIO(line)))
