"""`orquanta simulate`: what would come of other hosts, jobs or ways to serve the queue."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from orquanta.cli.formats import money, span
from orquanta.cli.options import AsJson
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.cli.traces import Listed, parse_nodes, read_jobs, read_nodes
from orquanta.errors import InvalidArgument
from orquanta.types.simulations import SimulatedJob, SimulationOutcome, SimulationResult

_FIGURES: tuple[tuple[str, Callable[[SimulationResult], str]], ...] = (
    ("jobs that ended", lambda one: f"{one.jobs_finished:,}"),
    ("jobs that never fit", lambda one: f"{one.jobs_unsatisfiable:,}"),
    ("until the last end", lambda one: span(one.makespan_seconds)),
    ("GPU time used", lambda one: f"{one.utilization:.1%}"),
    ("mean wait", lambda one: span(one.wait_mean_seconds)),
    ("median wait", lambda one: span(one.wait_p50_seconds)),
    ("95 % waited less than", lambda one: span(one.wait_p95_seconds)),
    ("longest wait", lambda one: span(one.wait_max_seconds)),
    ("cost", lambda one: money(one.cost_usd)),
    ("attempts that made way", lambda one: f"{one.preemptions:,}"),
    ("GPU time lost by that", lambda one: span(one.lost_gpu_seconds)),
)
_WIDTH, _HEIGHT = 72, 10
_BLOCKS = " ▁▂▃▄▅▆▇█"


def simulate(
    ctx: typer.Context,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="CSV file of jobs, ours or openb's; the live queue if left out.")
    ] = None,
    nodes: Annotated[
        list[str] | None, typer.Option("--nodes", help="Hosts instead of the live ones, such as 4xH100x8.")
    ] = None,
    nodes_file: Annotated[
        Path | None, typer.Option("--nodes-file", help="CSV file of hosts, as openb's, instead of the live ones.")
    ] = None,
    add_nodes: Annotated[
        list[str] | None, typer.Option("--add-nodes", help="Hosts in addition, such as 4xH100x8.")
    ] = None,
    remove_node: Annotated[
        list[str] | None, typer.Option("--remove-node", help="Leave this host out; may be repeated.")
    ] = None,
    packing: Annotated[str, typer.Option("--packing", help="node_value, fgd, best_fit or random.")] = "",
    order: Annotated[str, typer.Option("--order", help="fair_share or fifo.")] = "",
    backfill: Annotated[bool | None, typer.Option("--backfill/--no-backfill", help="Fill gaps or not.")] = None,
    preemption: Annotated[
        bool | None, typer.Option("--preemption/--no-preemption", help="Have jobs make way or not.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="For what is drawn.")] = 0,
    timeout_minutes: Annotated[
        float, typer.Option("--timeout", min=0.1, max=1440, help="Give up after so many minutes.")
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Replay a list of jobs, or the live queue, against a changed fleet or policy; nothing is changed.

    Of the live queue, what runs goes on where it runs, and every job is taken to use its whole time limit. Example:
    orquanta simulate --add-nodes 4xH100x8 --packing fgd
    """
    session = session_of(ctx, as_json=as_json)
    hosts = parse_nodes(nodes or ()) + (Listed() if nodes_file is None else read_nodes(nodes_file))
    added = parse_nodes(add_nodes or ())
    jobs: Listed[SimulatedJob] = Listed() if trace is None else read_jobs(trace)
    with session.connect() as client, _told_where(jobs=jobs.places, nodes=hosts.places, add_nodes=added.places):
        found = client.queue.simulate(
            jobs.values,
            nodes=hosts.values,
            add_nodes=added.values,
            remove_nodes=remove_node or (),
            packing=packing,
            order=order,
            backfill=backfill,
            preemption=preemption,
            seed=seed,
            timeout_seconds=timeout_minutes * 60,
        )
    if session.as_json:
        session.output.document(found)
    else:
        _print(session.output, found)


@contextmanager
def _told_where(**places: Sequence[str]) -> Iterator[None]:
    """Have what the server refuses named by the line or the word that it came from."""
    try:
        yield
    except InvalidArgument as error:
        found = re.match(r"(\w+)\[(\d+)\]\.?", error.message)
        given = places.get(found[1], ()) if found else ()
        if found is None or int(found[2]) >= len(given):
            raise
        message = f"{given[int(found[2])]}: {error.message[found.end() :].lstrip(' :')}"
        raise InvalidArgument(message, reason=error.reason, metadata=error.metadata) from None


def _print(output: Output, found: SimulationOutcome) -> None:
    for line in plot(found.result):
        output.say(line)
    output.say()
    now, changed = found.baseline, found.result
    rows = [(name, *((show(now),) if now is not None else ()), show(changed)) for name, show in _FIGURES]
    columns = ("", "as it is", "changed") if now is not None else ("", "as it is")
    output.table(columns, rows, empty="")


def plot(result: SimulationResult) -> list[str]:
    """GPUs in use over time, as lines of a terminal."""
    points = result.points
    most = max((one.gpus_used for one in points), default=0.0)
    if not points or most <= 0:
        return ["No GPU was used."]
    begin, end = points[0].at_seconds, points[-1].at_seconds
    columns, at = [], 0
    for column in range(_WIDTH):
        when = begin + (end - begin) * (column + 1) / _WIDTH
        while at + 1 < len(points) and points[at + 1].at_seconds <= when:
            at += 1
        columns.append(points[at].gpus_used / most * _HEIGHT)
    lines = []
    for row in reversed(range(_HEIGHT)):
        label = f"{most:>8g} " if row == _HEIGHT - 1 else f"{0:>8} " if row == 0 else " " * 9
        cells = (_BLOCKS[round(8 * min(1.0, max(0.0, height - row)))] for height in columns)
        lines.append(f"{label}│{''.join(cells)}".rstrip())
    lines.append(" " * 9 + "└" + "─" * _WIDTH)
    there = max(one.gpus_total for one in points)
    lines.append(" " * 10 + f"GPUs in use over {span(end - begin)}; {there:g} are there")
    return lines
