"""Dates, times of day, zones and lengths of time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from control_plane.agents.orchestrator.planner import plan_goal
from tests.control_plane.agents.orchestrator.planner.planning import plan


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("by Friday 9am", "2026-11-27T09:00"),
        ("by Friday", "2026-11-28T00:00"),
        ("before Friday", "2026-11-27T00:00"),
        ("by Wednesday noon", "2026-11-25T12:00"),
        ("until Sunday night", "2026-11-30T00:00"),
        ("by midnight", "2026-11-24T00:00"),
        ("by tomorrow 17:30", "2026-11-24T17:30"),
        ("by 6 pm", "2026-11-23T18:00"),
        ("by 8am", "2026-11-24T08:00"),
        ("by tonight at 10", "2026-11-23T22:00"),
        ("by the day after tomorrow, noon", "2026-11-25T12:00"),
        ("by 2026-12-01", "2026-12-02T00:00"),
        ("by 2026-12-01 08:15", "2026-12-01T08:15"),
        ("by 2026-12-01T08:15Z", "2026-12-01T08:15"),
        ("by Dec 1st", "2026-12-02T00:00"),
        ("by 1 December 2026, 14:00", "2026-12-01T14:00"),
        ("by December 1, 9am", "2026-12-01T09:00"),
        ("by 11/27", "2026-11-28T00:00"),
        ("bis 27.11. 18 Uhr", "2026-11-27T18:00"),
        ("by the 30th", "2026-12-01T00:00"),
        ("by Jan 5", "2027-01-06T00:00"),
        ("by next Monday 9am", "2026-11-30T09:00"),
        ("by Monday 9am", "2026-11-30T09:00"),
        ("by end of month", "2026-12-01T00:00"),
        ("by COB Thursday", "2026-11-26T17:00"),
        ("by Friday 9am PT", "2026-11-27T17:00"),
        ("by Friday 9am CET", "2026-11-27T08:00"),
        ("by Friday 9am JST", "2026-11-27T00:00"),
        ("by Friday 18:00 UTC+2", "2026-11-27T16:00"),
        ("by July 10, 9am Eastern", "2027-07-10T13:00"),
        ("by July 10, 9am Berlin time", "2027-07-10T07:00"),
        ("antes del viernes a las 9", "2026-11-27T09:00"),
        ("hasta mañana a las 18:00", "2026-11-24T18:00"),
        ("bis Freitag 18 Uhr", "2026-11-27T18:00"),
        ("avant vendredi 18h", "2026-11-27T18:00"),
        ("d'ici demain midi", "2026-11-24T12:00"),
        ("entro venerdì alle 9", "2026-11-27T09:00"),
        ("até sexta às 18h", "2026-11-27T18:00"),
        ("周五上午9点之前", "2026-11-27T09:00"),
        ("明天下午3点前完成", "2026-11-24T15:00"),
        ("金曜日の午前9時までに", "2026-11-27T09:00"),
        ("明日の18時までに", "2026-11-24T18:00"),
        ("within 36 hours", "2026-11-24T21:00"),
        ("in the next 3 days", "2026-11-26T09:00"),
        ("by the weekend", "2026-11-28T00:00"),
        ("by Friday EOD", "2026-11-28T00:00"),
    ],
)
def test_a_deadline_is_computed_from_now(words: str, expected: str) -> None:
    made = plan(f"train on 2 A100 {words}")

    assert made.constraints.deadline_at == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize("words", ["by Friday 18:00: train on 2 A100", "Needed by Friday 18:00:\ntrain on 2 A100"])
def test_a_colon_behind_a_time_is_no_part_of_it(words: str) -> None:
    assert plan(words).constraints.deadline_at == datetime(2026, 11, 27, 18, tzinfo=UTC)


def test_times_without_a_zone_are_read_in_the_callers_zone() -> None:
    tokyo = timezone(timedelta(hours=9))

    made = plan("train on 2 A100 by Friday 9am", timezone=tokyo)

    assert made.constraints.deadline_at == datetime(2026, 11, 27, 0, tzinfo=UTC)


def test_today_is_the_callers_day() -> None:
    late = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    made = plan_goal("train on 2 A100 by tomorrow noon", now=late, timezone=timezone(timedelta(hours=9)), fx_usd={})

    assert made.constraints.deadline_at == datetime(2026, 11, 25, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("starting tomorrow at 6am", "2026-11-24T06:00"),
        ("not before Friday 18:00", "2026-11-27T18:00"),
        ("start in 2 hours", "2026-11-23T11:00"),
        ("ab morgen 8 Uhr", "2026-11-24T08:00"),
    ],
)
def test_a_start_is_no_deadline(words: str, start: str) -> None:
    made = plan(f"train on 2 A100 {words}")

    assert made.constraints.start_at == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert made.constraints.deadline_at is None


@pytest.mark.parametrize(
    ("words", "hours"),
    [
        ("for 12h", 12),
        ("for 90 min", 1.5),
        ("for 1h30", 1.5),
        ("for 1h30m", 1.5),
        ("for 2 days", 48),
        ("for half a day", 12),
        ("for an hour and a half", 1.5),
        ("for two and a half hours", 2.5),
        ("for 1 day 12 hours", 36),
        ("for a week", 168),
        ("max 20 hours", 20),
        ("no longer than three hours", 3),
        ("time limit 45 min", 0.75),
        ("walltime 48:00:00", 48),
        ("timeout=2h", 2),
        ("max_hours: 4", 4),
        ("for 6-8 hours", 8),
        ("stop after 5 hours", 5),
        ("a quarter of an hour at most", 0.25),
        ("durante diez horas", 10),
        ("höchstens 6 Stunden", 6),
        ("pendant 5 heures", 5),
        ("per 3 ore", 3),
        ("por 8 horas", 8),
        ("最多24小时", 24),
        ("最大10時間", 10),
        ("半天", 12),
        ("½ day max", 12),
        ("for 1,5 Stunden", 1.5),
    ],
)
def test_a_length_of_time_is_a_limit(words: str, hours: float) -> None:
    made = plan(f"train on 2 A100 {words}")

    assert made.jobs[0].max_seconds == hours * 3600
    assert made.constraints.deadline_at is None


@pytest.mark.parametrize(
    "words",
    [
        "with checkpoints every 30 minutes",
        "on 500 hours of audio",
        "on the logs of the last 24 hours",
        "on data older than 30 days",
        "with a 3D U-Net",
        "at 300 W",
        "with 10 epochs",
        "on 2M images",
        "24/7",
    ],
)
def test_other_lengths_are_no_limit(words: str) -> None:
    made = plan(f"train on 2 A100 {words}")

    assert made.jobs[0].max_seconds is None
    assert made.constraints.deadline_at is None


def test_a_schedule_is_kept_as_written_and_is_no_deadline() -> None:
    made = plan("re-embed the archive on 1 T4 every night at 2am")

    assert made.constraints.schedule == "every night at 2am"
    assert made.constraints.deadline_at is None
