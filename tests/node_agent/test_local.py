"""The small parts: the lock, systemd's socket, files, what is on the wire."""

import errno
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node_agent import convert
from node_agent.errors import AlreadyRunning, StateUnusable
from node_agent.files import write_atomically
from node_agent.jobs.spec import InvalidSpecError, MemberKey
from node_agent.jobs.status import MemberState, MemberStatus, Outcome
from node_agent.lock import StateLock, holder
from node_agent.systemd import notify
from node_agent.templates import TEMPLATES
from orquanta.v1 import job_pb2, node_link_pb2
from tests.node_agent.site import assignment


def test_the_lock_is_held_once_and_names_its_holder(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    with StateLock(tmp_path):
        assert holder(tmp_path) == os.getpid()
        with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"), StateLock(tmp_path):
            pass
    assert holder(tmp_path) is None


def test_a_state_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateUnusable, match="--state-dir"), StateLock(tmp_path / "file" / "state"):
        pass


def test_systemd_hears_that_the_daemon_is_ready(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        notify(str(tmp_path / "notify"), "READY=1")
        assert systemd.recv(100) == b"READY=1"
    notify("", "READY=1")
    notify(str(tmp_path / "gone"), "READY=1")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_outcome_and_state_has_its_word_on_the_wire() -> None:
    for outcome in Outcome:
        for state in MemberState:
            status = MemberStatus(MemberKey("a-1", 0), "j-1", 1, state, outcome=outcome)
            report = convert.to_report(status)
            has_reason = report.exit_reason != job_pb2.EXIT_REASON_UNSPECIFIED
            assert has_reason is (state is MemberState.ENDED), "only what has ended has a reason"
            assert report.state != job_pb2.ALLOCATION_STATE_UNSPECIFIED


def test_a_report_says_what_the_status_says() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    status = MemberStatus(
        MemberKey("a-1", 2),
        "j-1",
        3,
        MemberState.ENDED,
        outcome=Outcome.EXITED,
        exit_code=0,
        started_at=at,
        ended_at=at,
        gpu_seconds=1.5,
        peak_memory_bytes=7,
        message="m" * 5000,
        gpu_uuids=("GPU-1",),
    )
    report = convert.to_report(status)
    assert (report.allocation_id, report.job_id, report.epoch, report.rank) == ("a-1", "j-1", 3, 2)
    assert report.HasField("exit_code")
    assert not report.HasField("signal")
    assert report.started_at.ToDatetime(tzinfo=UTC) == at
    assert (report.gpu_seconds, report.peak_memory_bytes, len(report.message)) == (1.5, 7, 2000)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_becomes_a_command_of_this_interpreter(template: str) -> None:
    spec = convert.to_spec(assignment("", template=template, arguments=["--steps", "1"]))
    assert spec.command[1:] == ("-I", "-m", f"node_agent.templates.{template}", "--steps", "1")


def test_an_assignment_becomes_a_specification() -> None:
    spec = convert.to_spec(
        assignment("echo", gpu_uuids=["GPU-1"], environment={"A": "b"}, cpu_milli=500, world_size=2, rank=1)
    )
    assert (spec.command, spec.gpu_uuids, spec.env, spec.cpu_limit_milli) == ("echo", ("GPU-1",), {"A": "b"}, 500)
    assert (spec.rank, spec.world, spec.stop_grace_seconds, spec.max_runtime_seconds) == (1, 2, 2.0, None)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (node_link_pb2.MemberAssignment(template="nothing"), "no template"),
        (node_link_pb2.MemberAssignment(image="x"), "no containers"),
        (node_link_pb2.MemberAssignment(epoch=0), "command"),
    ],
)
def test_what_this_host_refuses_is_said(wrong: node_link_pb2.MemberAssignment, told: str) -> None:
    made = assignment("")
    made.MergeFrom(wrong)
    with pytest.raises(InvalidSpecError, match=told):
        convert.to_spec(made, images=False)
