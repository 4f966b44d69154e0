"""What virtual hosts write down: each start and end of a member, and when they were linked, in one file for all.

It is what a host remembers when it comes back after its process was killed, as a daemon does from its disk; and a
witness that no control plane has written, for whoever checks that nothing ran twice. One JSON object a line, appended
whole by any number of processes; `at` is the machine's monotonic clock in seconds, the same for all of its processes.
"""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from orquanta.v1 import job_pb2, node_link_pb2
from simulator.members import Key, Member


class Happening(Enum):
    """What a line tells. `TAKEN` holds the whole order; a host that has taken a member holds its GPUs until `ENDED`."""

    BOOTED = "booted"
    LINKED = "linked"
    UNLINKED = "unlinked"
    TAKEN = "taken"
    BEGAN = "began"
    ENDED = "ended"
    FORGOTTEN = "forgotten"


@dataclass(slots=True)
class Recalled:
    """What a host knows of its earlier life; `done` are members whose end was acknowledged."""

    epoch: int = 0
    members: dict[Key, Member] = field(default_factory=dict)
    done: dict[Key, Member] = field(default_factory=dict)


class Journal:
    """Appends to a file; without one, does nothing."""

    def __init__(self, file: Path | None) -> None:
        self._descriptor = -1
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: Happening, node_id: str, **more: object) -> None:
        """Write one line about a host."""
        if self._descriptor >= 0:
            line = {"at": round(time.monotonic(), 6), "what": what.value, "node": node_id, **more}
            os.write(self._descriptor, (json.dumps(line) + "\n").encode())

    def note_member(self, what: Happening, node_id: str, member: Member) -> None:
        """Write one line about a member."""
        wish = member.wish
        more: dict[str, object] = {
            "allocation": wish.allocation_id,
            "job": wish.job_id,
            "epoch": wish.epoch,
            "rank": wish.rank,
        }
        if what is Happening.TAKEN:
            more |= {"world": wish.world_size, "gpus": list(wish.gpu_uuids), "milli": wish.gpu_milli or 1000}
        elif what is Happening.ENDED:
            more |= {
                "reason": job_pb2.ExitReason.Name(member.exit_reason).removeprefix("EXIT_REASON_").lower(),
                "exit_code": member.exit_code,
                "signal": member.signal,
                "message": member.message,
                "started_at": member.started_at,
                "ended_at": member.ended_at,
            }
        self.note(what, node_id, **more)


NO_JOURNAL: Final = Journal(None)


def recall(file: Path | None, now: float) -> dict[str, Recalled]:
    """Return what the hosts of a journal know, by node id: what ran in an earlier process has ended with it."""
    found: dict[str, Recalled] = {}
    if file is None or not file.exists():
        return found
    with file.open(encoding="utf-8") as lines:
        for said in _objects(lines):
            if "node" in said:
                _take_in(found.setdefault(said["node"], Recalled()), said)
    for one in found.values():
        for member in one.members.values():
            if not member.ended:
                member.state = job_pb2.ALLOCATION_STATE_ENDED
                member.exit_reason = job_pb2.EXIT_REASON_SUPERVISOR_LOST
                member.ended_at = now
                member.message = "the host went down, and came back without it"
    return found


def _objects(lines: Iterable[str]) -> Iterable[dict[str, Any]]:  # Any: nested JSON
    for line in lines:
        if line.endswith("\n"):  # the last one may be torn
            yield json.loads(line)


def _take_in(one: Recalled, said: dict[str, Any]) -> None:  # Any: nested JSON
    what = Happening(said["what"])
    if what is Happening.LINKED:
        one.epoch = max(one.epoch, said["control_epoch"])
        return
    if what in (Happening.BOOTED, Happening.UNLINKED):
        return
    key = (said["allocation"], said["rank"])
    if what is Happening.TAKEN:
        one.members[key] = Member(
            wish=node_link_pb2.MemberAssignment(
                allocation_id=said["allocation"],
                job_id=said["job"],
                epoch=said["epoch"],
                rank=said["rank"],
                world_size=said["world"],
                gpu_uuids=said["gpus"],
                gpu_milli=said["milli"],
            ),
            state=job_pb2.ALLOCATION_STATE_STARTING,
            starts_at=0.0,
            ends_at=float("inf"),
            exit_code=None,
            exit_reason=job_pb2.EXIT_REASON_SUPERVISOR_LOST,
        )
    elif what is Happening.FORGOTTEN:
        member = one.members.pop(key, None)
        if member is not None:
            one.done[key] = member
    elif what is Happening.ENDED and key in one.members:
        member = one.members[key]
        member.state = job_pb2.ALLOCATION_STATE_ENDED
        member.exit_reason = job_pb2.ExitReason.Value(f"EXIT_REASON_{said['reason'].upper()}")
        member.exit_code, member.signal, member.message = said["exit_code"], said["signal"], said["message"]
        member.started_at, member.ended_at = said["started_at"], said["ended_at"]
