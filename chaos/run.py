"""One run: start everything, break it while jobs run, wait until all is done, and balance the books."""

import asyncio
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chaos import ledger, plan, report, witness
from chaos.acts import Acts
from chaos.load import Load
from chaos.recovery import recovered
from chaos.site import Site
from chaos.watch import Watch

QUIET_SECONDS: Final = 600.0
"""After the last mischief, until every job has ended."""

_TELL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked for."""

    seconds: float
    hosts: int
    jobs: int
    seed: int
    directory: Path


@dataclass(slots=True)
class Outcome:
    """What was found."""

    violations: list[str]
    figures: dict[str, object]
    recoveries: dict[str, dict[str, object]] = field(default_factory=dict)


async def run(terms: Terms, tell: Callable[[str], None]) -> Outcome:
    """Do it. Everything that was started has ended when it returns or raises."""
    tell("starting PostgreSQL, three NATS servers, two control planes and the hosts")
    watch = Watch()
    asked = time.monotonic()
    async with Site(terms.directory, terms.hosts, terms.seed, terms.seconds) as site:
        load, acts = Load(site.people, terms.seed), Acts(site, terms.seconds)
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch.run(site, acts))
            telling = group.create_task(_progress(terms, load, acts, tell))
            try:
                async with asyncio.TaskGroup() as doing:
                    doing.create_task(load.run(terms.jobs, terms.seconds))
                    doing.create_task(acts.run(plan.draw(terms.seed, terms.seconds)))
                tell("the mischief is over; waiting until every job has ended")
                began = time.monotonic()
                quiet = await site.quiet(QUIET_SECONDS)
                ended_in = time.monotonic() - began
            finally:
                watching.cancel()
                telling.cancel()
        audit = await site.verify_audit()
        await site.hosts.stop()
        books = await asyncio.to_thread(ledger.read, site.url)
        said = witness.read(site.hosts.journals)
    outcomes = {job: (state, epoch) for job, (state, epoch, _, _) in books.jobs.items()}
    members = {key: count for key, (_, _, count) in books.attempts.items()}
    wrong = [
        *([] if quiet else [f"not everything had ended {QUIET_SECONDS:g} s after the last mischief"]),
        *load.told,
        *watch.ended,
        *audit,
        *ledger.violations(books, load.acknowledged),
        *witness.violations(said),
        *witness.against_books(said, outcomes, members),
    ]
    back = report.recoveries([recovered(deed, books, said, terms.hosts) for deed in acts.deeds])
    states = Counter(state for state, *_ in books.jobs.values())
    figures: dict[str, object] = {
        "seed": terms.seed,
        "seconds": terms.seconds,
        "hosts": terms.hosts,
        "jobs": dict(states),
        "attempts": len(books.attempts),
        "stays_on_hosts": len(said.stays),
        "requests_tried_again": load.failures,
        "slowest_acknowledgement_s": round(load.slowest_seconds, 2),
        "mischief": len(acts.deeds),
        "leads": len(books.leads),
        "control_plane_starts_in_vain": acts.starts_in_vain,
        "started_in_s": round(started - asked, 1),
        "mischief_s": round(began - started, 1),
        "all_ended_after_s": round(ended_in, 1),
        "recovered": back,
        "host_faults": report.faults(books),
        "control_planes": watch.document(),
        "violations": len(wrong),
    }
    return Outcome(wrong, figures, back)


async def _progress(terms: Terms, load: Load, acts: Acts, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(_TELL_SECONDS)
        doing = ", ".join(sorted(kind.value for kind in acts.now)) or "-"
        passed = time.monotonic() - began
        tell(
            f"{passed:4.0f} s, {len(load.acknowledged)} of {terms.jobs} jobs accepted, "
            f"{len(acts.deeds)} times mischief, now: {doing}"
        )


def progress(text: str) -> None:
    """Show how it goes: one line that is written anew on a terminal, nothing elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def discard(directory: Path) -> None:
    """Remove what a run left that went well."""
    shutil.rmtree(directory, ignore_errors=True)
