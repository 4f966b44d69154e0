"""What the daemon is told: defaults, then a TOML file, then ORQUANTA_NODE_* variables, then flags.

The only module of the daemon that reads the environment.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from node_agent import settings_values as convert
from node_agent.errors import SettingsInvalid
from node_agent.exporter.exporter import parse_address
from node_agent.health.rules import HealthRules
from node_agent.jobs.gpu_share import DEFAULT_PIPE_DIRECTORY
from node_agent.probe.custom.declaration import CustomCheck
from node_agent.probe.dcgm.fetch import parse_url
from node_agent.probe.host_checks.settings import HostCheckSettings

_PREFIX = "ORQUANTA_NODE_"
_SYSTEM_FILE = Path("/etc/orquanta/node.toml")
_SYSTEM_STATE = Path("/var/lib/orquanta-node")
_SYSTEM_SOCKET = Path("/run/orquanta-node/orquanta-node.sock")
_SOCKET_NAME = "orquanta-node.sock"
_CLUSTER_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_KERNEL_LOG = "/dev/kmsg"
_DEFAULT_CHECKS = HostCheckSettings(state_dir=Path())


class Engine(Enum):
    """What runs jobs that name an image."""

    AUTO = "auto"
    PODMAN = "podman"
    DOCKER = "docker"
    NONE = "none"


class Repairs(Enum):
    """What the host does about orders to repair it, and by itself."""

    ON = "on"
    DRY_RUN = "dry-run"
    """Say what would be done; change nothing."""
    OFF = "off"
    """Refuse them."""


class ExecutorKind(Enum):
    """What runs the jobs of this daemon."""

    HOST = "host"
    SLURM = "slurm"
    KUBERNETES = "kubernetes"


class LogLevel(Enum):
    """How much the daemon tells."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set; each field is a TOML key and, in capitals, an environment variable."""

    state_dir: Path
    """Identity, jobs and their logs; one daemon per directory."""
    virtual_gpus: str = ""
    """For example "8xH100"; the host's own GPUs if empty."""
    container_engine: Engine = Engine.AUTO
    engine_args: tuple[str, ...] = ()
    """Arguments that come before the engine's own command, such as `--root DIR`."""
    engine_run_args: tuple[str, ...] = ()
    """Arguments that come after the engine's `run`, such as `--ulimit nofile=1024:1024`."""
    container_network: str = "host"
    """The network of containers, as the engine names it; gangs over several hosts need "host"."""
    executor: ExecutorKind = ExecutorKind.HOST
    """Whether jobs run on this host or are handed to an engine of the site, whose GPUs this daemon then offers."""
    slurm_partition: str = ""
    """The partition whose GPUs are offered; Slurm's own default if empty."""
    slurm_output_dir: str = ""
    """A directory that this host and the cluster's nodes share, for what jobs write."""
    slurm_arguments: tuple[str, ...] = ()
    """Further arguments of sbatch, such as `--account=research`."""
    slurm_conf: str = ""
    """Slurm's configuration file, if it is not where Slurm looks for it."""
    kubernetes_server: str = ""
    """Where the API of the cluster is, `https://host:port`; that of the cluster this daemon runs in if empty."""
    kubernetes_namespace: str = "default"
    """The namespace in which Jobs are made."""
    kubernetes_image: str = ""
    """The image of jobs that name none."""
    kubernetes_ca: str = ""
    """The certificate authority of the API's certificate, in PEM."""
    kubernetes_token: str = ""
    """A file with the token to present."""
    kubernetes_certificate: str = ""
    """A client certificate in PEM, in place of a token."""
    kubernetes_key: str = ""
    """The key of that certificate."""
    mps_pipe_directory: str = str(DEFAULT_PIPE_DIRECTORY)
    """Where NVIDIA's MPS control daemon listens, which holds jobs to their parts of GPUs; not looked for if empty."""
    run_as: str = ""
    """USER or USER:GROUP of jobs that name no image, if the daemon is root; its own account if empty."""
    address: str = ""
    """Where other members of a gang reach this host; found from the route to the control plane if empty."""
    log_level: LogLevel = LogLevel.INFO
    log_json: bool = False
    stop_jobs: bool = False
    """Stop the jobs too when the daemon is asked to stop."""
    telemetry_interval_seconds: float = 1.0
    kernel_log: str = _KERNEL_LOG
    """Where the kernel's messages are read; not at all if empty."""
    dcgm_url: str = ""
    """A DCGM exporter whose figures fill what NVML does not tell, such as `http://127.0.0.1:9400/metrics`."""
    metrics_address: str = ""
    """HOST:PORT at which Prometheus metrics are served; nowhere if empty."""
    mount_points: tuple[str, ...] = _DEFAULT_CHECKS.mount_points
    """Whose disk space and inodes are watched, beside the state directory's."""
    services: tuple[str, ...] = _DEFAULT_CHECKS.services
    """Units that must run if they are installed and enabled."""
    expected_ports: tuple[str, ...] = ()
    """InfiniBand and RoCE ports that must be up, such as `mlx5_0/1`; those that were up once are expected anyway."""
    checks: tuple[CustomCheck, ...] = ()
    """Executables of the site's own that say how something stands; `[[checks]]` in the file."""
    health: HealthRules = field(default_factory=HealthRules)
    """Thresholds that differ from the usual; `[health]` in the file."""
    repairs: Repairs = Repairs.ON
    canary_seconds: float = 5.0
    """How long GPUs work under load in the last test of a verification."""
    socket: Path = Path()
    """Where `orquanta-node status|events|inject` reach the daemon; below /run for the system's daemon, else in the
    state directory."""
    allow_kmsg_injection: bool = False
    """For game days: let `orquanta-node inject kmsg` write into the kernel log, and believe lines there that the kernel
    itself did not print. Whoever can write to the log can then have the host drained and repaired."""
    tools_dir: str = ""
    """Where `nvidia-smi`, `systemctl` and `modprobe` are looked for in place of the system's directories, for game
    days: scripts there stand for tools that must not be run, and `dev/nvidiaN` there for devices that may be held."""


