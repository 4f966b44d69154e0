"""What an incident says is wrong, in words."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from control_plane.fleet.diagnosis import diagnose
from tests.control_plane.clinic import condition

_AT = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "repairs", "said", "before"),
    [
        (1, 0, "seen once [", ""),
        (2, 1, "seen 2 times [", "repaired once before"),
        (1, 3, "once [", "repaired 3 times before"),
    ],
    ids=["once", "again", "often repaired"],
)
def test_how_often_something_was_seen_and_repaired_is_said_in_plain_words(
    count: int, repairs: int, said: str, before: str
) -> None:
    told = diagnose([replace(condition("gpu/xid-79", _AT), count=count, earlier_repairs=repairs)])
    assert said in told
    assert before in told
    assert "1 times" not in told
