from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import DateTime
from sqlalchemy.dialects.sqlite import dialect

from control_plane.store.types import UtcDateTime

_SQLITE = dialect()
_ZONES = st.sampled_from((UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-9))))


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=_ZONES))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_a_time_is_written_to_sqlite_as_sqlalchemy_writes_it_and_read_again(moment: datetime) -> None:
    column = UtcDateTime().dialect_impl(_SQLITE)
    write, read = column.bind_processor(_SQLITE), column.result_processor(_SQLITE, None)
    plain = DateTime().dialect_impl(_SQLITE).bind_processor(_SQLITE)
    assert write is not None
    assert read is not None
    assert plain is not None
    text = write(moment)
    assert text == plain(moment.astimezone(UTC).replace(tzinfo=None))
    assert write(moment) == text  # it is remembered
    assert read(text) == moment
    assert getattr(read(text), "tzinfo", None) is UTC
    assert write(None) is None
    assert read(None) is None


def test_a_naive_time_is_refused() -> None:
    write = UtcDateTime().dialect_impl(_SQLITE).bind_processor(_SQLITE)
    assert write is not None
    with pytest.raises(ValueError, match="naive time"):
        write(datetime(2026, 1, 1))  # noqa: DTZ001 - that is what is refused
