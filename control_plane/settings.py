"""Settings of the control plane, from one class: defaults, a TOML file, the environment, flags; the later wins.

This is the only module that reads the environment. Every field's docstring is its help text, its name is its
key in the file, `ORQUANTA_<NAME>` in the environment and `--<name-with-dashes>` on the command line.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from control_plane.mcp_forms import McpServer
from control_plane.model_forms import ModelEndpoint
from control_plane.setting_care import CareSettings
from control_plane.setting_display import is_many, is_secret, metavar, shown
from control_plane.setting_identities import IdentitySettings
from control_plane.setting_jobs import JobSettings
from control_plane.setting_reach import ReachSettings
from control_plane.setting_reasoning import ReasoningSettings
from control_plane.setting_records import RecordSettings
from control_plane.setting_section import FilePath, absolute
from control_plane.setting_sources import (
    Origin,
    SettingsError,
    SettingSource,
    explain,
    flag_of,
    many,
    read_environment,
    read_file,
    variable_of,
)

DEFAULT_FILE: Final = Path("/etc/orquanta/server.toml")

_CONFIG_KEY: Final = "config"


def _default_state_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/orquanta")
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "state") / "orquanta"


class Settings(
    RecordSettings, ReasoningSettings, IdentitySettings, CareSettings, JobSettings, ReachSettings, BaseSettings
):
    """All settings of the control plane. Use `load_settings`; the constructor reads no environment.

    They are shown in the order of the sections from the last base to the first, which is how pydantic gathers them.
    """

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, defer_build=False
    )

    state_dir: FilePath = Field(default_factory=_default_state_dir)
    """Directory of everything the control plane keeps: CA, secrets, database, broker data, job logs."""

    _origins: dict[str, tuple[Origin, str]] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `load_settings` hands over: it reads the sources itself, to know who said what."""
        return (init_settings,)

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.heartbeat_seconds >= self.lease_seconds:
            raise ValueError("lease_seconds should be longer than heartbeat_seconds, best three times as long")
        if self.fence_seconds <= self.heartbeat_seconds:
            raise ValueError("fence_seconds should be longer than heartbeat_seconds")
        for one, other in (
            ("ca_certificate_file", "ca_key_file"),
            ("nats_certificate_file", "nats_key_file"),
        ):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"{one} and {other} should be set together")
        if self.replicated:
            self._check_replicated()
        if self.memory_embedder == "http" and not (_is_url(self.memory_embedder_url) and self.memory_embedder_model):
            raise ValueError("memory_embedder = http needs memory_embedder_url and memory_embedder_model")
        if self.memory_store == "weaviate" and not _is_url(self.memory_weaviate_url):
            raise ValueError("memory_weaviate_url should be an address such as http://127.0.0.1:8080")
        for value in ("admin_password", "nats_password"):
            if getattr(self, value) is not None and getattr(self, f"{value}_file") is not None:
                raise ValueError(f"{value} and {value}_file should not be set both")
        return self

    def _check_replicated(self) -> None:
        if not self.database_url.startswith("postgresql"):
            raise ValueError(
                "replicated needs a database that several control planes can reach: set database_url to "
                "postgresql://USER:PASSWORD@HOST/NAME"
            )
        if not self.nats_url:
            raise ValueError(
                "replicated needs a NATS cluster of your own: set nats_url to its servers, tls://HOST:4222 each; the "
                "embedded broker ends with its control plane"
            )

    @property
    def identity(self) -> Path:
        """The folder of the keys in use."""
        return self.identity_folder or self.state_dir / "identity"

    @property
    def database(self) -> str:
        """The URL of the database in use."""
        return self.database_url or f"sqlite:///{self.state_dir / 'orquanta.db'}"

    @property
    def policies(self) -> Path | None:
        """The folder of policy files in use."""
        default = self.state_dir / "policies"
        return self.policy_folder or (default if default.is_dir() else None)

    def password(self, name: Literal["admin_password", "nats_password"]) -> str | None:
        """Return a password, from its setting or its file; None if neither is set. Raises SettingsError."""
        value: SecretStr | None = getattr(self, name)
        path: Path | None = getattr(self, f"{name}_file")
        if value is not None:
            return value.get_secret_value()
        return None if path is None else _secret_in(path, f"{name}_file")

    def model_api_key(self, endpoint: ModelEndpoint) -> str:
        """Return the key for a model's endpoint; "" if it needs none. Raises SettingsError."""
        place = f"model_endpoints: {endpoint.name}"
        if endpoint.api_key_file is not None:
            key = _secret_in(absolute(endpoint.api_key_file), f"{place}: api_key_file")
        elif endpoint.api_key_env:
            key = os.environ.get(endpoint.api_key_env, "")
            if not key:
                raise SettingsError(f"{place}: {endpoint.api_key_env} is not in the environment; set it to the key")
        else:
            return ""
        if not key.isascii() or not key.isprintable() or " " in key:
            raise SettingsError(f"{place}: the key holds characters that no key has; write the key alone, on one line")
        return key

    def memory_key(self, name: Literal["memory_embedder_key_file", "memory_weaviate_key_file"]) -> str:
        """Return the key for a server that memory uses; "" if it needs none. Raises SettingsError."""
        path: Path | None = getattr(self, name)
        return "" if path is None else _secret_in(path, name)

    def mcp_token(self, server: McpServer) -> str:
        """Return the bearer token for an MCP server; "" if it needs none. Raises SettingsError."""
        if server.token_file is None:
            return ""
        return _secret_in(absolute(server.token_file), f"mcp_servers: {server.name}: token_file")

    def sources(self) -> tuple[SettingSource, ...]:
        """Return every setting, where its value came from, and secrets masked, in the order of the class."""
        found = []
        for name in type(self).model_fields:
            origin, place = self._origins.get(name, (Origin.DEFAULT, ""))
            found.append(SettingSource(name, shown(getattr(self, name)), origin, place))
        return tuple(found)

    def remember_origins(self, origins: Mapping[str, tuple[Origin, str]]) -> None:
        """Keep where values came from, for `sources`."""
        self._origins.update(origins)


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    plain = parts.username is None and not parts.query and not parts.fragment
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain


