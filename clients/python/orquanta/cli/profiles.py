"""The file of profiles: which servers a person uses, and the API key for each. Readable by its owner only."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.formats import trouble

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Profile:
    """How to reach one server as one person. `ca_certificate` is PEM; empty trusts the public authorities."""

    server: str = ""
    ca_certificate: str = ""
    email: str = ""
    api_key: str = ""
    api_key_id: str = ""


@dataclass(frozen=True, slots=True)
class ProfileBook:
    """All profiles by name, and which one is used when none is named."""

    current: str = ""
    profiles: Mapping[str, Profile] = field(default_factory=dict)

    def with_profile(self, name: str, profile: Profile, *, use: bool) -> "ProfileBook":
        """The book with that profile added or replaced, and made the current one if so asked."""
        current = name if use or not self.current else self.current
        return ProfileBook(current, {**self.profiles, name: profile})

    def using(self, name: str) -> "ProfileBook":
        """The book with another current profile."""
        return replace(self, current=name)


def check_name(name: str) -> str:
    """The name, if a profile may be called that."""
    if not _NAME.fullmatch(name):
        raise CommandError(
            f"a profile cannot be called {name!r}: use up to 40 letters, digits, '-' and '_'",
            reason="PROFILE_NAME",
            code=ExitCode.USAGE,
        )
    return name


def load_profiles(path: Path) -> ProfileBook:
    """The profiles in the file; none if it does not exist. Raises CommandError for a file that is broken."""
    try:
        content = tomllib.loads(path.read_text())
        tables = content.get("profiles", {})
        return ProfileBook(
            current=str(content.get("current", "")),
            profiles={name: _read_profile(table) for name, table in tables.items()},
        )
    except FileNotFoundError:
        return ProfileBook()
    except (OSError, ValueError, AttributeError) as error:
        raise CommandError(
            f"{path} cannot be read: {trouble(error)}. Mend it, or remove it and log in again.",
            reason="CONFIG_UNREADABLE",
            code=ExitCode.USAGE,
        ) from error


def _read_profile(table: Mapping[str, Any]) -> Profile:  # Any: whatever a person wrote into the file
    return Profile(**{entry.name: str(table.get(entry.name, "")) for entry in fields(Profile)})


def save_profiles(path: Path, book: ProfileBook) -> None:
    """Replace the file in one step; mode 0600 from the first byte, because it holds API keys."""
    lines = [f"current = {_quote(book.current)}"] if book.current else []
    for name, profile in sorted(book.profiles.items()):
        lines += ["", f"[profiles.{check_name(name)}]"]
        lines += [f"{e.name} = {_quote(value)}" for e in fields(profile) if (value := getattr(profile, e.name))]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written: {trouble(error)}", reason="CONFIG_UNWRITABLE", code=ExitCode.FAILED
        ) from error


def _quote(text: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's, except for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
