"""What the host did by itself, on disk: each use of an allowance is there before the rung is climbed."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from node_agent.files import make_directory, write_atomically
from node_agent.health.model import Condition, Rung
from node_agent.repair.alone import KEPT_SECONDS, MAXIMUM_USES, Moment, Use
from node_agent.repair.model import RepairState

log = structlog.get_logger()

_MAXIMUM_BYTES: Final = 1024 * 1024
_VERSION: Final = 1


class UseBook:
    """The uses, oldest first. `save` blocks for the disk."""

    def __init__(self, file: Path, moment: Moment) -> None:
        """Read the file. One that cannot be read counts as full: the host then only watches."""
        self._file = file
        self.uses: tuple[Use, ...] = ()
        try:
            make_directory(file.parent)
            with file.open("rb") as opened:
                self.uses = _decode(opened.read(_MAXIMUM_BYTES + 1))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.error("repair.uses_damaged", file=str(file), reason=str(error)[:200], todo="delete it to go on")  # noqa: TRY400 - the reason is whole
            unknown = Use("unknown", Rung.QUARANTINE, "", moment, RepairState.FAILED)
            self.uses = (unknown,)

    def add(self, use: Use, moment: Moment) -> None:
        """Count a use; call `save` before it is acted on."""
        kept = [other for other in self.uses if other.age_seconds(moment) < KEPT_SECONDS]
        self.uses = (*kept, use)[-MAXIMUM_USES:]

    def settle(self, repair_id: str, outcome: RepairState, condition: Condition | None) -> None:
        """Note how it ended, and how the condition stood then."""
        self.uses = tuple(
            replace(
                use,
                outcome=outcome,
                count_after=0 if condition is None else condition.count,
                first_seen_after=None if condition is None else condition.first_seen_at,
            )
            if use.repair_id == repair_id
            else use
            for use in self.uses
        )

    def forgive(self) -> None:
        """End the host's quarantine of itself; what was used stays used."""
        self.uses = tuple(use for use in self.uses if use.rung is not Rung.QUARANTINE)

    def save(self) -> None:
        """Make it survive a power cut; raises OSError."""
        write_atomically(self._file, _encode(self.uses))


def _encode(uses: Sequence[Use]) -> bytes:
    rows = [
        [
            use.repair_id,
            use.rung.value,
            use.condition_id,
            use.moment.now.isoformat(),
            use.moment.monotonic_seconds,
            use.moment.boot_id,
            None if use.outcome is None else use.outcome.value,
            use.count_after,
            None if use.first_seen_after is None else use.first_seen_after.isoformat(),
        ]
        for use in uses
    ]
    return json.dumps({"version": _VERSION, "uses": rows}).encode()


def _decode(data: bytes) -> tuple[Use, ...]:
    if len(data) > _MAXIMUM_BYTES:
        raise ValueError(f"it is longer than {_MAXIMUM_BYTES} bytes")
    try:
        document: Any = json.loads(data)
        if document["version"] != _VERSION:
            raise ValueError(f"its version is {document['version']!r}")
        return tuple(_use(row) for row in document["uses"][-MAXIMUM_USES:])
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a list of uses: {error!r}") from error


def _use(row: Any) -> Use:  # Any: the row is JSON
    repair_id, rung, condition_id, now, monotonic_seconds, boot_id, outcome, count_after, first_seen = row
    return Use(
        repair_id=str(repair_id),
        rung=Rung(rung),
        condition_id=str(condition_id),
        moment=Moment(_time(now), float(monotonic_seconds), str(boot_id)),
        outcome=None if outcome is None else RepairState(outcome),
        count_after=int(count_after),
        first_seen_after=None if first_seen is None else _time(first_seen),
    )


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
