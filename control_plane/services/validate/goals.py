"""What a goal's text, time zone and answers must be."""

import re
from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from control_plane.services.validate.fields import Fields, shown

TEXT_CHARACTERS_MAX: Final = 20_000
ANSWERS_MAX: Final = 64
ANSWER_CHARACTERS_MAX: Final = 2_000

_TIMEZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}")
_FIELD: Final = re.compile(r"[a-z][a-z0-9_.\[\]]{0,99}")


def goal_text(fields: Fields, value: str) -> str:
    """Check the words of a goal."""
    return fields.text("text", value, least=1, most=TEXT_CHARACTERS_MAX)


def timezone(fields: Fields, value: str) -> str:
    """Check a time zone and return it; UTC if empty."""
    if not value:
        return "UTC"
    try:
        if _TIMEZONE.fullmatch(value):
            ZoneInfo(value)
            return value
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    fields.wrong("timezone", f"{shown(value)} is not an IANA time zone such as Europe/Berlin", "TIMEZONE_UNKNOWN")
    return "UTC"


def answers(fields: Fields, values: Mapping[str, str]) -> dict[str, str]:
    """Check the answers to a goal's questions."""
    if not values:
        fields.wrong("answers", "is empty; answer at least one question of the plan", "FIELD_MISSING")
    for name in fields.count("answers", values, most=ANSWERS_MAX):
        here = f"answers[{shown(name)}]"
        if not _FIELD.fullmatch(name):
            fields.wrong(here, "is not a field of a question; use Question.field", "FIELD_UNKNOWN")
        fields.text(here, values[name], least=1, most=ANSWER_CHARACTERS_MAX)
    return dict(values)
