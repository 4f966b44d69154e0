"""What the control planes' database says in the end, read past them, and what must not be found there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, LiteralString

import psycopg

_OUTCOMES: Final = ("job.succeeded", "job.failed", "job.cancelled")
_READ_SECONDS: Final = 60


@dataclass(slots=True)
class Ledger:
    """The rows that are checked. Money in micro-dollars."""

    jobs: dict[str, tuple[str, int, int, int]] = field(default_factory=dict)
    """State, last epoch, cost, still reserved."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Records of an end in the audit, by job."""
    attempts: dict[tuple[str, int], tuple[str, int, int]] = field(default_factory=dict)
    """By job and epoch: state, cost, members."""
    left: list[str] = field(default_factory=list)
    """Members, holds and uses of GPUs that are left over, in words."""
    people: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Spent, reserved and the costs of all their jobs, by e-mail."""
    leads: list[datetime] = field(default_factory=list)
    placements: list[datetime] = field(default_factory=list)
    submissions: list[datetime] = field(default_factory=list)
    incidents: list[tuple[datetime, datetime | None, datetime | None]] = field(default_factory=list)
    """Observed, cordoned, closed."""


def read(url: str) -> Ledger:
    """Read all of it in one transaction."""
    with psycopg.connect(url, connect_timeout=_READ_SECONDS) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

        def rows(query: LiteralString) -> Sequence[tuple[Any, ...]]:  # Any: columns of many types
            return connection.execute(query).fetchall()

        def moments(query: LiteralString) -> list[datetime]:
            return [at for (at,) in rows(query)]

        found = Ledger()
        for job, state, epoch, cost, reserved in rows(
            "SELECT id, status, epoch, cost_usd_micros, reserved_usd_micros FROM jobs"
        ):
            found.jobs[job] = (state, epoch, cost, reserved)
        found.outcomes.update(
            job for job, action in rows("SELECT job_id, action FROM audit_records") if action in _OUTCOMES
        )
        for job, epoch, state, cost, members in rows(
            "SELECT job_id, epoch, state, cost_usd_micros, "
            "(SELECT count(*) FROM allocation_members m WHERE m.allocation_id = a.id) FROM allocations a"
        ):
            found.attempts[job, epoch] = (state, cost, members)
        found.left += [
            f"member {rank} of {allocation} is {state}"
            for allocation, rank, state in rows("SELECT allocation_id, rank, state FROM allocation_members")
            if state != "ended"
        ]
        found.left += [
            f"{gpu} is held by {allocation} of {job}"
            for gpu, allocation, job in rows("SELECT gpu_uuid, allocation_id, job_id FROM gpu_holds")
        ]
        found.left += [
            f"{gpu} counts as used by {milli} thousandths"
            for gpu, milli in rows("SELECT gpu_uuid, used_milli FROM gpu_usage WHERE used_milli <> 0")
        ]
        for email, spent, reserved, cost in rows(
            "SELECT email, spent_usd_micros, reserved_usd_micros, "
            "(SELECT coalesce(sum(cost_usd_micros), 0) FROM jobs WHERE user_id = u.id) FROM users u"
        ):
            found.people[email] = (int(spent), int(reserved), int(cost))
        found.leads = moments("SELECT created_at FROM events WHERE kind = 'leader.changed' ORDER BY sequence")
        found.placements = moments("SELECT created_at FROM allocations ORDER BY created_at")
        found.submissions = moments("SELECT created_at FROM jobs ORDER BY created_at")
        found.incidents = [
            (one, two, three) for one, two, three in rows("SELECT observed_at, cordoned_at, closed_at FROM incidents")
        ]
        return found


def violations(books: Ledger, acknowledged: Mapping[str, str]) -> list[str]:
    """Return what must not be. `acknowledged`: the job of each request that was acknowledged."""
    wanted = set(acknowledged.values())
    found = [f"{job} was acknowledged, and is not in the books" for job in wanted - books.jobs.keys()]
    found += [f"{job} is in the books, and nobody was told of it" for job in books.jobs.keys() - wanted]
    if len(wanted) != len(acknowledged):
        found.append(f"{len(acknowledged)} requests were answered with {len(wanted)} jobs")
    return [*found, *_of_jobs(books), *_of_people(books), *books.left]


def _of_jobs(books: Ledger) -> list[str]:
    found = []
    charges: Counter[str] = Counter()
    for (job, epoch), (state, cost, _) in books.attempts.items():
        charges[job] += cost
        if state != "ended":
            found.append(f"{job} attempt {epoch} is {state}")
    for job, (state, _, cost, reserved) in books.jobs.items():
        if state not in ("succeeded", "failed"):
            found.append(f"{job} is {state}, and nobody cancelled it")
        if books.outcomes[job] != 1:
            found.append(f"{job} has {books.outcomes[job]} outcomes in the audit")
        if reserved:
            found.append(f"{job} has {reserved} micro-dollars reserved")
        if cost != charges[job]:
            found.append(f"{job} costs {cost} micro-dollars, its attempts {charges[job]}")
    return found


def _of_people(books: Ledger) -> list[str]:
    found = []
    for email, (spent, reserved, cost) in books.people.items():
        if reserved:
            found.append(f"{email} has {reserved} micro-dollars reserved")
        if spent != cost:
            found.append(f"{email} has spent {spent} micro-dollars, and the jobs cost {cost}")
    return found
