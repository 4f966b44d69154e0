"""What a person may write on the command line of the simulator, and what is said of what makes no sense."""

import random
from pathlib import Path

import pytest

from simulator.draws import Duration, dice_of
from simulator.faults import Script, struck
from simulator.options import read
from simulator.schedule import Schedule


@pytest.mark.parametrize("text", ["90", "uniform:60,120", "lognormal:300,0.8"])
def test_durations_are_read_and_drawn_within_reason(text: str) -> None:
    drawn = [Duration.parse(text).draw(dice_of(1, number)) for number in range(200)]
    assert all(0 <= seconds < 30 * 86_400 for seconds in drawn)
    assert drawn == [Duration.parse(text).draw(dice_of(1, number)) for number in range(200)]


@pytest.mark.parametrize("text", ["", "soon", "uniform:5", "uniform:9,3", "lognormal:1,2,3", "-1", "gamma:1,2", "nan"])
def test_a_duration_that_makes_no_sense_is_refused_with_what_can_be_written(text: str) -> None:
    with pytest.raises(ValueError, match=r"uniform:LEAST,MOST"):
        Duration.parse(text)


def test_faults_are_by_chance_or_at_a_moment() -> None:
    assert Script.parse("xid79:0.5").rate_per_host_hour == 0.5
    storm = Script.parse("xid119@60:1000")
    assert (storm.at_seconds, storm.hosts, storm.rate_per_host_hour) == (60, 1000, 0)
    assert Script.parse("offline@5:3").fault is None


@pytest.mark.parametrize(
    "text",
    [
        "xid79",
        "xid79:x",
        "xid79@60",
        "xid79@x:5",
        "xid12345:1",
        ":",
        "xid79:-1",
        "xid79:nan",
        "xid79:inf",
        "xid79@nan:1",
        "xid79@5:0",
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"xid"):
        Script.parse(text)


def test_faults_by_chance_come_as_often_as_was_asked() -> None:
    dice = random.Random(3)
    scripts = [Script.parse("xid79:3.6")]
    found = sum(len(struck(scripts, 1000, 0.1, dice)) for _ in range(600))
    assert 54 <= found <= 66  # 1,000 hosts for a minute: 60


def test_a_host_is_looked_at_once_at_its_earliest_time() -> None:
    schedule = Schedule()
    schedule.put(1, 10.0)
    schedule.put(1, 5.0)
    schedule.put(1, 8.0)
    schedule.put(2, 6.0)
    schedule.put(3, float("inf"))
    assert schedule.take(4.0) == []
    assert schedule.take(7.0) == [1, 2]
    assert schedule.take(100.0) == []


def test_racks_are_divided_among_zones(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("oqj_1_2_3\n" * 40)
    options = read(
        ["--server", "x:1", "--hosts", "40", "--racks", "10", "--zones", "2", "--token-file", f"{tmp_path}/tokens"]
    )
    zones = {options.labels(index)["rack"]: options.labels(index)["zone"] for index in range(40)}
    assert len(zones) == 10
    assert all(options.labels(index)["zone"] == zones[options.labels(index)["rack"]] for index in range(40))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--hosts", "3", "--token", "t"],
        ["--hosts", "0", "--token", "t"],
        ["--hosts", "1"],
        ["--hosts", "1", "--token", "t", "--telemetry", "shared"],
        ["--hosts", "4", "--token", "t", "--processes", "2"],
        ["--hosts", "1", "--token", "t", "--job-failures", "2"],
        ["--hosts", "1", "--api-key-file", "/nonexistent", "--ca-file", "/nonexistent"],
        ["--hosts", "1", "--token", "t", "--zones", "1"],
        ["--hosts", "1", "--token", "t", "--racks", "1", "--zones", "2"],
    ],
    ids=[
        "too-few-tokens",
        "no-hosts",
        "no-token",
        "no-password",
        "tokens-for-processes",
        "share",
        "no-file",
        "zones-of-nothing",
        "more-zones-than-racks",
    ],
)
def test_what_cannot_work_is_told_before_anything_begins(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read(["--server", "x:1", *arguments])
    assert ended.value.code == 2
    assert "orquanta-sim: error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--state-dir", "taken/below/more cannot be made: Not a directory"),
        ("--journal", "taken/below"),
        ("--token-file", "no text"),
        ("--api-key-file", "is empty"),
    ],
)
def test_a_file_that_cannot_serve_is_refused_before_a_host_joins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, told: str
) -> None:
    (tmp_path / "taken").write_bytes(b"")
    (tmp_path / "binary").write_bytes(b"\xd0\xff")
    file = {"--token-file": "binary", "--api-key-file": "taken"}.get(option, "taken/below/more")
    ca = tmp_path / "ca"
    ca.write_text("ca")
    with pytest.raises(SystemExit) as ended:
        read(
            [
                "--server",
                "127.0.0.1:1",
                "--token",
                "t",
                "--hosts",
                "1",
                "--ca-file",
                str(ca),
                option,
                str(tmp_path / file),
            ]
        )
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
