"""The programs that ship with the daemon do real work in processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node_agent.templates import command_line
from orquanta.gameday.fleet import free_port

SECONDS = 30


def _start(template: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = command_line(template, arguments)
    assert command is not None
    assert command[0] == sys.executable
    kept = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, env={**kept, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _run(template: str, *arguments: str, **environment: str) -> str:
    with _start(template, *arguments, **environment) as process:
        output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return output


def test_training_lowers_the_loss_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "deep" / "model.json"
    output = _run("train", "--steps", "300", "--checkpoint", str(checkpoint), CUDA_VISIBLE_DEVICES="GPU-a,GPU-b")
    losses = [float(loss) for loss in re.findall(r"step \d+ loss ([\d.]+)", output)]
    assert losses[-1] < 0.8 * losses[0]
    assert json.loads(checkpoint.read_text())["steps"] == 300
    assert "GPUs GPU-a, GPU-b" in output


def test_fine_tuning_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.json"
    _run("train", "--steps", "50", "--checkpoint", str(checkpoint))
    output = _run("finetune", "--steps", "20", "--checkpoint", str(checkpoint))
    assert "50 steps" in output
    assert json.loads((tmp_path / "model-finetuned.json").read_text())["steps"] == 70


def test_fine_tuning_without_a_checkpoint_says_so_and_trains_its_own(tmp_path: Path) -> None:
    assert "no checkpoint" in _run("finetune", "--steps", "5", "--checkpoint", str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("template", "told"), [("batch", "done, 640 records"), ("inference", "20 requests"), ("benchmark", "matmul_gflops")]
)
def test_the_others_report_what_they_did(template: str, told: str) -> None:
    steps = {"batch": "20", "inference": "20", "benchmark": "1"}[template]
    assert told in _run(template, "--steps", steps)


@pytest.mark.parametrize(
    ("template", "told"),
    [("batch", "done, 32 records"), ("inference", "1 requests"), ("benchmark", "best matmul_gflops")],
)
def test_a_host_so_slow_that_the_time_is_over_at_once_still_gets_one_step(template: str, told: str) -> None:
    assert told in _run(template, "--seconds", "0.000001")


def test_ranks_of_a_gang_end_with_the_same_model(tmp_path: Path) -> None:
    place = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with (
        _start("train", "--steps", "40", "--checkpoint", str(tmp_path / "m.json"), NODE_RANK="1", **place) as second,
        _start("train", "--steps", "40", "--checkpoint", str(tmp_path / "m.json"), NODE_RANK="0", **place) as first,
    ):
        outputs = [process.communicate(timeout=SECONDS)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    losses = [re.findall(r"done, loss ([\d.]+)", output) for output in outputs]
    assert losses[0] == losses[1] != []
    assert "rank 1 of 2" in outputs[1]


def test_a_rank_that_is_left_alone_says_so() -> None:
    place = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with (
        _start("train", "--seconds", "60", NODE_RANK="0", **place) as first,
        _start("train", "--seconds", "60", NODE_RANK="1", **place) as second,
    ):
        assert first.stdout is not None
        while "epoch 0" not in first.stdout.readline():
            assert first.poll() is None
        second.kill()
        output, _ = first.communicate(timeout=SECONDS)
    assert first.returncode == 3
    assert "went away" in output


def test_sigterm_saves_the_checkpoint_first(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.json"
    with _start("train", "--seconds", "60", "--checkpoint", str(checkpoint)) as process:
        assert process.stdout is not None
        while "epoch 0" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 143
    assert json.loads(checkpoint.read_text())["steps"] > 0


def test_there_is_no_other_template() -> None:
    assert command_line("../train", ()) is None
