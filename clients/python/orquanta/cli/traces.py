"""Lists of jobs and hosts to simulate, from CSV files: our own form, and that of the openb trace."""

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import typer

from orquanta.cli.formats import trouble
from orquanta.types.jobs import JobPriority, ResourceRequest
from orquanta.types.simulations import SimulatedJob, SimulatedNodes

T = TypeVar("T")

_MIB = 1 << 20
_GIB = 1 << 30
_WHOLE_MILLI = 1000
_WHOLE_MAX = 2**31 - 1  # what the contract can carry

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

_OWN_NEEDED = OWN_COLUMNS[1:4]
_OPENB_NEEDED = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time", "deletion_time")
_HOST_NEEDED = ("cpu_milli", "memory_mib", "gpu", "model")
_PRIORITIES = tuple(one.value for one in JobPriority if one is not JobPriority.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """What was read, and of each where it stands, for people."""

    values: tuple[T, ...] = ()
    places: tuple[str, ...] = ()

    def __add__(self, other: "Listed[T]") -> "Listed[T]":
        """Return both, one after the other."""
        return Listed((*self.values, *other.values), (*self.places, *other.places))


def read_jobs(path: Path) -> Listed[SimulatedJob]:
    """The jobs of a file, in either form. Raises a usage error that names the line."""
    columns, rows = _table(path, _check_jobs)
    parse = _openb_job if _is_openb(columns) else _own_job
    if not rows:
        raise typer.BadParameter(f"{path} has no jobs: there is nothing below its first line")
    jobs = [_parsed(path, number, row, parse) for number, row in rows]
    begin = min(job.arrives_seconds for job in jobs)
    return Listed(
        tuple(
            SimulatedJob(job.name, job.arrives_seconds - begin, job.runs_seconds, job.resources, job.priority, job.team)
            for job in jobs
        ),
        tuple(f"line {number} of {path}" for number, _ in rows),
    )


def read_nodes(path: Path) -> Listed[SimulatedNodes]:
    """The hosts of a file with the columns cpu_milli, memory_mib, gpu and model. Raises a usage error."""
    _, rows = _table(path, lambda path, columns: _need(path, columns, _HOST_NEEDED))
    if not rows:
        raise typer.BadParameter(f"{path} has no hosts: there is nothing below its first line")
    counts: dict[tuple[str, int, int, int], int] = {}
    places: dict[tuple[str, int, int, int], str] = {}
    for number, row in rows:
        kind = _parsed(path, number, row, _host)
        counts[kind] = counts.get(kind, 0) + 1
        places.setdefault(kind, f"line {number} of {path}")
    return Listed(
        tuple(
            SimulatedNodes(count, model, gpus, cpu_milli, memory_mib * _MIB)
            for (model, gpus, cpu_milli, memory_mib), count in counts.items()
        ),
        tuple(places.values()),
    )


def parse_nodes(texts: Sequence[str]) -> Listed[SimulatedNodes]:
    """`4xH100x8`: four hosts with eight H100 each. Raises a usage error."""
    return Listed(tuple(map(_parse_kind, texts)), tuple(texts))


def _parse_kind(text: str) -> SimulatedNodes:
    found = re.fullmatch(r"([0-9]{1,9})x([^x]+)x([0-9]{1,9})", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no kind of host; write it like 4xH100x8: hosts, model, GPUs of each")
    return SimulatedNodes(int(found[1]), found[2], int(found[3]))


def _is_openb(columns: Sequence[str]) -> bool:
    return "num_gpu" in columns


def _check_jobs(path: Path, columns: Sequence[str]) -> None:
    if _is_openb(columns):
        _need(path, columns, _OPENB_NEEDED)
    else:
        _need(path, columns, _OWN_NEEDED, OWN_COLUMNS)


def _table(
    path: Path, check: Callable[[Path, Sequence[str]], None]
) -> tuple[Sequence[str], list[tuple[int, Mapping[str, str]]]]:
    """Return the columns of a file, once they are checked, and its rows by the number of their line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            check(path, columns)
            reader.fieldnames = columns
            return columns, list(_rows(path, reader, len(columns)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise typer.BadParameter(f"{path} cannot be read: {trouble(error)}") from error


def _rows(path: Path, reader: "csv.DictReader[str]", width: int) -> Iterator[tuple[int, Mapping[str, str]]]:
    for row in reader:
        given = len(row) if None not in row else width + len(row[None])
        given -= sum(1 for value in row.values() if value is None)
        if given != width:
            raise typer.BadParameter(
                f"line {reader.line_num} of {path} has {given} values, and there are {width} columns"
            )
        yield reader.line_num, {name: value.strip() for name, value in row.items()}


def _need(path: Path, columns: Sequence[str], needed: Sequence[str], known: Sequence[str] = ()) -> None:
    """Refuse a file whose first line names too few columns or, where those that there can be are known, others."""
    if not columns:
        raise typer.BadParameter(f"{path} is empty; its first line names the columns: {', '.join(known or needed)}")
    missing = [name for name in needed if name not in columns]
    if missing:
        raise typer.BadParameter(
            f"{path} has no column {missing[0]!r}: its first line names the columns, separated by commas, "
            f"such as {', '.join(needed)}, and reads {','.join(columns)[:200]!r}"
        )
    strange = [name for name in columns if known and name not in known]
    if strange:
        raise typer.BadParameter(
            f"{path} has the column {strange[0]!r}, which nothing is known of; there can be {', '.join(known)}"
        )
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise typer.BadParameter(f"{path} has the column {twice[0]!r} twice")


def _parsed(path: Path, number: int, row: Mapping[str, str], parse: Callable[[Mapping[str, str]], T]) -> T:
    try:
        return parse(row)
    except ValueError as error:
        raise typer.BadParameter(f"line {number} of {path}: {error}") from error


def _number(row: Mapping[str, str], column: str) -> float:
    """Return a number of a row, 0 if the column is not there. Raises ValueError, saying what is wrong."""
    text = row.get(column, "0")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{column} is {text[:100]!r}; it must be a number")
    return value


def _whole(row: Mapping[str, str], column: str, most: int = _WHOLE_MAX) -> int:
    """Return a whole number of a row; 0 if there is none, and none is needed. Raises ValueError."""
    text = row.get(column) or ("0" if column not in _OWN_NEEDED else "")
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) > most:
        raise ValueError(f"{column} is {text[:100]!r}; it must be a whole number from 0 to {most}")
    return int(text)


def _host(row: Mapping[str, str]) -> tuple[str, int, int, int]:
    gpus = _whole(row, "gpu")
    return row["model"] if gpus else "", gpus, _whole(row, "cpu_milli"), _whole(row, "memory_mib")


def _own_job(row: Mapping[str, str]) -> SimulatedJob:
    priority = row.get("priority") or JobPriority.NORMAL.value
    if priority not in _PRIORITIES:
        raise ValueError(
            f"priority is {priority[:100]!r}; it must be {', '.join(_PRIORITIES[:-1])} or {_PRIORITIES[-1]}"
        )
    return SimulatedJob(
        name=row.get("name", ""),
        arrives_seconds=_number(row, "arrives_seconds"),
        runs_seconds=_number(row, "runs_seconds"),
        resources=ResourceRequest(
            gpu_count=_whole(row, "gpus"),
            gpu_types=tuple(filter(None, row.get("gpu_type", "").split("|"))),
            node_count=_whole(row, "node_count"),
            gpu_milli=_whole(row, "gpu_milli", _WHOLE_MILLI) % _WHOLE_MILLI,
            cpu_milli=_whole(row, "cpu_milli"),
            memory_bytes=_memory_bytes(row),
        ),
        priority=JobPriority(priority),
        team=row.get("team", ""),
    )


def _memory_bytes(row: Mapping[str, str]) -> int:
    gib = _number(row, "memory_gib") if row.get("memory_gib") else 0.0
    if not 0 <= gib <= _WHOLE_MAX:
        raise ValueError(f"memory_gib is {row['memory_gib'][:100]!r}; it must be a number from 0 to {_WHOLE_MAX}")
    return int(gib * _GIB)


def _openb_job(row: Mapping[str, str]) -> SimulatedJob:
    """One task of the openb trace (github.com/alibaba/clusterdata): times in seconds, all GPUs on one node."""
    arrives, ends = _number(row, "creation_time"), _number(row, "deletion_time")
    begins = _number(row, "scheduled_time") if row.get("scheduled_time") else arrives
    gpus, milli = _whole(row, "num_gpu"), _whole(row, "gpu_milli", _WHOLE_MILLI)
    return SimulatedJob(
        name=row["name"],
        arrives_seconds=arrives,
        runs_seconds=max(0.0, ends - begins),
        resources=ResourceRequest(
            gpu_count=gpus,
            gpu_types=tuple(filter(None, row.get("gpu_spec", "").split("|"))),
            node_count=1,
            gpu_milli=milli if gpus == 1 and milli < _WHOLE_MILLI else 0,
            cpu_milli=_whole(row, "cpu_milli"),
            memory_bytes=_whole(row, "memory_mib") * _MIB,
        ),
    )