def _secret_in(path: Path, place: str) -> str:
    try:
        text = path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{place}: {path} cannot be read ({error}); fix its path or mode") from error
    if not text:
        raise SettingsError(f"{place}: {path} is empty; write the password into it")
    return text


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and a flag for each setting; secrets have none, as every user of a machine sees flags."""
    parser.add_argument(
        "--config", metavar="FILE", dest=_CONFIG_KEY, help=f"TOML file with settings (default: {DEFAULT_FILE})"
    )
    group = parser.add_argument_group("settings")
    for name, field in Settings.model_fields.items():
        if is_secret(field):
            continue
        text = " ".join((field.description or "").split()).replace("%", "%%")
        flag = flag_of(name)
        if field.annotation is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, dest=name, help=text)
        elif is_many(field):
            group.add_argument(flag, action="append", default=None, dest=name, metavar="NAME", help=text)
        else:
            group.add_argument(flag, default=None, dest=name, metavar=metavar(field), help=text)


def load_settings(
    argv: Sequence[str], *, environ: Mapping[str, str] | None = None, default_file: Path = DEFAULT_FILE
) -> Settings:
    """Return the settings for a command line (without the program's name).

    Raises SettingsError, which names the source, the key and what is allowed; argparse itself ends the
    process for an unknown flag and for --help.
    """
    parser = argparse.ArgumentParser(prog="orquanta-server", allow_abbrev=False)
    add_settings_arguments(parser)
    return settings_from(parser.parse_args(list(argv)), environ=environ, default_file=default_file)


def settings_from(
    arguments: argparse.Namespace,
    *,
    environ: Mapping[str, str] | None = None,
    default_file: Path = DEFAULT_FILE,
) -> Settings:
    """Return the settings for arguments that `add_settings_arguments` has parsed. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}  # Any: as written in the source; the class decides
    origins: dict[str, tuple[Origin, str]] = {}
    file = _file(arguments, environ, default_file)
    if file is not None:
        for name, value in read_file(file, Settings.model_fields).items():
            values[name], origins[name] = value, (Origin.FILE, str(file))
    for name, text in read_environment(environ, Settings.model_fields).items():
        values[name], origins[name] = text, (Origin.ENVIRONMENT, variable_of(name))
    for name, field in Settings.model_fields.items():
        given = getattr(arguments, name, None)
        if given is not None:
            values[name] = many(",".join(given)) if is_many(field) else given
            origins[name] = (Origin.FLAG, flag_of(name))
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(explain(error, Settings.model_fields, values, origins))) from None
    settings.remember_origins(origins)
    return settings


def _file(arguments: argparse.Namespace, environ: Mapping[str, str], default_file: Path) -> Path | None:
    named = getattr(arguments, _CONFIG_KEY, None) or environ.get(variable_of(_CONFIG_KEY))
    if named:
        return Path(named).expanduser()
    return default_file if default_file.is_file() else None
