"""The time in the past that a question is about, and what it is called in the answer."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from control_plane.agents.orchestrator.planner.periods import last_days, read_period

NOW = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "since", "until", "words"),
    [
        ("how much did I spend today", "11-25 00:00", "11-25 14:30", "today (Wednesday 25 November)"),
        ("what did I spend yesterday?", "11-24 00:00", "11-25 00:00", "yesterday (Tuesday 24 November)"),
        ("spending this week", "11-23 00:00", "11-25 14:30", "this week (since Monday 23 November)"),
        ("bill of last week?", "11-16 00:00", "11-23 00:00", "last week (Monday 16 November to Sunday 22 November)"),
        ("how much in October", "10-01 00:00", "11-01 00:00", "in October 2026"),
        ("how much in October 2025", "10-01 00:00", "11-01 00:00", "in October 2025"),
        ("how much in December?", "12-01 00:00", "01-01 00:00", "in December 2025"),
        ("what did I spend last month", "10-01 00:00", "11-01 00:00", "last month (October 2026)"),
        ("spent in the last 7 days", "11-18 14:30", "11-25 14:30", "in the last 7 days"),
        ("spent in the past 24 hours", "11-24 14:30", "11-25 14:30", "in the last 24 hours"),
        ("spent since Monday", "11-23 00:00", "11-25 14:30", "since Monday 23 November"),
        ("spent on Friday", "11-20 00:00", "11-21 00:00", "on Friday 20 November"),
        ("spent on 2026-11-03", "11-03 00:00", "11-04 00:00", "on Tuesday 3 November"),
        ("between 1 and 10 November", "11-01 00:00", "11-11 00:00", "from Sunday 1 November to Tuesday 10 November"),
        ("from Nov 1 to Nov 5", "11-01 00:00", "11-06 00:00", "from Sunday 1 November to Thursday 5 November"),
        ("spent this quarter", "10-01 00:00", "11-25 14:30", "this quarter (since 1 October)"),
        ("spent in 2025", "01-01 00:00", "01-01 00:00", "in 2025"),
        ("wie viel gestern ausgegeben", "11-24 00:00", "11-25 00:00", "yesterday (Tuesday 24 November)"),
        ("cuánto gasté esta semana", "11-23 00:00", "11-25 14:30", "this week (since Monday 23 November)"),
        ("上个月花了多少", "10-01 00:00", "11-01 00:00", "last month (October 2026)"),
        ("the day before yesterday", "11-23 00:00", "11-24 00:00", "the day before yesterday (Monday 23 November)"),
    ],
)
def test_a_period_is_read_and_called_by_its_name(text: str, since: str, until: str, words: str) -> None:
    found = read_period(text, NOW)
    assert found is not None
    assert (f"{found.since:%m-%d %H:%M}", f"{found.until:%m-%d %H:%M}", found.words) == (since, until, words)


@pytest.mark.parametrize(
    "text", ["how much have I spent", "spent on H100s", "how much may I spend", "spend by Friday 2099-01-01"]
)
def test_what_names_no_past_is_no_period(text: str) -> None:
    assert read_period(text, NOW) is None


def test_days_begin_where_the_person_is() -> None:
    found = read_period("what did I spend today?", NOW, ZoneInfo("Asia/Tokyo"))
    assert found is not None
    assert (found.since, found.words) == (datetime(2026, 11, 24, 15, tzinfo=UTC), "today (Wednesday 25 November)")
    assert last_days(NOW, 30).words == "in the last 30 days"


@pytest.mark.parametrize("day", ["01-01", "02-28", "03-31", "07-31", "12-31"])
def test_every_name_gives_a_period_that_is_not_empty_on_any_day(day: str) -> None:
    now = datetime.fromisoformat(f"2028-{day}T00:00:01+00:00")
    for text in ("today", "yesterday", "this week", "last week", "this month", "last month", "last quarter", "in all"):
        found = read_period(f"spent {text}", now)
        assert found is not None
        assert found.since < found.until <= now
