"""The published protocol for packing the openb trace: its lists, its order of arrivals, and what is measured.

Rules of the simulator of Weng et al., USENIX ATC 2023. Its arrival orders come from Go's generator; here numpy's is
used, so single runs differ and means agree within their noise.
"""

import csv
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from bench.packing_hosts import HostsPlacer
from bench.packing_rehearsal import Values
from control_plane.fleet.placement.packing.baselines import RandomPolicy, best_fit
from control_plane.fleet.placement.packing.fgd import fgd
from control_plane.fleet.placement.packing.model import WHOLE_GPU_MILLI, Demand, Node, Task
from control_plane.fleet.placement.packing.node_value import node_value
from control_plane.fleet.placement.packing.policy import Policy
from control_plane.fleet.placement.packing.state import ClusterState

OURS = "value"
POLICIES = (OURS, "plain", "fgd", "bestfit", "random")
THROUGH = ("arrays", "hosts")
STOP_PERCENT = 130
MARKS = (95, 100, 130)  # arrived percent at which the allocated percent is told
_MAX_ARRIVALS = 1_000_000


class TraceError(Exception):
    """A file of the trace is missing or not what it should be."""


@dataclass(frozen=True, slots=True)
class Run:
    """One replay: allocated percent at each of MARKS, decisions made, and the seconds of one core that they took."""

    allocated: tuple[float, ...]
    decisions: int
    seconds: float


def read_nodes(path: Path) -> list[Node]:
    """The nodes of a file, sorted by name. Raises TraceError."""
    rows = _rows(path, ("sn", "cpu_milli", "memory_mib", "gpu", "model"))
    try:
        nodes = [
            Node(row["sn"], int(row["cpu_milli"]), int(row["memory_mib"]), int(row["gpu"]), row["model"])
            for row in rows
        ]
    except ValueError as error:
        raise TraceError(f"{path} holds a node that is not valid: {error}") from error
    if not any(node.gpu_count for node in nodes):
        raise TraceError(f"{path} has no node with a GPU: give the list of GPU nodes")
    return sorted(nodes, key=lambda node: node.name)


