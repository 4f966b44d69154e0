"""Lists of jobs and hosts to simulate, from CSV files: our own form, and that of the openb trace."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import typer

from orquanta.cli.formats import trouble
from orquanta.types.jobs import JobPriority, ResourceRequest
from orquanta.types.simulations import SimulatedJob, SimulatedNodes

T = TypeVar("T")

_MIB = 1 << 20
_GIB = 1 << 30
_WHOLE_MILLI = 1000

OWN_COLUMNS = (
    "name",
    "arrives_seconds",
    "runs_seconds",
    "gpus",
    "gpu_type",
    "gpu_milli",
    "node_count",
    "cpu_milli",
    "memory_gib",
    "priority",
    "team",
)
"""Columns of our own form. Only arrives_seconds, runs_seconds and gpus must be there."""


def read_jobs(path: Path) -> list[SimulatedJob]:
    """The jobs of a file, in either form. Raises a usage error that names the line."""
    rows = list(_rows(path))
    if not rows:
        raise typer.BadParameter(f"{path} has no jobs")
    parse = _openb_job if "num_gpu" in rows[0][1] else _own_job
    jobs = [_parsed(path, number, row, parse) for number, row in rows]
    begin = min(job.arrives_seconds for job in jobs)
    return [
        SimulatedJob(job.name, job.arrives_seconds - begin, job.runs_seconds, job.resources, job.priority, job.team)
        for job in jobs
    ]


def read_nodes(path: Path) -> list[SimulatedNodes]:
    """The hosts of a file with the columns sn, cpu_milli, memory_mib, gpu and model. Raises a usage error."""

    def kind(row: Mapping[str, str]) -> tuple[str, int, int, int]:
        return row["model"] if int(row["gpu"]) else "", int(row["gpu"]), int(row["cpu_milli"]), int(row["memory_mib"])

    kinds = Counter(_parsed(path, number, row, kind) for number, row in _rows(path))
    return [
        SimulatedNodes(count, model, gpus, cpu_milli, memory_mib * _MIB)
        for (model, gpus, cpu_milli, memory_mib), count in kinds.items()
    ]


def parse_nodes(text: str) -> SimulatedNodes:
    """`4xH100x8`: four hosts with eight H100 each. Raises a usage error."""
    parts = text.split("x")
    if len(parts) == 3 and parts[0].isdigit() and parts[1] and parts[2].isdigit():  # noqa: PLR2004 - three words
        return SimulatedNodes(int(parts[0]), parts[1], int(parts[2]))
    raise typer.BadParameter(f"{text!r} is no kind of host; write it like 4xH100x8: hosts, model, GPUs of each")


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                yield number, {key: (value or "").strip() for key, value in row.items() if key is not None}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise typer.BadParameter(f"{path} cannot be read: {trouble(error)}") from error


def _parsed(path: Path, number: int, row: Mapping[str, str], parse: Callable[[Mapping[str, str]], T]) -> T:
    try:
        return parse(row)
    except KeyError as error:
        raise typer.BadParameter(
            f"{path} has no column {error}; the columns are {', '.join(OWN_COLUMNS)}, or those of the openb trace"
        ) from error
    except ValueError as error:
        raise typer.BadParameter(f"line {number} of {path}: {error}") from error


def _own_job(row: Mapping[str, str]) -> SimulatedJob:
    return SimulatedJob(
        name=row.get("name", ""),
        arrives_seconds=float(row["arrives_seconds"]),
        runs_seconds=float(row["runs_seconds"]),
        resources=ResourceRequest(
            gpu_count=int(row["gpus"]),
            gpu_types=tuple(filter(None, row.get("gpu_type", "").split("|"))),
            node_count=int(row.get("node_count") or 0),
            gpu_milli=int(row.get("gpu_milli") or 0) % _WHOLE_MILLI,
            cpu_milli=int(row.get("cpu_milli") or 0),
            memory_bytes=int(float(row.get("memory_gib") or 0) * _GIB),
        ),
        priority=JobPriority(row.get("priority") or "normal"),
        team=row.get("team", ""),
    )


def _openb_job(row: Mapping[str, str]) -> SimulatedJob:
    """One task of the openb trace (github.com/alibaba/clusterdata): times in seconds, all GPUs on one node."""
    arrives, ends = float(row["creation_time"]), float(row["deletion_time"])
    begins = float(row.get("scheduled_time") or arrives)
    gpus, milli = int(row["num_gpu"]), int(row["gpu_milli"] or 0)
    return SimulatedJob(
        name=row["name"],
        arrives_seconds=arrives,
        runs_seconds=max(0.0, ends - begins),
        resources=ResourceRequest(
            gpu_count=gpus,
            gpu_types=tuple(filter(None, row.get("gpu_spec", "").split("|"))),
            node_count=1,
            gpu_milli=milli if gpus == 1 and milli < _WHOLE_MILLI else 0,
            cpu_milli=int(row["cpu_milli"]),
            memory_bytes=int(row["memory_mib"]) * _MIB,
        ),
    )
