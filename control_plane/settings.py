"""Settings of the control plane, from one class: defaults, a TOML file, the environment, flags; the later wins.

This is the only module that reads the environment. Every field's docstring is its help text, its name is its
key in the file, `ORQUANTA_<NAME>` in the environment and `--<name-with-dashes>` on the command line.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from control_plane.mcp_forms import McpServer, McpServers
from control_plane.model_forms import ModelEndpoint, ModelEndpoints
from control_plane.setting_addresses import Address
from control_plane.setting_display import is_many, is_secret, metavar, shown
from control_plane.setting_forms import (
    RUNG_NAMES,
    LocalRungs,
    OutOfService,
    ProtectedLabel,
    Rungs,
    WebhookUrls,
    Windows,
)
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
_MIB: Final = 1024 * 1024


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


FilePath = Annotated[Path, AfterValidator(_absolute)]
Names = tuple[str, ...]
Seconds = Annotated[float, Field(gt=0, le=30 * 86_400, allow_inf_nan=False)]
WholeSeconds = Annotated[int, Field(gt=0, le=365 * 86_400)]


def _default_state_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/orquanta")
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "state") / "orquanta"


class Settings(BaseSettings):
    """All settings of the control plane. Use `load_settings`; the constructor reads no environment."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    state_dir: FilePath = Field(default_factory=_default_state_dir)
    """Directory of everything the control plane keeps: CA, secrets, database, broker data, job logs."""
    people_address: Address = "127.0.0.1:50051"
    """Where people and joining hosts connect (gRPC, server TLS); port 0 takes any free port."""
    nodes_address: Address = "127.0.0.1:50052"
    """Where daemons connect (gRPC, mutual TLS); port 0 takes any free port."""
    advertise_names: Names = ()
    """Host names and addresses by which hosts and people reach this machine; they go into the server
    certificate, and the first one into what joining hosts are told. Local names only if empty."""
    insecure: bool = False
    """Serve the people's port without TLS: passwords and tokens then cross the network in clear. For a proxy
    on the same machine that does TLS itself; the daemons' port and the broker keep their TLS."""
    nats_address: Address = "127.0.0.1:0"
    """Where the embedded broker listens; port 0 takes any free port and keeps it."""
    nats_sync: Literal["every-second", "every-message"] = "every-second"
    """When the embedded broker forces messages to disk; every-second may lose the last second in a power cut."""
    nats_url: Names = ()
    """URLs of your own NATS cluster, tls://host:4222; the embedded broker is then not started."""
    nats_ca_file: FilePath | None = None
    """CA certificate (PEM) of your own NATS cluster; the control plane's own CA if unset."""
    nats_certificate_file: FilePath | None = None
    """Client certificate (PEM) for your own NATS cluster."""
    nats_key_file: FilePath | None = None
    """Private key (PEM) of that client certificate."""
    nats_user: str = ""
    """User name at your own NATS cluster."""
    nats_password: SecretStr | None = None
    """Password at your own NATS cluster."""
    nats_password_file: FilePath | None = None
    """File that holds the password at your own NATS cluster."""
    database_url: str = ""
    """sqlite:///path or postgresql://user:password@host/database; a SQLite file in the state directory if
    empty."""
    replicated: bool = False
    """Run beside other control planes on the same database and NATS cluster: all serve people and hosts, one has its
    agents work. Needs PostgreSQL and nats_url, and the keys of identity_folder in each."""
    replica_name: Annotated[str, Field(max_length=48, pattern="^[A-Za-z0-9_-]*$")] = ""
    """Name of this control plane among them; one is made from the machine's name, and kept, if empty."""
    identity_folder: FilePath | None = None
    """Folder of the keys that all of them share: the CA, and the secrets that sign tokens and grants; identity in the
    state directory if unset."""
    link_servers: Names = ()
    """Addresses of the daemons' ports of all of them, host:port, which hosts are told; those that are running are told
    in any case."""
    metrics_address: str = ""
    """HOST:PORT at which Prometheus reads this control plane's own figures; nowhere if empty. It has neither TLS nor a
    password: keep it on loopback or behind a firewall."""
    otlp_endpoint: Annotated[str, Field(pattern=r"^(https?://[^\s/]+)?$")] = ""
    """A collector of traces that speaks OTLP over gRPC, http://host:4317, or https:// with TLS; none if empty."""
    lease_seconds: Seconds = 15.0
    """A node silent for this long is lost: it gets no new jobs."""
    heartbeat_seconds: Seconds = 3.0
    """How often a daemon says that it is alive, in seconds; shorter than the lease."""
    fence_seconds: Seconds = 300.0
    """A host out of contact for this long stops its jobs by itself; only then are they started elsewhere."""
    fence_margin_seconds: Seconds = 5.0
    """Waited on top of lease and fence before jobs of a lost node are started elsewhere."""
    approval_above_usd: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] = Decimal(100)
    """A launch that may cost more than this, in US dollars, waits for a person's approval."""
    approval_webhook_urls: WebhookUrls = ()
    """Addresses that are told what waits for approval, what was decided, and which incidents need a person; secret."""
    approval_webhook_kind: Literal["json", "slack"] = "json"
    """What those addresses understand: JSON with fields, or {"text": ...} as Slack, Mattermost and others take it."""
    max_gpus_per_user: Annotated[int, Field(ge=0)] = 64
    """GPUs that one user may hold at a time, unless the account says otherwise."""
    queue_order: Literal["fair_share", "fifo"] = "fair_share"
    """In which order jobs are served: teams and users by what they hold already, or first come, first served."""
    queue_backfill: bool = True
    """Start smaller jobs in gaps where that delays no job before them."""
    queue_preemption: bool = True
    """Have attempts make way for a waiting job of higher priority, or of a team that gets back what is its own."""
    queue_aging_seconds: Seconds = 21_600.0
    """A job climbs one priority for each time as long as this that it waits."""
    queue_min_runtime_seconds: Annotated[float, Field(ge=0, le=30 * 86_400, allow_inf_nan=False)] = 600.0
    """How long an attempt is safe from making way for others."""
    queue_packing: Literal["node_value", "fgd", "best_fit", "random"] = "node_value"
    """How hosts are chosen among those with room: where least is lost for other jobs, by fragmentation, fullest
    first, or at random."""
    preemptions_max: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Attempts that may be making way at once for other jobs than the one that asks for more."""
    default_max_runtime_seconds: WholeSeconds = 14_400
    """Wall-clock limit of a job that names none."""
    default_stop_grace_seconds: WholeSeconds = 10
    """Time between SIGTERM and SIGKILL for a job that names none."""
    default_max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Attempts of a job that names none, when hosts fail."""
    policy_folder: FilePath | None = None
    """Folder of policy files, looked at every second; the folder policies in the state directory, if there is one."""
    protected_label: ProtectedLabel = "orquanta.io/protected=true"
    """Label of nodes that no agent touches, and whose repair, drain or removal another person approves; empty for
    none."""
    change_freezes: Windows = ()
    """Windows in which agents change nothing and people's changes need approval, in UTC, for example
    2026-12-24T18:00Z/2027-01-02T08:00Z once or fri 18:00/mon 06:00 every week."""
    automatic_repair: bool = True
    """Have the healing agent repair hosts by itself; without it, incidents are opened and people repair."""
    repair_rungs: Rungs = RUNG_NAMES
    """Repairs that the healing agent may order: stop-process, move-job, reset-gpu, restart-service, reload-driver,
    reboot-host, verify."""
    repair_approval_rungs: Rungs = ()
    """Repairs that wait for a person's approval when the healing agent orders them, for example reboot-host."""
    repair_settle_seconds: Seconds = 15.0
    """How long what was wrong may take to be over after a repair that succeeded, before the next one is tried."""
    repair_flaps: Annotated[int, Field(ge=1, le=100)] = 3
    """A trouble that is back after so many repairs that succeeded is not repaired again: its host is quarantined."""
    repair_flap_seconds: Seconds = 21_600.0
    """Within which time those repairs count."""
    repair_refused_seconds: Seconds = 300.0
    """After how long a repair that a host has refused is tried again; after three refusals the next one is tried."""
    repair_drain_seconds: Seconds = 120.0
    """How long jobs may take to leave a host beyond their own grace, before a person is called."""
    out_of_service_fleet: OutOfService = "50, 10%"
    """Hosts of the fleet that may be out of service at once, for repairs, tests, drains, quarantines, or lost: a number
    and a share, the lower counts. One is always possible, unless either is 0."""
    out_of_service_pool: OutOfService = "25, 20%"
    """The same for the hosts that have one label pool."""
    out_of_service_rack: OutOfService = "8, 34%"
    """The same for the hosts that have one label rack."""
    out_of_service_job: OutOfService = "2, 50%"
    """The same for the hosts that one job runs on."""
    out_of_service_tenant: OutOfService = "10, 34%"
    """The same for the hosts that jobs of one user run on."""
    local_repairs: LocalRungs = (
        "stop-process:10",
        "reset-gpu:2",
        "restart-service:4",
    )
    """Repairs that a host may do by itself while it cannot reach the control plane, and how often a day."""
    local_repairs_per_day: Annotated[int, Field(ge=0, le=1000)] = 10
    """Repairs of any kind that a host may do by itself in a day."""
    local_repairs_stop_jobs: bool = False
    """Whether jobs on what is repaired may be stopped for it by a host that decides alone."""
    local_repair_after_seconds: Seconds = 60.0
    """How long a host must have been cut off before it decides by itself."""
    local_policy_days: Annotated[int, Field(ge=1, le=90)] = 7
    """How long a host that is cut off may decide by itself; afterwards it only watches, and takes no jobs."""
    node_certificate_hours: Annotated[int, Field(ge=1, le=24 * 30)] = 24
    """Life of a node's certificate, in hours; the daemon renews it when a third is left."""
    server_certificate_days: Annotated[int, Field(ge=1, le=397)] = 90
    """Life of the server's own certificates, in days."""
    ca_certificate_file: FilePath | None = None
    """CA that you bring: its certificate (PEM), followed by those above it. A CA is made if unset."""
    ca_key_file: FilePath | None = None
    """Private key (PEM) of the CA that you bring."""
    ca_key_passphrase: SecretStr | None = None
    """Passphrase of that key, or the one under which the built-in CA's key is kept."""
    admin_email: str = "admin@localhost"
    """E-mail of the administrator that the first start makes."""
    admin_password: SecretStr | None = None
    """Password of that administrator; one is made and printed once if neither this nor the file is set."""
    admin_password_file: FilePath | None = None
    """File that holds the password of that administrator."""
    price_file: FilePath | None = None
    """TOML file with prices that replace or extend the built-in table."""
    model_endpoints: ModelEndpoints = ()
    """Models to reason with, best first: tables with name, base_url, model, input_usd_per_million,
    output_usd_per_million, api_key_file or api_key_env; in a text, the same as words of the form key=value. Without
    one, everything goes by rules."""
    model_calls: bool = True
    """Ask the models that are configured; without it, everything goes by rules."""
    model_cost_per_day_usd: Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = Decimal(20)
    """What models may cost in a day (UTC) for each user, in US dollars, and for the agents that act for nobody."""
    run_turns_max: Annotated[int, Field(ge=1, le=100)] = 12
    """Turns of a model that one reasoning run may take."""
    run_tool_calls_max: Annotated[int, Field(ge=1, le=200)] = 24
    """Calls of tools that one reasoning run may make."""
    run_input_tokens_max: Annotated[int, Field(ge=1_000, le=10_000_000)] = 60_000
    """Tokens that one reasoning run may send to a model."""
    run_output_tokens_max: Annotated[int, Field(ge=100, le=1_000_000)] = 16_000
    """Tokens that a model may write in one reasoning run."""
    run_cost_max_usd: Annotated[Decimal, Field(ge=0, le=1_000, allow_inf_nan=False)] = Decimal("0.50")
    """What a model may cost in one reasoning run, in US dollars."""
    run_seconds_max: Annotated[float, Field(ge=1, le=3_600)] = 600.0
    """Work of one reasoning run, in seconds; waiting for people and for jobs does not count."""
    run_replans_max: Annotated[int, Field(ge=0, le=5)] = 2
    """Times that a goal's failed jobs may be run again, changed where that helps; 0 leaves them failed."""
    mcp_servers: McpServers = ()
    """MCP servers whose tools agents may use: tables with name, command or url, tools, read (those of the tools that
    change nothing; no other is called), role, timeout_seconds, token_file; in a text, words of the form key=value."""
    memory_store: Literal["local", "weaviate", "off"] = "local"
    """Where memories are kept: a file in the state directory, a Weaviate server, or nowhere."""
    memory_days: Annotated[int, Field(ge=1, le=3_650)] = 180
    """Days after which a memory is forgotten unless the same is seen again."""
    memory_embedder: Literal["hashed", "minilm", "http"] = "hashed"
    """What makes vectors of memories: hashed pieces of words, the model MiniLM (install it with:
    python -m control_plane.memory.install), or a server with /v1/embeddings."""
    memory_embedder_url: str = ""
    """With http: where that server is, for example http://127.0.0.1:8080/v1."""
    memory_embedder_model: str = ""
    """With http: the name of its model."""
    memory_embedder_dimensions: Annotated[int, Field(ge=1, le=8_192)] = 768
    """With http: the length of the model's vectors."""
    memory_embedder_key_file: FilePath | None = None
    """With http: file that holds the key for that server, if it needs one."""
    memory_weaviate_url: str = "http://127.0.0.1:8080"
    """With weaviate: where the server is."""
    memory_weaviate_grpc_port: Annotated[int, Field(ge=1, le=65_535)] = 50_051
    """With weaviate: the port of its gRPC, on the same host."""
    memory_weaviate_key_file: FilePath | None = None
    """With weaviate: file that holds the API key, if it needs one."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level of log lines that are written."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """Form of log lines; auto: text on a terminal, JSON otherwise."""
    job_log_max_bytes: Annotated[int, Field(ge=64 * 1024)] = 64 * _MIB
    """Output kept for each member of a job, in bytes; beyond it the older half is dropped and counted."""
    job_logs_total_max_bytes: Annotated[int, Field(ge=_MIB)] = 8 * 1024 * _MIB
    """Output kept over all jobs, in bytes; beyond it that of the oldest ended jobs is deleted."""
    audit_checkpoint_file: Path | None = None
    """File to which signed checkpoints of the audit are appended; best on another machine's disk.
    Default: audit/checkpoints.jsonl in the state directory."""
    audit_keep_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """Days that audit records stay in the database; older ones are archived to files first. 0 keeps them for good."""

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
            key = _secret_in(_absolute(endpoint.api_key_file), f"{place}: api_key_file")
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
        return _secret_in(_absolute(server.token_file), f"mcp_servers: {server.name}: token_file")

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