def load(flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """Put the settings together. `flags` holds what the command line named, by field; None counts as unnamed.

    Any: flags come from argparse, which has no types. Raises SettingsInvalid.
    """
    environment = os.environ if environment is None else environment
    given = {name: value for name, value in flags.items() if value is not None}
    file = given.pop("config", None) or environment.get(f"{_PREFIX}CONFIG")
    values: dict[str, Any] = {"state_dir": default_state_dir(environment)}
    values |= _from_file(Path(file) if file else _SYSTEM_FILE, required=file is not None)
    values |= _from_environment(environment)
    values |= given
    converted: dict[str, Any] = {name: _CONVERT[name](name, value) for name, value in values.items()}
    for name, value in _from_own_cluster(environment).items():
        converted.setdefault(name, value)
    converted.setdefault("socket", _default_socket(converted["state_dir"]))
    return Settings(**converted)


def _from_own_cluster(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return how a pod reaches the API of its cluster: Kubernetes itself says so."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    if not host:
        return {}
    address = f"[{host}]" if ":" in host else host
    return {
        "kubernetes_server": f"https://{address}:{environment.get('KUBERNETES_SERVICE_PORT', '443')}",
        "kubernetes_ca": f"{_CLUSTER_ACCOUNT}/ca.crt",
        "kubernetes_token": f"{_CLUSTER_ACCOUNT}/token",
    }


def _default_socket(state_dir: Path) -> Path:
    return _SYSTEM_SOCKET if state_dir == _SYSTEM_STATE else state_dir / _SOCKET_NAME


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """Return the state directory of root, or of a user."""
    if os.geteuid() == 0:
        return _SYSTEM_STATE
    home = environment.get("XDG_STATE_HOME") or Path(environment.get("HOME", "/")) / ".local" / "state"
    return Path(home) / "orquanta-node"


def join_token() -> str:
    """Return the join token from ORQUANTA_NODE_TOKEN, which keeps it off the command line; empty if unset."""
    return os.environ.get(f"{_PREFIX}TOKEN", "")


def notify_socket() -> str:
    """Return where systemd wants to hear that the daemon is ready; empty if it does not."""
    return os.environ.get("NOTIFY_SOCKET", "")


def watchdog_seconds() -> float:
    """Return how often systemd wants to hear that the daemon is alive; 0 if it does not."""
    try:
        for_this_process = int(os.environ.get("WATCHDOG_PID") or os.getpid()) == os.getpid()
        return int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6 if for_this_process else 0.0
    except ValueError:
        return 0.0


def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Settings))


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        if required:
            raise SettingsInvalid(f"The configuration file {path} does not exist.") from error
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsInvalid(f"The configuration file {path} cannot be read: {error}.") from error
    unknown = sorted(values.keys() - set(_names()))
    if unknown:
        raise SettingsInvalid(
            f"{path}: unknown key{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}. "
            f"Known are: {', '.join(_names())}."
        )
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for name in _names():
        value = environment.get(_PREFIX + name.upper())
        if value:
            found[name] = value
    return found


# Any: the value is whatever TOML, a variable or argparse gave.
_CONVERT: Mapping[str, Callable[[str, Any], object]] = {
    "state_dir": lambda _, value: Path(str(value)).expanduser().absolute(),
    "virtual_gpus": convert.text,
    "container_engine": lambda name, value: convert.choice(Engine, name, value),
    "engine_args": convert.arguments,
    "engine_run_args": convert.arguments,
    "container_network": convert.text,
    "executor": lambda name, value: convert.choice(ExecutorKind, name, value),
    "slurm_partition": convert.text,
    "slurm_output_dir": convert.absolute_or_empty,
    "slurm_arguments": convert.arguments,
    "slurm_conf": convert.absolute_or_empty,
    "kubernetes_server": convert.text,
    "kubernetes_namespace": convert.text,
    "kubernetes_image": convert.text,
    "kubernetes_ca": convert.absolute_or_empty,
    "kubernetes_token": convert.absolute_or_empty,
    "kubernetes_certificate": convert.absolute_or_empty,
    "kubernetes_key": convert.absolute_or_empty,
    "mps_pipe_directory": convert.absolute_or_empty,
    "run_as": convert.text,
    "address": convert.text,
    "log_level": lambda name, value: convert.choice(LogLevel, name, value),
    "log_json": convert.boolean,
    "stop_jobs": convert.boolean,
    "telemetry_interval_seconds": convert.seconds,
    "kernel_log": convert.absolute_or_empty,
    "dcgm_url": convert.checked(parse_url),
    "metrics_address": convert.checked(parse_address),
    "mount_points": convert.mount_points,
    "services": convert.words,
    "expected_ports": convert.words,
    "checks": convert.checks,
    "health": convert.health,
    "repairs": lambda name, value: convert.choice(Repairs, name, value),
    "canary_seconds": convert.seconds,
    "socket": convert.path,
    "allow_kmsg_injection": convert.boolean,
    "tools_dir": convert.absolute_or_empty,
}
