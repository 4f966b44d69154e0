"""Passwords of people, kept as argon2id hashes. All of it blocks for 50 to 100 ms: call it in a thread."""

import unicodedata
from dataclasses import dataclass
from typing import Final

import argon2
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from control_plane.errors import InvalidArgument

MIN_CHARACTERS: Final = 12
MAX_CHARACTERS: Final = 1024  # so that nobody makes the server hash megabytes


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """The outcome of a login. `needs_rehash`: right, but hashed with other parameters; store a fresh hash."""

    ok: bool
    needs_rehash: bool


class Passwords:
    """Hashes and checks passwords. The default costs are the second choice of RFC 9106 (64 MiB, 3 passes)."""

    def __init__(self, *, time_cost: int = 3, memory_kib: int = 65_536, parallelism: int = 4) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)
        self._nobody = self._hasher.hash("the password of nobody")

    def hash(self, password: str) -> str:
        """Return the hash to store for a password that a person has chosen.

        Raises:
            InvalidArgument: PASSWORD_TOO_SHORT or PASSWORD_TOO_LONG.
        """
        plain = _normalised(password)
        if len(plain) < MIN_CHARACTERS:
            raise InvalidArgument(
                f"the password has {len(plain)} characters: choose one of at least {MIN_CHARACTERS}",
                reason="PASSWORD_TOO_SHORT",
            )
        if len(plain) > MAX_CHARACTERS:
            raise InvalidArgument(
                f"the password has {len(plain)} characters: choose one of at most {MAX_CHARACTERS}",
                reason="PASSWORD_TOO_LONG",
            )
        return self._hasher.hash(plain.encode())

    def verify(self, stored_hash: str | None, password: str) -> PasswordCheck:
        """Check a password; None as the stored hash stands for an unknown user.

        It works as long for an unknown user as for a wrong password, so that the time tells nothing about who
        has an account.
        """
        plain = _normalised(password)[:MAX_CHARACTERS].encode()
        try:
            self._hasher.verify(stored_hash or self._nobody, plain)
        except (VerifyMismatchError, VerificationError, InvalidHashError):
            return PasswordCheck(ok=False, needs_rehash=False)
        if stored_hash is None or len(password) > MAX_CHARACTERS:
            return PasswordCheck(ok=False, needs_rehash=False)
        return PasswordCheck(ok=True, needs_rehash=self._hasher.check_needs_rehash(stored_hash))


def _normalised(password: str) -> str:
    """The same text from every keyboard: é typed as one character or as two."""
    return unicodedata.normalize("NFKC", password[: MAX_CHARACTERS + 1]).encode(errors="replace").decode()
