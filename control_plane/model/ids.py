"""Ids: a prefix that names the kind, a dash, and 12 characters of lower-case Crockford base32 (60 bits).

`j-7zk3m09qv2xa` is a job. Each kind has its own type, so that a job id cannot be passed as a node id. Users
have plain uuid4 text.
"""

import hashlib
import re
import secrets
import uuid
from dataclasses import dataclass
from typing import Final, Generic, NewType, TypeVar, cast

from control_plane.errors import InvalidArgument

GoalId = NewType("GoalId", str)
JobId = NewType("JobId", str)
AllocationId = NewType("AllocationId", str)
NodeId = NewType("NodeId", str)
ActionId = NewType("ActionId", str)
TokenId = NewType("TokenId", str)
KeyId = NewType("KeyId", str)
IncidentId = NewType("IncidentId", str)
RepairId = NewType("RepairId", str)
GrantId = NewType("GrantId", str)
MemoryId = NewType("MemoryId", str)
RunId = NewType("RunId", str)
UserId = NewType("UserId", str)

_Id = TypeVar("_Id", bound=str)

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH: Final = 12
_BITS: Final = 5 * _LENGTH
_SHOWN: Final = 40  # characters of a bad id that an error message repeats


@dataclass(frozen=True, slots=True)
class Prefix(Generic[_Id]):
    """The kind of an id; `text` is what stands before the dash."""

    text: str


GOAL: Final[Prefix[GoalId]] = Prefix("g")
JOB: Final[Prefix[JobId]] = Prefix("j")
ALLOCATION: Final[Prefix[AllocationId]] = Prefix("a")
NODE: Final[Prefix[NodeId]] = Prefix("n")
ACTION: Final[Prefix[ActionId]] = Prefix("act")
TOKEN: Final[Prefix[TokenId]] = Prefix("t")
KEY: Final[Prefix[KeyId]] = Prefix("k")
INCIDENT: Final[Prefix[IncidentId]] = Prefix("i")
REPAIR: Final[Prefix[RepairId]] = Prefix("r")
GRANT: Final[Prefix[GrantId]] = Prefix("gr")
MEMORY: Final[Prefix[MemoryId]] = Prefix("m")
RUN: Final[Prefix[RunId]] = Prefix("run")

_BODY: Final = re.compile(f"[{_ALPHABET}]{{{_LENGTH}}}")
_UUID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id(prefix: Prefix[_Id]) -> _Id:
    """Return a random id of this kind."""
    return _render(prefix, secrets.randbits(_BITS))


def derived_id(prefix: Prefix[_Id], *parts: str) -> _Id:
    """Return the id of this kind that belongs to `parts`: the same parts always give the same id.

    A create derives its id from (user id, method, request id), so that a retried create is the same create.
    """
    digest = hashlib.sha256(_join(prefix.text, *parts)).digest()
    return _render(prefix, int.from_bytes(digest, "big") >> (len(digest) * 8 - _BITS))


def parse_id(prefix: Prefix[_Id], text: str) -> _Id:
    """Return `text` as an id of this kind.

    Raises:
        InvalidArgument: ID_INVALID; it is not exactly of the form that `new_id` returns.
    """
    start = f"{prefix.text}-"
    if text.startswith(start) and _BODY.fullmatch(text[len(start) :]):
        return cast("_Id", text)
    raise InvalidArgument(
        f"{_shown(text)} is not an id of this kind: expected {start} and {_LENGTH} characters of "
        f"{_ALPHABET}; copy the id from a list or show command",
        reason="ID_INVALID",
    )


def new_user_id() -> UserId:
    """Return a random user id (uuid4 text)."""
    return UserId(str(uuid.uuid4()))


def derived_user_id(*parts: str) -> UserId:
    """Return the user id that belongs to `parts`, in the form of a uuid4."""
    digest = hashlib.sha256(_join("user", *parts)).digest()
    return UserId(str(uuid.UUID(bytes=digest[:16], version=4)))


def parse_user_id(text: str) -> UserId:
    """Return `text` as a user id.

    Raises:
        InvalidArgument: ID_INVALID; it is not lower-case uuid text.
    """
    if _UUID.fullmatch(text):
        return UserId(text)
    raise InvalidArgument(
        f"{_shown(text)} is not a user id: expected a lower-case UUID such as 0b8f3c1e-6a54-4c0e-9d0a-1f5f6a7b8c9d",
        reason="ID_INVALID",
    )


def _render(prefix: Prefix[_Id], number: int) -> _Id:
    body = "".join([_ALPHABET[number >> shift & 31] for shift in range(_BITS - 5, -1, -5)])
    return cast("_Id", f"{prefix.text}-{body}")


def _join(*parts: str) -> bytes:
    """Length before each part, so that ("ab", "c") and ("a", "bc") differ."""
    encoded = [part.encode(errors="surrogatepass") for part in parts]
    return b"".join([len(part).to_bytes(8, "big") + part for part in encoded])


def _shown(text: str) -> str:
    """Hostile input, shortened and escaped for an error message."""
    return ascii(text[:_SHOWN] + "..." if len(text) > _SHOWN else text)
