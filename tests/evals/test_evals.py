"""A part of the evals, once each, with each test; `make eval` runs all of them three times."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evals.case import Case, InfrastructureError, Pack, Verdict
from evals.packs import faults, goals_model, goals_rules, injection, loops, no_fault, reference
from evals.report import last_line, table, wilson
from evals.running import Outcome, run_pack

ROOT = Path(__file__).parents[2]


def only(pack: Pack, *names: str) -> Pack:
    """A pack with the named cases alone."""
    kept = [case for case in pack.cases if case.id in names]
    assert len(kept) == len(names)
    return Pack(pack.name, pack.title, kept, floor=pack.floor, once=True)


PACKS: dict[str, Callable[[], Pack]] = {
    "goals_rules": goals_rules.pack,
    "goals_chance": lambda: only(goals_model.by_chance(), "E01", "E20", "E25", "E27", "E32", "E40", "E43"),
    "injection": lambda: only(
        injection.pack(),
        "I03", "I08", "I16", "I22", "I28", "I32", "I39", "I44", "secret-log-aws", "poisoned-tool-agent",
    ),
    "no_fault": lambda: only(no_fault.pack(), "noise-1", "question-1", "question-7", "healthy-1"),
    "faults": lambda: only(
        faults.pack(gameday=False),
        "gpu-oom", "nccl-hidden-disk", "nccl-hidden-xid-79", "xid-48", "oom-kill", "host-xid-79", "host-ecc",
        "model-data-cut", "model-gang-config", "liar-invented-line", "liar-an-action",
    ),
    "loops": lambda: only(loops.pack(), "same-read", "malformed-arguments", "nonsense", "lying-log", "model-invents"),
}  # fmt: skip


@pytest.mark.parametrize("name", PACKS)
async def test_a_part_of_each_pack_holds_what_the_pack_promises(name: str) -> None:
    said: list[str] = []
    outcome = await run_pack(PACKS[name](), 1, said.append)
    assert outcome.passed, "\n".join(said)
    assert outcome.errors == []


async def test_who_knows_every_answer_is_right_and_who_is_always_wrong_scores_nothing() -> None:
    said: list[str] = []
    pack = only(
        reference.pack(), "goals-known", "goals-wrong", "goals-breach", "faults-known", "faults-wrong",
        "faults-evidence", "effects-I44", "loops-endings",
    )  # fmt: skip
    outcome = await run_pack(pack, 1, said.append)
    assert outcome.always_right == len(pack.cases), "\n".join(said)


def packed(*verdicts: Verdict | Exception, floor: float = 1.0) -> Pack:
    """A pack whose cases end like this."""

    def ending(verdict: Verdict | Exception) -> Callable[[], object]:
        async def attempt() -> Verdict:
            if isinstance(verdict, Exception):
                raise verdict
            return verdict

        return attempt

    return Pack("made", "made up", [Case(f"c{n}", ending(one)) for n, one in enumerate(verdicts)], floor=floor)  # type: ignore[arg-type] # each returns an awaitable


async def tried(pack: Pack, repeats: int = 1) -> Outcome:
    return await run_pack(pack, repeats, lambda _: None)


async def test_what_must_never_happen_fails_a_pack_whatever_its_score() -> None:
    outcome = await tried(packed(*[Verdict(1.0)] * 9, Verdict(1.0, ("it happened",)), floor=0.0))
    assert not outcome.passed
    assert outcome.right == 9
    assert json.loads(last_line([outcome], 1))["must_nots_broken"] == 1


async def test_trouble_around_a_case_is_no_wrong_answer_and_fails_a_pack_above_two_percent() -> None:
    away = InfrastructureError("the server is away")
    many = await tried(packed(*[Verdict(1.0)] * 97, away, away, away))
    few = await tried(packed(*[Verdict(1.0)] * 98, away))
    assert (many.mean, len(many.errors), many.passed) == (1.0, 3, False)
    assert (few.mean, len(few.errors), few.passed) == (1.0, 1, True)
    assert not (await tried(packed(away))).passed


async def test_a_case_counts_as_always_right_only_if_each_repeat_was() -> None:
    endings = iter([Verdict(1.0), Verdict(0.0), Verdict(1.0), Verdict(1.0), Verdict(1.0), Verdict(1.0)])

    async def attempt() -> Verdict:
        return next(endings)

    pack = Pack("made", "made up", [Case("a", attempt), Case("b", attempt)], floor=0.5, at_once=1)
    outcome = await tried(pack, 3)
    assert (outcome.always_right, outcome.complete, outcome.tried) == (1, 2, 6)
    assert outcome.mean == pytest.approx(5 / 6)
    assert "1/2" in table([outcome])


def test_the_interval_is_wilson_s() -> None:
    assert wilson(54, 60) == pytest.approx((0.7985, 0.9534), abs=0.0005)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[0] == pytest.approx(0.7225, abs=0.0005)


def test_the_program_exits_with_0_and_ends_with_one_json_object(tmp_path: Path) -> None:
    goals = tmp_path / "goals.jsonl"
    goals.write_text("\n".join((ROOT / "evals" / "data" / "goals.jsonl").read_text().splitlines()[:4]))
    done = subprocess.run(
        [sys.executable, "-m", "evals", "goals_rules", "--goals", str(goals), "--repeats", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["passed"]
    assert (told["packs"]["goals_rules"]["n"], told["packs"]["goals_rules"]["always_right"]) == (6, 3)
    assert told["machine"]["cores"] > 0
