"""Runs the evals: `python -m evals`, or `make eval`. No key and no network are needed.

The last line is one JSON object. Exits 1 if a pack fails: something happened that must never happen, a mean score
below the pack's floor, or too many attempts that could not be tried.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import structlog

from control_plane.reasoning.guard import forbid_real_calls
from evals.case import Pack
from evals.lab import forget_template
from evals.packs import faults, goals_model, goals_rules, injection, loops, model_causes, no_fault, reference
from evals.report import last_line, table
from evals.running import Outcome, run_pack

NAMES = (
    "goals_rules",
    "goals_chance",
    "goals_model",
    "injection",
    "no_fault",
    "faults",
    "faults_model",
    "loops",
    "reference",
)


def _packs(wanted: argparse.Namespace, stack: ExitStack) -> Iterator[Pack]:
    """Yield the packs in their order."""
    makers: Mapping[str, Callable[[], Pack]] = {
        "goals_rules": lambda: goals_rules.pack(wanted.goals),
        "goals_chance": lambda: goals_model.by_chance(wanted.goals),
        "goals_model": lambda: goals_model.pack(stack, wanted.goals, every=wanted.all),
        "injection": injection.pack,
        "no_fault": no_fault.pack,
        "faults": lambda: faults.pack(gameday=not wanted.no_gameday),
        "faults_model": lambda: model_causes.real_model(stack),
        "loops": loops.pack,
        "reference": lambda: reference.pack(wanted.goals),
    }
    for name in wanted.packs or NAMES:
        yield makers[name]()


async def _run(wanted: argparse.Namespace) -> list[Outcome]:
    """Run one pack after the other, and the one that waits for the local model beside them."""

    async def tried(one: Pack) -> Outcome:
        print(f"{one.name}: {one.title}" + (f" (skipped: {one.skipped})" if one.skipped else ""), flush=True)
        return await run_pack(one, wanted.repeats, lambda text: print(text, flush=True))

    with ExitStack() as stack:
        packs = list(_packs(wanted, stack))
        async with asyncio.TaskGroup() as group:
            beside = {one.name: group.create_task(tried(one)) for one in packs if one.waits}
            alone = {one.name: await tried(one) for one in packs if not one.waits}
    return [alone[one.name] if one.name in alone else beside[one.name].result() for one in packs]


def main() -> int:
    """Run the packs that are asked for."""
    parser = argparse.ArgumentParser(prog="evals", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("packs", nargs="*", choices=[*NAMES, []], metavar="PACK", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument("--goals", type=Path, help="a goals file instead of evals/data/goals.jsonl")
    parser.add_argument("--repeats", type=int, default=3, help="how often each case is tried (default 3)")
    parser.add_argument("--all", action="store_true", help="ask the model about every goal, however long that takes")
    parser.add_argument("--no-gameday", action="store_true", help="leave out the fault on a real daemon")
    wanted = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    forbid_real_calls()
    try:
        outcomes = asyncio.run(_run(wanted))
    finally:
        forget_template()
    print(f"\n{table(outcomes)}\n")
    print(last_line(outcomes, wanted.repeats))
    return 0 if all(one.passed for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
