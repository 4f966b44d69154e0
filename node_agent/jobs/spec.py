"""What one member of an allocation is to run on this host."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

MAX_COMMAND_BYTES = 100 * 1024
"""Linux takes at most 128 KiB in one argument."""
MAX_ARGUMENTS = 1024
MAX_ENVIRONMENT_VARIABLES = 512
MAX_ENVIRONMENT_BYTES = 256 * 1024
MAX_GPUS = 64
MAX_WORLD = 16_384
MAX_STOP_GRACE_SECONDS = 3600.0
MAX_CHECKPOINT_SECONDS = 3600.0
WHOLE_GPU_MILLI = 1000
_LAST_SIGNAL = 64

_ID = re.compile(r"[a-z][a-z0-9-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_GPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")
_HOST = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9.:%\[\]_-]{0,252}")
_KEY = re.compile(r"(?P<allocation>[a-z][a-z0-9-]{0,62})\.(?P<rank>0|[1-9][0-9]{0,4})")


class InvalidSpecError(ValueError):
    """A member's specification is refused; the text says which part and what is allowed."""


@dataclass(frozen=True, slots=True, order=True)
class MemberKey:
    """One member of an allocation: `rank` counts its hosts from 0."""

    allocation_id: str
    rank: int

    def __post_init__(self) -> None:
        _require(_ID.fullmatch(self.allocation_id), "allocation_id", "lower-case letters, digits and -, at most 63")
        _require(0 <= self.rank < MAX_WORLD, "rank", f"a number from 0 to {MAX_WORLD - 1}")

    def __str__(self) -> str:
        return f"{self.allocation_id}.{self.rank}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the key that a directory is named after, or None for any other name."""
        match = _KEY.fullmatch(name)
        return cls(match["allocation"], int(match["rank"])) if match and int(match["rank"]) < MAX_WORLD else None


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """What to run, on which GPUs, under which limits. Everything in it is checked; raises InvalidSpecError.

    `command` is a string for `/bin/sh -c`, or an argument list; an empty list runs the image's own command.
    `epoch` is the attempt number from 1. `world` is the number of hosts in the gang and `gpus_per_node` the GPUs that
    each of them gives. `cpu_limit_milli` counts thousandths of a core. `gpu_milli` is a part of its one GPU in
    thousandths, 0 for whole GPUs. `checkpoint_signal` is sent up to `checkpoint_seconds` before SIGTERM, 0 for none.
    """

    allocation_id: str
    job_id: str
    epoch: int
    rank: int
    world: int
    command: str | tuple[str, ...]
    gpu_uuids: tuple[str, ...] = ()
    gpus_per_node: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    working_dir: str | None = None
    max_runtime_seconds: float | None = None
    stop_grace_seconds: float = 30.0
    memory_limit_bytes: int | None = None
    cpu_limit_milli: int | None = None
    pids_limit: int | None = None
    master_addr: str = "127.0.0.1"
    master_port: int = 29500
    gpu_milli: int = 0
    share_memory_bytes: int = 0
    checkpoint_signal: int = 0
    checkpoint_seconds: float = 0.0

    def __post_init__(self) -> None:
        MemberKey(self.allocation_id, self.rank)
        _require(_ID.fullmatch(self.job_id), "job_id", "lower-case letters, digits and -, at most 63")
        _require(1 <= self.epoch < 2**31, "epoch", "an attempt number from 1")
        _require(self.rank < self.world <= MAX_WORLD, "world", f"more than rank and at most {MAX_WORLD}")
        _require(len(self.gpu_uuids) <= MAX_GPUS, "gpu_uuids", f"at most {MAX_GPUS}")
        _require(len(set(self.gpu_uuids)) == len(self.gpu_uuids), "gpu_uuids", "each GPU once")
        _require(all(_GPU.fullmatch(gpu) for gpu in self.gpu_uuids), "gpu_uuids", "letters, digits, . _ -")
        _require(0 <= self.gpus_per_node <= MAX_GPUS, "gpus_per_node", f"0 to {MAX_GPUS}")
        _require(
            self.image is None or _IMAGE.fullmatch(self.image), "image", "an image reference such as host/name:tag"
        )
        _require(_HOST.fullmatch(self.master_addr), "master_addr", "a host name or address")
        _require(0 < self.master_port < 2**16, "master_port", "a port from 1 to 65535")
        _check_command(self.command, has_image=self.image is not None)
        _check_environment(self.env)
        _check_working_dir(self.working_dir)
        for name in ("max_runtime_seconds", "memory_limit_bytes", "cpu_limit_milli", "pids_limit"):
            value = getattr(self, name)
            _require(value is None or 0 < value < 2**60, name, "more than zero, or none")
        _require(0 <= self.stop_grace_seconds <= MAX_STOP_GRACE_SECONDS, "stop_grace_seconds", "0 to 3600 seconds")
        _require(0 <= self.gpu_milli < WHOLE_GPU_MILLI, "gpu_milli", "1 to 999, or 0 for whole GPUs")
        _require(not self.gpu_milli or len(self.gpu_uuids) == 1, "gpu_milli", "a part of exactly one GPU")
        _require(0 <= self.share_memory_bytes < 2**60, "share_memory_bytes", "a number of bytes")
        _require(0 <= self.checkpoint_signal <= _LAST_SIGNAL, "checkpoint_signal", "a signal's number, or 0")
        _require(0 <= self.checkpoint_seconds <= MAX_CHECKPOINT_SECONDS, "checkpoint_seconds", "0 to 3600 seconds")

    @property
    def key(self) -> MemberKey:
        """The member that this specification is for."""
        return MemberKey(self.allocation_id, self.rank)

    @property
    def gpus(self) -> float:
        """GPUs held; a part counts as a part."""
        return self.gpu_milli / WHOLE_GPU_MILLI if self.gpu_milli else float(len(self.gpu_uuids))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for json.dumps."""
        return {**asdict(self), "env": dict(self.env)}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Undo to_json. Raises InvalidSpecError."""
        command = raw["command"]
        return cls(
            **{
                **raw,
                "gpu_uuids": tuple(raw["gpu_uuids"]),
                "command": command if isinstance(command, str) else tuple(command),
            }
        )


