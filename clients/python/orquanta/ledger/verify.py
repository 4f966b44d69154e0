"""Verification of a log: the first thing that is wrong, if anything is. Needs nobody's help and no network.

An edit, a deletion or a reorder breaks the chain. Who rewrites the tail of the chain to hide one breaks a signed
checkpoint: that is a truncation if records are missing at the end, and a fork if there are others in their place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from orquanta.ledger.chain import private_hash, record_hash
from orquanta.ledger.checkpoint import Checkpoint, Start
from orquanta.ledger.merkle import Frontier
from orquanta.ledger.records import ARCHIVED, DISCONTINUED, ERASED, LedgerRecord, read_canonical
from orquanta.ledger.signatures import is_signed_by

UNSIGNED_MAX: Final = timedelta(hours=1)
"""Records are signed within a minute. If those at the end go on for longer than this unsigned, checkpoints are gone."""
_ERASURES_MAX: Final = 10_000
_BREAKS_MAX: Final = 20


class FaultKind(StrEnum):
    """What was done to a log."""

    EDIT = "edit"
    DELETION = "deletion"
    REORDER = "reorder"
    TRUNCATION = "truncation"
    FORK = "fork"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, the record at which it was found, and a sentence for a person."""

    kind: FaultKind
    at_id: int
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a log stands. `root` is that of its last record.

    `checkpoints` counts those whose root was computed and is the same, and `signed_id` is the last record that one of
    them covers. The log begins after record `after_id`, and `archived` tells whether a record says that what was before
    was archived. `breaks` are records that say that the log is no continuation of what was signed before, and
    `erased_later` those that say, outside of this part of the log, whose words were erased.
    """

    fault: Fault | None
    records: int
    checkpoints: int
    last_id: int
    root: bytes
    signed_id: int
    after_id: int
    archived: bool
    breaks: tuple[int, ...] = ()
    erased_later: tuple[int, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.fault is None


class Verifier:
    """Takes the records in order, then tells. Memory does not grow with the log, except for erased records."""

    def __init__(self, public_key: bytes, checkpoints: Iterable[Checkpoint], start: Start | None = None) -> None:
        """Trust checkpoints of this key alone (Ed25519, 32 bytes)."""
        begin = start or Start()
        self._public_key = public_key
        self._after_id = self._last_id = begin.after_id
        self._hash = begin.previous_hash
        self._records = 0
        self._wordless: dict[int, str] = {}
        self._missing_id: int | None = None
        self._came_later = False
        self._fault: Fault | None = None
        self._due: list[Checkpoint] = []
        self._matched = 0
        self._signed_id = 0
        self._unsigned_since: datetime | None = None
        self._last_at: datetime | None = None
        self._archived: set[int] = set()
        self._breaks: list[int] = []
        self._later: list[LedgerRecord] = []
        try:
            self._tree = Frontier.restore(begin.after_id, begin.frontier)
        except ValueError as error:
            self._tree = Frontier()
            self._found(FaultKind.EDIT, begin.after_id, f"the start of the log is not one: {error}")
        self.expect(checkpoints)

    def expect(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Hold the log to more checkpoints; those over fewer records than were fed already come too late to count."""
        for checkpoint in checkpoints:
            if not is_signed_by(checkpoint, self._public_key):
                text = f"the checkpoint over {checkpoint.size} records is not signed by the trusted key"
                self._found(FaultKind.SIGNATURE, checkpoint.size, text)
            self._due.append(checkpoint)
        self._due.sort(key=lambda one: one.size, reverse=True)
        self._compare()

    def excuse(self, erasure: LedgerRecord) -> None:
        """Take the word of a record that stands later in the log, outside of this part, for words that are gone."""
        if len(self._later) < _ERASURES_MAX:
            self._later.append(erasure)

    @property
    def last_id(self) -> int:
        """Id of the last record that was in order."""
        return self._last_id

    @property
    def intact(self) -> bool:
        """Whether nothing wrong was found so far."""
        return self._fault is None and self._missing_id is None

    def feed(self, record: LedgerRecord) -> None:
        """Look at the next record."""
        if self._fault is not None:
            return
        if self._missing_id is not None:
            self._came_later = self._came_later or record.id == self._missing_id
            return
        expected = self._last_id + 1
        if record.id != expected:
            if record.id > expected:
                self._missing_id = expected
            else:
                self._found(FaultKind.REORDER, record.id, f"record {record.id} stands after record {self._last_id}")
            return
        self._check(record)
        if self._fault is not None:
            return
        self._records += 1
        self._last_id = record.id
        self._hash = record.hash
        self._tree.append(record.hash)
        self._compare()

    def _check(self, record: LedgerRecord) -> None:
        if record.previous_hash != self._hash:
            text = f"record {record.id} does not follow the record before it"
            return self._found(FaultKind.EDIT, record.id, text)
        if record_hash(record.previous_hash, record.canonical) != record.hash:
            return self._found(FaultKind.EDIT, record.id, f"record {record.id} is not what was hashed")
        try:
            fields = read_canonical(record.canonical)
        except ValueError:
            return self._found(FaultKind.EDIT, record.id, f"record {record.id} cannot be read")
        if fields["id"] != record.id:
            text = f"record {fields['id']} stands in the place of record {record.id}"
            return self._found(FaultKind.REORDER, record.id, text)
        shown = record.shown or {}
        wrong = sorted(name for name, value in shown.items() if fields.get(name, type(value)()) != value)
        if wrong:
            text = f"record {record.id} is shown with another {', '.join(wrong)} than was hashed"
            return self._found(FaultKind.EDIT, record.id, text)
        self._last_at = _moment(fields.get("at"))
        self._unsigned_since = self._unsigned_since or self._last_at
        if record.private is None or record.private_key is None:
            self._wordless[record.id] = str(fields.get("user_id", ""))
        elif private_hash(record.private_key, record.private) != fields.get("private"):
            return self._found(FaultKind.EDIT, record.id, f"the words of record {record.id} are not what was hashed")
        return self._note(record.id, fields)

    def _note(self, record_id: int, fields: Mapping[str, object]) -> None:
        """Remember what a record says about the log itself."""
        if fields.get("action") == ERASED:
            self._excuse(fields.get("erases"))
        elif fields.get("action") == ARCHIVED and isinstance(archives := fields.get("archives"), dict):
            self._archived.add(_number(archives.get("up_to")))
        elif fields.get("action") == DISCONTINUED:
            self._breaks = [*self._breaks[-_BREAKS_MAX:], record_id]

    def _excuse(self, erases: object) -> None:
        """Take out of doubt the records whose words an erasure took: one, some, or those of a user up to one."""
        if not isinstance(erases, dict):
            return
        named = erases.get("record_ids")
        for record_id in (erases.get("record_id"), *(named if isinstance(named, list) else ())):
            self._wordless.pop(_number(record_id), None)
        user_id, up_to = erases.get("user_id"), _number(erases.get("up_to"))
        if user_id:
            for record_id in [one for one, owner in self._wordless.items() if owner == user_id and one <= up_to]:
                del self._wordless[record_id]

    def _compare(self) -> None:
        while self._due and self._due[-1].size <= self._tree.size and self._fault is None:
            checkpoint = self._due.pop()
            if checkpoint.size != self._tree.size:  # from before the start, whose records are gone, or too late
                continue
            if checkpoint.root == self._tree.root():
                self._matched += 1
                self._signed_id, self._unsigned_since = checkpoint.size, None
            else:
                text = f"the first {checkpoint.size} records are others than those that the checkpoint was signed over"
                self._found(FaultKind.FORK, checkpoint.size, text)

    def _found(self, kind: FaultKind, at_id: int, text: str) -> None:
        if self._fault is None:
            self._fault = Fault(kind, at_id, text)

    def finish(self) -> Verdict:
        """Tell how the log stands, now that it has ended."""
        if self._missing_id is not None:
            kind = FaultKind.REORDER if self._came_later else FaultKind.DELETION
            how = "stands out of its place" if self._came_later else "is missing"
            self._found(kind, self._missing_id, f"record {self._missing_id} {how}")
        if self._due:
            size = self._due[0].size
            text = f"a checkpoint was signed over {size} records, but the log ends at record {self._last_id}"
            self._found(FaultKind.TRUNCATION, self._last_id, text)
        erased_later = self._excuse_later() if self._wordless else ()
        if self._wordless:
            record_id = next(iter(self._wordless))
            text = f"the words of record {record_id} are gone, and no record says who erased them"
            self._found(FaultKind.EDIT, record_id, text)
        if self._unsigned_since and self._last_at and self._last_at - self._unsigned_since > UNSIGNED_MAX:
            text = (
                f"nothing after record {self._signed_id} is signed, though the log goes on for "
                f"{(self._last_at - self._unsigned_since) // timedelta(minutes=1)} minutes: checkpoints are missing"
            )
            self._found(FaultKind.SIGNATURE, self._signed_id, text)
        return Verdict(
            self._fault,
            self._records,
            self._matched,
            self._last_id,
            self._tree.root(),
            self._signed_id,
            self._after_id,
            self._after_id in self._archived,
            tuple(self._breaks),
            erased_later,
        )

    def _excuse_later(self) -> tuple[int, ...]:
        """Return the later records by which words may be gone."""
        believed: list[int] = []
        for record in self._later:
            try:
                fields = read_canonical(record.canonical)
            except ValueError:
                continue
            whole = record_hash(record.previous_hash, record.canonical) == record.hash and fields["id"] == record.id
            if whole and record.id > self._last_id and fields.get("action") == ERASED:
                before = len(self._wordless)
                self._excuse(fields.get("erases"))
                if len(self._wordless) < before:
                    believed.append(record.id)
        return tuple(believed)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
