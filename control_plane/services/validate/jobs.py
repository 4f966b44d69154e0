"""What a submitted job must be."""

import re
from typing import Final

from google.protobuf.internal.containers import ScalarMap

from control_plane.fleet.executors import EXECUTORS, is_known
from control_plane.fleet.signals import CHECKPOINT_SIGNALS
from control_plane.model.ids import JOB, JobId
from control_plane.model.job import JobPriority, JobSpec
from control_plane.services.convert.jobs import PRIORITY
from control_plane.services.convert.scalars import from_wire
from control_plane.services.validate.fields import Fields, shown
from control_plane.services.validate.job_resources import resources
from orquanta.v1 import job_pb2

COMMAND_BYTES_MAX: Final = 32 * 1024
ENVIRONMENT_MAX: Final = 256
ENVIRONMENT_BYTES_MAX: Final = 64 * 1024
RUNTIME_SECONDS_MAX: Final = 366 * 24 * 3600
STOP_GRACE_SECONDS_MAX: Final = 3_600
ATTEMPTS_MAX: Final = 100
DEPENDENCIES_MAX: Final = 64
CHECKPOINT_SECONDS_MAX: Final = 3_600
CHECKPOINT_SECONDS: Final = 30
"""Time for a checkpoint when a job names a signal and no time."""

_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_TEMPLATE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_RESERVED_PREFIXES: Final = ("ORQUANTA_", "CUDA_VISIBLE")
# [registry[:port]/]path[:tag][@digest], as container engines read it.
_IMAGE: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_IMAGE_CHARACTERS_MAX: Final = 512
_PRIORITIES: Final = from_wire(PRIORITY)


def job_spec(fields: Fields, path: str, message: job_pb2.JobSpec) -> JobSpec:
    """Check what a job runs and needs, field by field, and return it."""
    if not _NAME.fullmatch(message.name):
        fields.wrong(
            f"{path}.name",
            f"{shown(message.name)} is not a name: use 1 to 63 letters, digits, '-', '_' or '.', beginning and "
            "ending with a letter or digit",
            "NAME_INVALID",
        )
    _program(fields, path, message)
    signal, seconds = _checkpoint(fields, path, message)
    return JobSpec(
        name=message.name,
        resources=resources(fields, f"{path}.resources", message.resources),
        command=message.command,
        image=message.image,
        template=message.template,
        environment=_environment(fields, f"{path}.environment", message.environment),
        max_runtime_seconds=fields.integer(
            f"{path}.max_runtime_seconds", message.max_runtime_seconds, least=0, most=RUNTIME_SECONDS_MAX
        ),
        stop_grace_seconds=fields.integer(
            f"{path}.stop_grace_seconds", message.stop_grace_seconds, least=0, most=STOP_GRACE_SECONDS_MAX
        ),
        priority=_priority(fields, f"{path}.priority", message.priority),
        depends_on=_dependencies(fields, f"{path}.depends_on", message),
        max_attempts=fields.integer(f"{path}.max_attempts", message.max_attempts, least=0, most=ATTEMPTS_MAX),
        checkpoint_signal=signal,
        checkpoint_seconds=seconds,
        executor=_executor(fields, f"{path}.executor", message.executor),
    )


def _program(fields: Fields, path: str, message: job_pb2.JobSpec) -> None:
    size = len(message.command.encode())
    if size > COMMAND_BYTES_MAX:
        fields.wrong(
            f"{path}.command",
            f"has {size} bytes; at most {COMMAND_BYTES_MAX} are allowed; put the script into the image",
            "TEXT_TOO_LONG",
        )
    else:
        fields.text(f"{path}.command", message.command, most=COMMAND_BYTES_MAX)
    if message.image and (len(message.image) > _IMAGE_CHARACTERS_MAX or not _IMAGE.fullmatch(message.image)):
        fields.wrong(
            f"{path}.image",
            f"{shown(message.image)} is not an image reference such as registry.example.com/team/train:1.0",
            "IMAGE_INVALID",
        )
    if message.template and not _TEMPLATE.fullmatch(message.template):
        fields.wrong(
            f"{path}.template",
            f"{shown(message.template)} is not the name of a template; see ListJobTemplates",
            "TEMPLATE_INVALID",
        )
    if message.template and (message.command or message.image):
        fields.wrong(
            f"{path}.template", "is used only without command and image; give one or the other", "PROGRAM_AMBIGUOUS"
        )
    if not (message.template or message.command or message.image):
        fields.wrong(f"{path}.command", "is missing; give a command, an image or a template", "PROGRAM_MISSING")


def _environment(fields: Fields, path: str, values: ScalarMap[str, str]) -> tuple[tuple[str, str], ...]:
    total = 0
    for name in fields.count(path, values, most=ENVIRONMENT_MAX):
        value = values[name]
        total += len(name.encode()) + len(value.encode())
        here = f"{path}[{shown(name)}]"
        if not _ENVIRONMENT_NAME.fullmatch(name):
            fields.wrong(
                here, "a variable's name is 1 to 128 letters, digits or '_', not beginning with a digit", "ENV_INVALID"
            )
        elif name.upper().startswith(_RESERVED_PREFIXES):
            fields.wrong(here, f"names beginning with {' or '.join(_RESERVED_PREFIXES)} are set by us", "ENV_RESERVED")
        fields.text(here, value, most=COMMAND_BYTES_MAX)
    if total > ENVIRONMENT_BYTES_MAX:
        fields.wrong(path, f"has {total} bytes; at most {ENVIRONMENT_BYTES_MAX} are allowed", "ENV_TOO_LARGE")
    return tuple(sorted(values.items()))


def _priority(fields: Fields, path: str, value: int) -> JobPriority:
    if value == job_pb2.JOB_PRIORITY_UNSPECIFIED:
        return JobPriority.NORMAL
    return fields.enum(path, value, _PRIORITIES, JobPriority.NORMAL)


def _dependencies(fields: Fields, path: str, message: job_pb2.JobSpec) -> tuple[JobId, ...]:
    values = fields.count(path, message.depends_on, most=DEPENDENCIES_MAX)
    return tuple(dict.fromkeys(fields.id(f"{path}[{index}]", JOB, value) for index, value in enumerate(values)))


def _checkpoint(fields: Fields, path: str, message: job_pb2.JobSpec) -> tuple[str, int]:
    """Return the name of the signal with SIG before it, and the time that the job has; nothing if it keeps none."""
    seconds = fields.integer(
        f"{path}.checkpoint_seconds", message.checkpoint_seconds, least=0, most=CHECKPOINT_SECONDS_MAX
    )
    if not message.checkpoint_signal:
        if seconds:
            fields.wrong(f"{path}.checkpoint_seconds", "is used only with a checkpoint_signal", "CHECKPOINT_SIGNAL")
        return "", 0
    name = message.checkpoint_signal.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name not in CHECKPOINT_SIGNALS:
        fields.wrong(
            f"{path}.checkpoint_signal",
            f"{shown(message.checkpoint_signal)} cannot ask for a checkpoint; use one of "
            f"{', '.join(CHECKPOINT_SIGNALS)}",
            "CHECKPOINT_SIGNAL",
        )
        return "", 0
    return name, seconds or CHECKPOINT_SECONDS


def _executor(fields: Fields, path: str, value: str) -> str:
    if not is_known(value):
        fields.wrong(
            path,
            f"{shown(value)} is not an executor of this control plane; there are: {', '.join(EXECUTORS)}",
            "EXECUTOR_UNKNOWN",
        )
        return ""
    return value
