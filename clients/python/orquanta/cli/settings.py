"""What the command line is told from outside, and which source wins. The only reader of the environment.

For each setting: the flag, then the environment, then the profile. A profile's key and CA are only used with
that profile's own server, so that naming another server never sends it a secret that is not its own.
"""

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orquanta.cli.profiles import Profile, ProfileBook

_CONFIG_VARIABLE = "ORQUANTA_CLI_CONFIG"
_SERVER_VARIABLE = "ORQUANTA_SERVER"
_TOKEN_VARIABLE = "ORQUANTA_TOKEN"  # noqa: S105 - the name of a variable, not a secret
_CA_VARIABLE = "ORQUANTA_CA"
_PROFILE_VARIABLE = "ORQUANTA_PROFILE"
_ADMIN_PASSWORD_VARIABLE = "ORQUANTA_ADMIN_PASSWORD"  # noqa: S105 - as above
_OWN_VARIABLES = (
    _CONFIG_VARIABLE,
    _SERVER_VARIABLE,
    _TOKEN_VARIABLE,
    _CA_VARIABLE,
    _PROFILE_VARIABLE,
    _ADMIN_PASSWORD_VARIABLE,  # `orquanta up` hands it over in a file
)


class Source(Enum):
    """Where a value came from."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    PROFILE = "profile"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Environment:
    """What the process was started with. `config_path` is the file of profiles."""

    config_path: Path
    server: str
    token: str
    ca_path: str
    profile: str
    state_dir: Path
    admin_password: str = ""


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line itself says about the connection; empty means not given."""

    server: str = ""
    ca_path: str = ""
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from; `place` names the flag, variable or profile."""

    value: str
    source: Source
    place: str


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the server. `ca` is the path of a PEM file or, from a profile, the PEM itself."""

    profile: Setting
    server: Setting
    ca: Setting
    credential: Setting

    @property
    def ca_certificate(self) -> bytes | str | None:
        """What the client takes: PEM, a path, or None for the public authorities."""
        if self.ca.source is Source.PROFILE:
            return self.ca.value.encode()
        return self.ca.value or None


def read_environment() -> Environment:
    """The environment of this process. Also keeps gRPC's own log lines off the terminal."""
    variables = os.environ
    variables.setdefault("GRPC_VERBOSITY", "NONE")
    home = Path(variables.get("HOME") or Path.home())
    config_home = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    state_home = Path(variables.get("XDG_STATE_HOME") or home / ".local" / "state")
    return Environment(
        config_path=Path(variables.get(_CONFIG_VARIABLE) or config_home / "orquanta" / "config.toml"),
        server=variables.get(_SERVER_VARIABLE, ""),
        token=variables.get(_TOKEN_VARIABLE, ""),
        ca_path=variables.get(_CA_VARIABLE, ""),
        profile=variables.get(_PROFILE_VARIABLE, ""),
        # The server's own default, so that `orquanta up` and `orquanta-server` mean the same fleet.
        state_dir=Path("/var/lib/orquanta") if os.geteuid() == 0 else state_home / "orquanta",
        admin_password=variables.get(_ADMIN_PASSWORD_VARIABLE, ""),
    )


def child_environment() -> dict[str, str]:
    """The environment for a server or daemon started from here: without what speaks to this command line."""
    return {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}


def resolve(flags: Flags, environment: Environment, book: ProfileBook) -> Connection:
    """Decide how to reach the server. Values may be empty: nothing was said anywhere."""
    profile = _first(
        (flags.profile, Source.FLAG, "--profile"),
        (environment.profile, Source.ENVIRONMENT, _PROFILE_VARIABLE),
        (book.current, Source.PROFILE, "current"),
    )
    stored = book.profiles.get(profile.value, Profile())
    place = profile.value
    server = _first(
        (flags.server, Source.FLAG, "--server"),
        (environment.server, Source.ENVIRONMENT, _SERVER_VARIABLE),
        (stored.server, Source.PROFILE, place),
    )
    own = stored if server.value == stored.server else Profile()
    return Connection(
        profile=profile,
        server=server,
        ca=_first(
            (flags.ca_path, Source.FLAG, "--ca"),
            (environment.ca_path, Source.ENVIRONMENT, _CA_VARIABLE),
            (own.ca_certificate, Source.PROFILE, place),
        ),
        credential=_first(
            (environment.token, Source.ENVIRONMENT, _TOKEN_VARIABLE),
            (own.api_key, Source.PROFILE, place),
        ),
    )


def _first(*candidates: tuple[str, Source, str]) -> Setting:
    return next((Setting(*found) for found in candidates if found[0]), Setting("", Source.DEFAULT, ""))


def local_timezone() -> str:
    """The IANA name of the zone that this machine keeps; empty if it cannot be told."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        _, _, name = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    try:
        return ZoneInfo(name).key if name else ""
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ""
