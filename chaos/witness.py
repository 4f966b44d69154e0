"""What ran on the hosts by the hosts' own word, and what must never be found there. Pure; `read` alone opens files."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

WHOLE_MILLI: Final = 1000
Attempt = tuple[str, int]
"""Job and epoch."""


@dataclass(slots=True)
class Stay:
    """One member's stay on a host, from when the host took it until it ended; monotonic seconds of the machine."""

    node: str
    allocation: str
    job: str
    epoch: int
    rank: int
    world: int
    gpus: tuple[str, ...]
    milli: int
    taken_at: float
    began_at: float | None = None
    ended_at: float | None = None
    reason: str = ""
    exit_code: int | None = None

    @property
    def name(self) -> str:
        """Who it was, for a person."""
        return f"{self.job} attempt {self.epoch} rank {self.rank} on {self.node}"


@dataclass(slots=True)
class Account:
    """All stays, and when each host was linked or not."""

    stays: list[Stay] = field(default_factory=list)
    links: list[tuple[float, str, bool]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What the journals themselves contradict each other in."""


def read(files: Iterable[Path]) -> Account:
    """Read journals of simulators; a line without a node, `killed`, says that all of that journal's hosts ended."""
    found = Account()
    for file in files:
        with file.open(encoding="utf-8") as lines:
            _take_in(found, (json.loads(line) for line in lines if line.endswith("\n")))
    found.links.sort()
    return found


def _take_in(found: Account, lines: Iterable[Mapping[str, Any]]) -> None:  # Any: nested JSON
    there: dict[tuple[str, str, int], Stay] = {}
    linked: set[str] = set()
    for line in lines:
        at, what = line["at"], line["what"]
        if what == "killed":
            for stay in there.values():
                if stay.ended_at is None:
                    stay.ended_at, stay.reason = at, "killed"
            found.links += [(at, node, False) for node in linked]
            linked.clear()
        elif what in ("linked", "unlinked"):
            (linked.add if what == "linked" else linked.discard)(line["node"])
            found.links.append((at, line["node"], what == "linked"))
        elif what in ("taken", "began", "ended"):
            _of_member(found, there, line)


def _of_member(found: Account, there: dict[tuple[str, str, int], Stay], line: Mapping[str, Any]) -> None:  # Any: JSON
    key = (line["node"], line["allocation"], line["rank"])
    stay = there.get(key)
    if line["what"] == "taken":
        fresh = Stay(
            *key[:2], line["job"], line["epoch"], line["rank"], line["world"], tuple(line["gpus"]), line["milli"],
            line["at"],
        )  # fmt: skip
        if stay is not None:
            found.faults.append(f"{fresh.name} was taken twice by its host")
        there[key] = fresh
        found.stays.append(fresh)
    elif stay is None:
        found.faults.append(f"a host tells that {line['job']} {line['what']}, and never took it")
    elif line["what"] == "began":
        if stay.began_at is not None:
            found.faults.append(f"{stay.name} began twice")
        stay.began_at = line["at"]
    elif stay.ended_at is None:  # one that was killed is told of again when its host is back
        stay.ended_at, stay.reason, stay.exit_code = line["at"], line["reason"], line["exit_code"]


def violations(said: Account) -> list[str]:
    """Return what must not be: what runs still, or ran twice, or at the same time, or on a GPU that was taken."""
    return [
        *said.faults,
        *(f"{stay.name} still runs" for stay in said.stays if stay.ended_at is None),
        *_twice(said.stays),
        *_together(said.stays),
        *_overbooked(said.stays),
    ]


def _twice(stays: Sequence[Stay]) -> list[str]:
    seen: dict[tuple[str, int, int], Stay] = {}
    found = []
    for stay in stays:
        other = seen.setdefault((stay.job, stay.epoch, stay.rank), stay)
        if other is not stay:
            found.append(f"{stay.name} ran before on {other.node}")
    return found


def _together(stays: Sequence[Stay]) -> list[str]:
    """Two attempts of one job at the same time, on whatever hosts."""
    by_job: dict[str, dict[int, tuple[float, float]]] = defaultdict(dict)
    for stay in stays:
        first, last = by_job[stay.job].get(stay.epoch, (float("inf"), 0.0))
        by_job[stay.job][stay.epoch] = (min(first, stay.taken_at), max(last, _end(stay)))
    found = []
    for job, spans in by_job.items():
        ordered = sorted(spans.items())
        for (epoch, (_, end)), (later, (begin, _)) in pairwise(ordered):
            if begin < end:
                found.append(f"{job}: attempt {later} began {end - begin:.3f} s before attempt {epoch} had ended")
    return found


def _overbooked(stays: Sequence[Stay]) -> list[str]:
    moments: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for stay in stays:
        for gpu in stay.gpus:
            moments[gpu] += [(stay.taken_at, stay.milli, stay.name), (_end(stay), -stay.milli, stay.name)]
    found = []
    for gpu, changes in moments.items():
        used = 0
        for at, milli, name in sorted(changes, key=lambda one: (one[0], one[1])):
            used += milli
            if used > WHOLE_MILLI:
                found.append(f"{gpu} held {used} thousandths of itself at {at:.3f}, with {name}")
    return found


def _end(stay: Stay) -> float:
    return float("inf") if stay.ended_at is None else stay.ended_at


def against_books(said: Account, outcomes: Mapping[str, tuple[str, int]], attempts: Mapping[Attempt, int]) -> list[str]:
    """Return where hosts and books differ.

    `outcomes`: state and last epoch of each job; `attempts`: how many members each attempt has by the books.
    """
    by_attempt: dict[Attempt, list[Stay]] = defaultdict(list)
    for stay in said.stays:
        by_attempt[stay.job, stay.epoch].append(stay)
    found = [
        f"{job} attempt {epoch} ran, and is not in the books" for job, epoch in by_attempt.keys() - attempts.keys()
    ]
    for job, (state, epoch) in outcomes.items():
        ran = by_attempt.get((job, epoch), [])
        done = sum(stay.exit_code == 0 for stay in ran)
        wanted = attempts.get((job, epoch), 0)
        if state == "succeeded" and done != wanted:
            found.append(
                f"{job} succeeded by the books; on the hosts {done} of {wanted} members of attempt {epoch} did"
            )
    for (job, epoch), ran in by_attempt.items():
        if any(stay.world != attempts.get((job, epoch), stay.world) for stay in ran):
            found.append(f"{job} attempt {epoch} was started as another gang than it is in the books")
    return found