def _require(condition: object, name: str, allowed: str) -> None:
    if not condition:
        raise InvalidSpecError(f"{name} is not allowed; give {allowed}")


def _check_command(command: str | tuple[str, ...], *, has_image: bool) -> None:
    arguments = (command,) if isinstance(command, str) else command
    _require(arguments or has_image, "command", "a command, or an image that has one")
    _require(not arguments or arguments[0].strip(), "command", "a command that is not empty")
    _require(len(arguments) <= MAX_ARGUMENTS, "command", f"at most {MAX_ARGUMENTS} arguments")
    size = sum(len(argument.encode(errors="surrogateescape")) for argument in arguments)
    _require(size <= MAX_COMMAND_BYTES, "command", f"at most {MAX_COMMAND_BYTES} bytes; put the rest in a file")
    _require(not any("\0" in argument for argument in arguments), "command", "text without NUL characters")


def _check_environment(env: Mapping[str, str]) -> None:
    _require(len(env) <= MAX_ENVIRONMENT_VARIABLES, "env", f"at most {MAX_ENVIRONMENT_VARIABLES} variables")
    for name, value in env.items():
        _require(
            _VARIABLE.fullmatch(name), f"env name {name[:40]!r}", "letters, digits and _, not starting with a digit"
        )
        _require("\0" not in value, f"env value of {name}", "text without NUL characters")
    size = sum(len(name) + len(value.encode(errors="surrogateescape")) for name, value in env.items())
    _require(size <= MAX_ENVIRONMENT_BYTES, "env", f"at most {MAX_ENVIRONMENT_BYTES} bytes in all")


def _check_working_dir(path: str | None) -> None:
    if path is not None:
        good = path.startswith("/") and "\0" not in path and len(path) <= 4096  # noqa: PLR2004 - PATH_MAX
        _require(good, "working_dir", "an absolute path of at most 4096 characters")
