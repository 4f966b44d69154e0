"""Checks of single fields, and the error that names every field that is wrong."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final, TypeVar, cast

from control_plane.errors import InvalidArgument
from control_plane.model.ids import Prefix, UserId, parse_id, parse_user_id

REASON_CHARACTERS_MAX: Final = 2_000
REQUEST_ID_CHARACTERS_MAX: Final = 128
USD_MICROS_MAX: Final = 1_000_000_000 * 1_000_000  # a billion dollars
LABELS_MAX: Final = 64

_USD: Final = Decimal(1_000_000)
_SHOWN: Final = 60  # characters of a bad value that an error repeats
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]*")
_LABEL_KEY: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_EMAIL: Final = re.compile(r"[^@\s\x00-\x20]{1,64}@[A-Za-z0-9.-]{1,189}")

_Id = TypeVar("_Id", bound=str)
_Member = TypeVar("_Member", bound=Enum)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong: its path in the request, what is wrong, and a stable reason."""

    field: str
    description: str
    reason: str


class InvalidRequest(InvalidArgument):
    """Fields of a request are wrong; `violations` holds each of them."""

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(
            f"{first.field}: {first.description}{more}", reason=first.reason, metadata={"field": first.field}
        )
        self.violations = violations


class Fields:
    """Collects what is wrong with a request; `check` raises if anything is."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def wrong(self, field: str, description: str, reason: str) -> None:
        """Note that a field is wrong."""
        self._violations.append(Violation(field, description, reason))

    def check(self) -> None:
        """Raise InvalidRequest if any field was wrong."""
        if self._violations:
            raise InvalidRequest(tuple(self._violations))

    def attempt(self, field: str, parse: Callable[[], _T], otherwise: _T) -> _T:
        """Return what `parse` returns; if it refuses, note that against `field` and return `otherwise`."""
        try:
            return parse()
        except InvalidArgument as error:
            self.wrong(field, error.message, error.reason)
            return otherwise

    def text(self, field: str, value: str, *, most: int, least: int = 0, one_line: bool = False) -> str:
        """Check a text: its length in characters, no NUL byte and, if asked, no line break."""
        if len(value) > most:
            self.wrong(field, f"has {len(value)} characters; at most {most} are allowed", "TEXT_TOO_LONG")
        elif len(value) < least or (least and not value.strip()):
            self.wrong(field, "is missing; fill it in", "FIELD_MISSING")
        elif "\x00" in value:
            self.wrong(field, "contains a NUL character; remove it", "TEXT_INVALID")
        elif one_line and any(ord(character) < ord(" ") for character in value):
            self.wrong(field, "contains a control character; use one line of plain text", "TEXT_INVALID")
        return value

    def integer(self, field: str, value: int, *, least: int, most: int) -> int:
        """Check that a number is within its bounds."""
        if not least <= value <= most:
            self.wrong(field, f"is {value}; it must be from {least} to {most}", "NUMBER_OUT_OF_RANGE")
        return value

    def count(self, field: str, values: Iterable[_T], *, most: int) -> tuple[_T, ...]:
        """Check that a list is not too long, and return it, cut."""
        items = tuple(values)
        if len(items) > most:
            self.wrong(field, f"has {len(items)} entries; at most {most} are allowed", "LIST_TOO_LONG")
        return items[:most]

    def id(self, field: str, prefix: Prefix[_Id], value: str) -> _Id:
        """Check an id that must be there."""
        # The value that is refused never leaves: `check` raises.
        return self.attempt(field, lambda: parse_id(prefix, value), cast("_Id", value))

    def optional_id(self, field: str, prefix: Prefix[_Id], value: str) -> _Id | None:
        """Check an id that may be empty."""
        return self.id(field, prefix, value) if value else None

    def optional_user_id(self, field: str, value: str) -> UserId | None:
        """Check a user's id that may be empty."""
        return self.attempt(field, lambda: parse_user_id(value), None) if value else None

    def enums(self, field: str, values: Iterable[int], known: Mapping[int, _Member]) -> frozenset[_Member]:
        """Check a filter of enum values."""
        members = set()
        for index, value in enumerate(values):
            if value in known:
                members.add(known[value])
            else:
                self._unknown(f"{field}[{index}]", value, known)
        return frozenset(members)

    def enum(self, field: str, value: int, known: Mapping[int, _Member], otherwise: _Member) -> _Member:
        """Check one enum value."""
        if value not in known:
            self._unknown(field, value, known)
        return known.get(value, otherwise)

    def _unknown(self, field: str, value: int, known: Mapping[int, _Member]) -> None:
        allowed = ", ".join(f"{member.name} ({number})" for number, member in known.items())
        self.wrong(field, f"{value} is not known here; use one of {allowed}", "ENUM_UNKNOWN")

    def usd(self, field: str, micros: int, *, least: int = 0) -> Decimal:
        """Check an amount in millionths of a US dollar."""
        return Decimal(self.integer(field, micros, least=least, most=USD_MICROS_MAX)) / _USD

    def request_id(self, value: str) -> str:
        """Check the id that makes a retry safe; it may be empty."""
        if len(value) > REQUEST_ID_CHARACTERS_MAX or not _PRINTABLE.fullmatch(value):
            self.wrong(
                "request_id",
                f"must be at most {REQUEST_ID_CHARACTERS_MAX} printable ASCII characters without spaces; "
                "a UUID is a good choice",
                "REQUEST_ID_INVALID",
            )
        return value

    def reason(self, value: str) -> str:
        """Check the reason for the audit; it may be empty."""
        return self.text("reason", value, most=REASON_CHARACTERS_MAX)

    def email(self, field: str, value: str) -> str:
        """Check an e-mail address; returns it in lower case."""
        if not _EMAIL.fullmatch(value):
            self.wrong(field, f"{shown(value)} is not an e-mail address", "EMAIL_INVALID")
        return value.lower()

    def labels(self, field: str, values: Mapping[str, str]) -> dict[str, str]:
        """Check labels: at most 64, keys like `rack` or `example.com/pool`, values of at most 256 characters."""
        for key in self.count(field, values, most=LABELS_MAX):
            if not _LABEL_KEY.fullmatch(key):
                self.wrong(
                    f"{field}[{shown(key)}]",
                    "a label's name is 1 to 63 letters, digits, '-', '_', '.' or '/'",
                    "LABEL_INVALID",
                )
            self.text(f"{field}[{shown(key)}]", values[key], most=256, one_line=True)
        return dict(values)


def shown(value: str) -> str:
    """Hostile text, shortened and escaped for an error message."""
    return ascii(value[:_SHOWN] + "..." if len(value) > _SHOWN else value)