def read_tasks(path: Path) -> list[Task]:
    """The tasks of a file, sorted by name. Raises TraceError."""
    rows = _rows(path, ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"))
    try:
        tasks = [_task(row) for row in sorted(rows, key=lambda row: row["name"])]
    except ValueError as error:
        raise TraceError(f"{path} holds a task that is not valid: {error}") from error
    if not any(task.demand.gpu_count for task in tasks):
        raise TraceError(f"{path} has no task with a GPU, so arrivals would never end")
    return tasks


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise TraceError(f"{path} lacks the column {missing[0]}; the lists of the openb trace have it")
            return [{key: value or "" for key, value in row.items() if key is not None} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"cannot read {path}: {error}; give it with --nodes and --pods") from error


def _task(row: dict[str, str]) -> Task:
    count = int(row["num_gpu"])
    demand = Demand(int(row["cpu_milli"]), count, int(row["gpu_milli"]) if count else 0)
    return Task(demand, int(row["memory_mib"]), frozenset(filter(None, row.get("gpu_spec", "").split("|"))))


def arrivals(tasks: list[Task], capacity_milli: int, chance: np.random.Generator) -> Iterator[Task]:
    """Every task once in a drawn order, then tasks drawn with replacement, until 130 % of capacity has arrived.

    Drawing ends at the first draw that passes the limit with its milli of *one* GPU, as the published simulator counts.
    A list that asks for more than the limit loses tasks by chance until it does not.
    """
    limit = capacity_milli * STOP_PERCENT / 100
    order = [tasks[number] for number in chance.permutation(len(tasks))]
    asked = sum(_milli(task) for task in order)
    while asked > limit:
        asked -= _milli(order.pop(int(chance.integers(len(order)))))
    yield from order
    for _ in range(_MAX_ARRIVALS):
        task = tasks[int(chance.integers(len(tasks)))]
        if asked + task.demand.gpu_milli > limit:
            return
        asked += _milli(task)
        yield task


def _milli(task: Task) -> int:
    return task.demand.gpu_count * task.demand.gpu_milli


def make_policy(
    name: str, tasks: list[Task], state: ClusterState, seed: tuple[int, int], values: Values | None
) -> Policy:
    """The policy of this name; what it may know is the list of tasks, not their order."""
    match name:
        case "value":
            return node_value(tasks, state.models, values=values)
        case "plain":
            return node_value(tasks, state.models)
        case "fgd":
            return fgd(tasks, state.models)
        case "bestfit":
            return best_fit()
        case "random":
            return RandomPolicy(seed)
        case _:
            raise TraceError(f"there is no policy {name!r}; choose from {', '.join(POLICIES)}")


class Placer(Protocol):
    """Places one task after the other."""

    def place(self, task: Task) -> bool:
        """Whether there was room; it is taken then."""
        ...


class StatePlacer:
    """Places by a policy on a ClusterState; the policy may know the list of tasks, not their order."""

    def __init__(
        self, nodes: list[Node], tasks: list[Task], policy: str, seed: tuple[int, int], values: Values | None
    ) -> None:
        self._state = ClusterState(nodes)
        self._policy = make_policy(policy, tasks, self._state, seed, values)

    def place(self, task: Task) -> bool:
        """Whether there was room; it is taken then."""
        assignment = self._policy.choose(self._state, task)
        if assignment is None:
            return False
        self._state.take(task, assignment)
        return True


def make_placer(
    through: str, nodes: list[Node], tasks: list[Task], policy: str, seed: tuple[int, int], values: Values | None
) -> Placer:
    """What places the tasks. Raises TraceError if there is no such thing."""
    match through:
        case "arrays":
            return StatePlacer(nodes, tasks, policy, seed, values)
        case "hosts":
            return HostsPlacer(nodes, policy, seed[0])
        case _:
            raise TraceError(f"tasks are not placed through {through!r}; choose from {', '.join(THROUGH)}")


def replay(
    nodes: list[Node],
    tasks: list[Task],
    policy_name: str,
    seed: int,
    through: str = "arrays",
    values: Values | None = None,
    draw: int = 0,
) -> Run:
    """One run: nothing departs, and what finds no room is dropped for good. Policies of a seed see the same order.

    `values` of shares are those that ours goes by; without them, it computes its own. `draw`: which of the runs of a
    seed this is, of a policy that goes by chance.
    """
    chance = np.random.default_rng(seed)
    capacity = sum(node.gpu_count for node in nodes) * WHOLE_GPU_MILLI
    coming = list(arrivals(tasks, capacity, chance))
    # Ties go to the first node, so one order of the nodes, drawn for the run, decides all of them.
    ordered = [nodes[number] for number in chance.permutation(len(nodes))]
    placer = make_placer(through, ordered, tasks, policy_name, (seed, draw), values)
    totals, counts = [0.0] * len(MARKS), [0] * len(MARKS)
    asked = taken = 0
    began = time.process_time()
    for task in coming:
        asked += _milli(task)
        if placer.place(task):
            taken += _milli(task)
        arrived = math.floor(100 * asked / capacity + 0.5)
        if arrived in MARKS:  # the published value at N: the mean over the events that round to N
            at = MARKS.index(arrived)
            totals[at] += round(100 * taken / capacity, 2)
            counts[at] += 1
    seconds = time.process_time() - began
    if counts[-1] == 0:  # a cluster so small that no arrival rounds to the last mark: what holds at the end
        totals[-1], counts[-1] = 100 * taken / capacity, 1
    allocated = tuple(total / count if count else math.nan for total, count in zip(totals, counts, strict=True))
    return Run(allocated, len(coming), seconds)
