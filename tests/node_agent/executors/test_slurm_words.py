"""What Slurm says of jobs is understood; needs no Slurm."""

import pytest

from node_agent.executors.slurm_job import Job, read_seconds
from node_agent.executors.slurm_marks import find, mark, read_marks
from tests.node_agent.jobs.host import spec

NODE = "n-this"


@pytest.mark.parametrize("state", ["POWER_UP_NODE", "SIGNALING", "a word of a later Slurm"])
def test_a_job_in_a_state_that_is_not_an_end_goes_on(state: str) -> None:
    assert not Job(state, "", 0, 0).ended


@pytest.mark.parametrize(
    ("state", "exit_code", "number", "ended_by"),
    [
        pytest.param("CANCELLED", 0, 15, 15, id="signaled"),
        pytest.param("CANCELLED", 0, 0, 15, id="before it ran"),
        pytest.param("CANCELLED", 143, 0, 15, id="as srun tells it"),
        pytest.param("CANCELLED", 3, 0, 0, id="it ended by itself"),
        pytest.param("CANCELLED", 255, 0, 0, id="no signal has that number"),
        pytest.param("FAILED", 143, 0, 0, id="an exit code of the job's own"),
        pytest.param("FAILED", 0, 9, 9, id="killed"),
    ],
)
def test_a_cancelled_job_ended_by_a_signal_however_slurm_tells_it(
    state: str, exit_code: int, number: int, ended_by: int
) -> None:
    assert Job(state, "", exit_code, number).ended_by == ended_by


def test_marks_tell_whose_a_job_is_and_a_sites_comment_stays() -> None:
    key = spec("x", "true").key
    (made,) = [one for one in mark(["--a", "--comment=project 7"], NODE, key) if one.startswith("--comment=")]
    comment = made.removeprefix("--comment=")
    assert comment == f"project 7 orquanta/{NODE}/{key}"
    listed = f"""
11|RUNNING|{comment}
12|PENDING|orquanta/{NODE}/{key}
13|COMPLETING|orquanta/{NODE}/{key}
14|RUNNING|orquanta/n-other/{key}
15|RUNNING|my orquanta/{NODE}/{key} and more
16|RUNNING|orquanta/{NODE}/../../etc.0
17|RUNNING|(null)
18_1|RUNNING|orquanta/{NODE}/{key}
odd
"""
    assert read_marks(listed, NODE) == {key: ["11", "12"]}
    assert mark(["--a"], "", key) == ["--a"]
    assert mark(["--comment", "project 7", "--a"], NODE, key) == ["--a", f"--comment={comment}"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        pytest.param("7|orquanta-a.0|(null)", "7", id="name"),
        pytest.param("7|another|orquanta/n/a.0", "7", id="mark"),
        pytest.param("7|another|of a site orquanta/n/a.0", "7", id="mark behind a comment"),
        pytest.param("7|odd|name|orquanta/n/a.0", "", id="odd name"),
        pytest.param("7|another|orquanta/n/b-a.0", "", id="another member"),
        pytest.param("7|another|not-orquanta/n/a.0", "", id="no mark"),
        pytest.param("7_1|orquanta-a.0|", "", id="array"),
        pytest.param("6|orquanta-a.0|\n7|orquanta-a.0|", "7", id="last"),
        pytest.param("", "", id="none"),
    ],
)
def test_a_job_that_is_there_already_is_known_by_its_name_or_its_mark(line: str, found: str) -> None:
    assert find(line, "orquanta-a.0", "orquanta/n/a.0") == found


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:00:03", 3.0), ("01:02:03", 3723.0), ("2-00:00:01", 172801.0), ("INVALID", None), ("", None), ("5", None)],
)
def test_slurms_times_are_read(text: str, seconds: float | None) -> None:
    assert read_seconds(text) == seconds
