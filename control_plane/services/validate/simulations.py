"""What a simulation that is asked for must be."""

import math
from collections.abc import Iterable
from itertools import count
from typing import Final

from control_plane.fleet.placement.ranking import PackingPolicy
from control_plane.fleet.placement.room import GpuSlot, Host
from control_plane.fleet.queueing.model import QueueOrder
from control_plane.fleet.queueing.simulate_model import MOST_JOBS, SimulatedJob
from control_plane.model.ids import NodeId
from control_plane.model.job import JobPriority
from control_plane.services.convert.jobs import PRIORITY
from control_plane.services.convert.scalars import from_wire
from control_plane.services.validate.fields import Fields, shown
from control_plane.services.validate.job_resources import CPU_MILLI_MAX, MEMORY_BYTES_MAX, gpu_type, resources
from control_plane.services.validate.quotas import team_path
from orquanta.v1 import job_pb2, queue_pb2

HOSTS_MAX: Final = 20_000
GPUS_OF_HOST_MAX: Final = 64
SECONDS_MAX: Final = 10 * 365 * 86_400.0
KINDS_MAX: Final = 1_000
REMOVED_MAX: Final = 1_000

_CPU_MILLI: Final = 128_000
_MEMORY_BYTES: Final = 1 << 40
_GPU_MEMORY_BYTES: Final = 80 << 30
_PRIORITIES: Final = from_wire(PRIORITY)


def simulated_jobs(fields: Fields, values: Iterable[queue_pb2.SimulatedJob]) -> tuple[SimulatedJob, ...]:
    """Check the jobs of a simulation, and return them."""
    return tuple(
        _job(fields, f"jobs[{index}]", job) for index, job in enumerate(fields.count("jobs", values, most=MOST_JOBS))
    )


def _job(fields: Fields, path: str, job: queue_pb2.SimulatedJob) -> SimulatedJob:
    for name, seconds in (("arrives_seconds", job.arrives_seconds), ("runs_seconds", job.runs_seconds)):
        if not (math.isfinite(seconds) and 0 <= seconds <= SECONDS_MAX):
            fields.wrong(f"{path}.{name}", f"is {seconds}; it must be from 0 to {SECONDS_MAX:g}", "NUMBER_OUT_OF_RANGE")
    priority = JobPriority.NORMAL
    if job.priority != job_pb2.JOB_PRIORITY_UNSPECIFIED:
        priority = fields.enum(f"{path}.priority", job.priority, _PRIORITIES, JobPriority.NORMAL)
    return SimulatedJob(
        name=fields.text(f"{path}.name", job.name, most=256, one_line=True),
        arrives_seconds=job.arrives_seconds,
        runs_seconds=job.runs_seconds,
        resources=resources(fields, f"{path}.resources", job.resources),
        priority=priority,
        team=team_path(fields, f"{path}.team", job.team) if job.team else "",
    )


def simulated_hosts(fields: Fields, path: str, values: Iterable[queue_pb2.SimulatedNodes]) -> tuple[Host, ...]:
    """Check kinds of hosts, and return the hosts. What is not said of one is that of a usual server with eight GPUs."""
    made: list[Host] = []
    numbers = count(1)
    for index, kind in enumerate(fields.count(path, values, most=KINDS_MAX)):
        here = f"{path}[{index}]"
        number = fields.integer(f"{here}.count", kind.count, least=1, most=HOSTS_MAX)
        gpus = fields.integer(f"{here}.gpu_count", kind.gpu_count, least=0, most=GPUS_OF_HOST_MAX)
        model = gpu_type(fields, f"{here}.gpu_type", kind.gpu_type) if gpus else ""
        cpu_milli = fields.integer(f"{here}.cpu_milli", kind.cpu_milli, least=0, most=CPU_MILLI_MAX) or _CPU_MILLI
        memory = fields.integer(f"{here}.memory_bytes", kind.memory_bytes, least=0, most=MEMORY_BYTES_MAX)
        of_gpu = fields.integer(f"{here}.gpu_memory_bytes", kind.gpu_memory_bytes, least=0, most=MEMORY_BYTES_MAX)
        labels = fields.labels(f"{here}.labels", kind.labels)
        if len(made) + number > HOSTS_MAX:
            fields.wrong(here, f"makes more than {HOSTS_MAX} hosts", "LIST_TOO_LONG")
            break
        for _ in range(number):
            name = f"{path.removesuffix('_nodes') or 'node'}-{next(numbers)}"
            slots = tuple(GpuSlot(f"{name}-{slot}", slot, model, of_gpu or _GPU_MEMORY_BYTES) for slot in range(gpus))
            made.append(Host(NodeId(name), name, slots, cpu_milli, memory or _MEMORY_BYTES, labels))
    return tuple(made)


def packing(fields: Fields, value: str, otherwise: PackingPolicy) -> PackingPolicy:
    """Check how hosts are to be chosen; empty means the way in force."""
    known = {one.value: one for one in PackingPolicy}
    if value and value not in known:
        fields.wrong("packing", f"{shown(value)} is not known; use one of {', '.join(known)}", "ENUM_UNKNOWN")
    return known.get(value, otherwise)


def order(fields: Fields, value: str, otherwise: QueueOrder) -> QueueOrder:
    """Check in which order jobs are to be served; empty means the one in force."""
    known = {one.value: one for one in QueueOrder}
    if value and value not in known:
        fields.wrong("order", f"{shown(value)} is not known; use one of {', '.join(known)}", "ENUM_UNKNOWN")
    return known.get(value, otherwise)
