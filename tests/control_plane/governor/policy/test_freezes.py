"""Windows of change freezes."""

from datetime import UTC, datetime

import pytest

from control_plane.model.freeze import frozen, parse


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "now", "until"),
    [
        ("2026-12-24T18:00Z/2027-01-02T08:00Z", "2026-12-24T17:59:59", None),
        ("2026-12-24T18:00Z/2027-01-02T08:00Z", "2026-12-24T18:00:00", "2027-01-02T08:00:00"),
        ("2026-12-24T18:00Z/2027-01-02T08:00Z", "2027-01-02T08:00:00", None),
        ("2026-12-24T18:00+02:00/2027-01-02T08:00Z", "2026-12-24T16:30:00", "2027-01-02T08:00:00"),
        ("fri 18:00/mon 06:00", "2026-01-09T17:59:00", None),
        ("fri 18:00/mon 06:00", "2026-01-09T18:00:00", "2026-01-12T06:00:00"),
        ("fri 18:00/mon 06:00", "2026-01-12T05:59:59", "2026-01-12T06:00:00"),
        ("Friday 18:00/MON 06:00", "2026-01-12T06:00:00", None),
        ("tue 01:00/tue 02:00", "2026-01-06T01:30:00", "2026-01-06T02:00:00"),
        ("sun 23:00/mon 01:00", "2026-01-05T00:30:00", "2026-01-05T01:00:00"),
    ],
)
def test_a_window_holds_from_its_start_until_before_its_end(window: str, now: str, until: str | None) -> None:
    found = frozen([parse("f", window, "why")], at(now))
    assert (None if found is None else found.until) == (None if until is None else at(until))


def test_the_window_that_lasts_longest_is_told() -> None:
    windows = [
        parse("short", "2026-01-01T00:00Z/2026-01-02T00:00Z", ""),
        parse("long", "2026-01-01T12:00Z/2026-01-03T00:00Z", ""),
    ]
    found = frozen(windows, at("2026-01-01T13:00:00"))
    assert found is not None
    assert found.id == "long"
    assert frozen([], at("2026-01-01T13:00:00")) is None


@pytest.mark.parametrize(
    "window",
    ["", "always", "fri 18:00", "xyz 18:00/mon 06:00", "fri 25:00/mon 06:00", "t 1:00/mon 2:00", "mon 1:00/mon 1:00"],
)
def test_what_is_no_window_is_refused(window: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse("f", window, "")
