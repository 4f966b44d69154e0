"""What the hosts' own word must convict, and what not."""

import json
from pathlib import Path

from chaos import witness

GPU = "GPU-1"


def line(at: float, what: str, **more: object) -> dict[str, object]:
    allocation = {"allocation": "a-1", "job": "j-1", "epoch": 1, "rank": 0}
    full = {"taken": {"world": 1, "gpus": [GPU], "milli": 1000}, "ended": {"reason": "exited", "exit_code": 0}}
    return {"at": at, "what": what, "node": "n-1", **allocation, **full.get(what, {}), **more}


def read(tmp_path: Path, *journals: list[dict[str, object]]) -> witness.Account:
    files = []
    for number, lines in enumerate(journals):
        file = tmp_path / f"journal-{number}"
        file.write_text("".join(json.dumps(one) + "\n" for one in lines))
        files.append(file)
    return witness.read(files)


def test_one_attempt_after_the_other_is_fine_and_so_are_parts_of_a_gpu(tmp_path: Path) -> None:
    second = {"allocation": "a-2", "epoch": 2}
    other = {"allocation": "a-3", "job": "j-2"}
    said = read(
        tmp_path,
        [
            line(1, "taken", milli=500),
            line(2, "began"),
            line(2, "taken", milli=500, **other),
            line(3, "ended"),
            line(3, "taken", milli=500, **second),
            line(4, "ended", **second),
            line(5, "ended", **other),
        ],
    )
    assert witness.violations(said) == []
    assert (
        witness.against_books(
            said, {"j-1": ("succeeded", 2), "j-2": ("succeeded", 1)}, {("j-1", 1): 1, ("j-1", 2): 1, ("j-2", 1): 1}
        )
        == []
    )


def test_two_attempts_at_the_same_time_are_told_whatever_hosts_they_run_on(tmp_path: Path) -> None:
    later = {"node": "n-2", "allocation": "a-2", "epoch": 2}
    first = [line(1, "taken"), line(5, "ended")]
    second = [line(4, "taken", gpus=["GPU-2"], **later), line(6, "ended", **later)]
    (found,) = witness.violations(read(tmp_path, first, second))
    assert found == "j-1: attempt 2 began 1.000 s before attempt 1 had ended"


def test_a_member_that_runs_twice_is_told(tmp_path: Path) -> None:
    twice = [line(1, "taken"), line(2, "ended"), line(3, "taken"), line(4, "ended")]
    found = witness.violations(read(tmp_path, twice))
    assert "j-1 attempt 1 rank 0 on n-1 was taken twice by its host" in found
    elsewhere = {"node": "n-2", "allocation": "a-9"}
    found = witness.violations(
        read(
            tmp_path, [line(1, "taken"), line(2, "ended"), line(3, "taken", **elsewhere), line(4, "ended", **elsewhere)]
        )
    )
    assert found == ["j-1 attempt 1 rank 0 on n-2 ran before on n-1"]


def test_a_gpu_that_is_held_twice_is_told(tmp_path: Path) -> None:
    other = {"allocation": "a-2", "job": "j-2"}
    lines = [
        line(1, "taken", milli=600),
        line(2, "taken", milli=500, **other),
        line(3, "ended"),
        line(3, "ended", **other),
    ]
    (found,) = witness.violations(read(tmp_path, lines))
    assert found.startswith("GPU-1 held 1100 thousandths")


def test_what_ran_on_hosts_that_were_killed_has_ended_with_them(tmp_path: Path) -> None:
    later = {"node": "n-2", "allocation": "a-2", "epoch": 2}
    said = read(
        tmp_path,
        [line(1, "taken"), {"at": 3, "what": "killed"}, line(9, "ended", reason="supervisor_lost", exit_code=None)],
        [line(4, "taken", **later), line(6, "ended", **later)],
    )
    assert witness.violations(said) == []


def test_what_still_runs_in_the_end_is_told(tmp_path: Path) -> None:
    assert witness.violations(read(tmp_path, [line(1, "taken")])) == ["j-1 attempt 1 rank 0 on n-1 still runs"]


def test_books_that_tell_of_another_success_than_the_hosts_are_told(tmp_path: Path) -> None:
    said = read(tmp_path, [line(1, "taken", world=2), line(2, "ended")])
    found = witness.against_books(said, {"j-1": ("succeeded", 1)}, {("j-1", 1): 2})
    assert found == ["j-1 succeeded by the books; on the hosts 1 of 2 members of attempt 1 did"]
    assert witness.against_books(said, {}, {}) == ["j-1 attempt 1 ran, and is not in the books"]
