"""What a game day measures by, and that one whose promise is broken says so."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from orquanta.cli.gameday_report import print_report
from orquanta.cli.output import Output
from orquanta.client import AsyncClient
from orquanta.convert.nodes import read_node
from orquanta.gameday import kernel
from orquanta.gameday.fleet import Fleet, _Claims, free_port, wait_until
from orquanta.gameday.levels import Levels, audited
from orquanta.gameday.play import Course, GameDay
from orquanta.gameday.stage import Finding, Stage
from orquanta.gameday.tools import PERSISTENCED, Tools
from orquanta.types.audit import AuditRecord
from orquanta.types.incidents import IncidentTimings
from orquanta.types.nodes import GpuInventory, Node, NodeState
from orquanta.v1 import node_pb2
from tests.clients.scripted import ScriptedServer


def record(action: str, node_id: str, summary: str = "") -> AuditRecord:
    return AuditRecord(
        id=1,
        agent_name="healing_agent",
        action=action,
        reasoning="",
        payload_json=json.dumps({"summary": summary}),
        outcome="done",
        cost_impact_usd=Decimal(0),
        created_at=None,
        action_id="",
        goal_id="",
        job_id="",
        node_id=node_id,
    )


def node(state: NodeState, rack: str = "") -> Node:
    message = node_pb2.Node(id=f"n-{state}", labels={"rack": rack})
    message.state = node_pb2.NodeState.Value(f"NODE_STATE_{state.name}")
    return read_node(message)


def gpu(pci_bus_id: str) -> GpuInventory:
    return GpuInventory(0, "GPU-1", "H100", "NVIDIA H100", 1, pci_bus_id, "", (), False, (), "9.0", 700.0, "")


def test_the_audit_tells_the_most_out_of_service_though_they_were_never_seen_together() -> None:
    records = [
        record("repair_node.done", "a"),
        record("repair_node.done", "b"),
        record("release_node.done", "a"),
        record("node.lost", "c"),
        record("repair_node.done", "c"),
        record("node.ready", "c"),
        record("release_node.done", "c"),
        record("release_node.done", "b"),
    ]
    assert audited(records) == 2


def test_a_dry_run_and_a_denied_repair_take_nothing_out_of_service() -> None:
    dry = record("repair_node.done", "a", "say what this would do: reset GPU on a: a test")
    assert audited([dry, record("repair_node.denied", "b")]) == 0


def test_a_snapshot_counts_what_is_out_of_service_in_all_and_in_each_rack() -> None:
    levels = Levels()
    states = (NodeState.REPAIRING, NodeState.LOST, NodeState.CORDONED, NodeState.READY)
    levels.see([node(state, f"r{number % 2}") for number, state in enumerate(states)])
    levels.see([node(NodeState.READY)])
    assert (levels.fleet_most, levels.rack_most, levels.snapshots) == (2, {"r0": 1, "r1": 1}, 2)


async def test_a_level_is_counted_though_no_change_of_it_is_ever_heard_of(
    server: ScriptedServer, ca_file: Path, tmp_path: Path
) -> None:
    lost = node_pb2.Node(id="n-1", state=node_pb2.NODE_STATE_LOST)
    server.answer("NodeService/ListNodes", node_pb2.ListNodesResponse(nodes=[lost]))
    async with AsyncClient(server.address, ca_certificate=ca_file, api_key="k") as admin:
        stage = Stage(Fleet(directory=tmp_path), admin, lambda _: None)
        counting = asyncio.ensure_future(stage.count())
        await wait_until(lambda: stage.levels.snapshots >= 2, "it is counted twice")
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting
    assert stage.levels.fleet_most == 1


def test_lines_are_printed_as_the_driver_prints_them() -> None:
    board = gpu("00000000:1B:00.0")
    assert kernel.xid(board, 79, "GPU has fallen off the bus.") == (
        "NVRM: Xid (PCI:0000:1b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
    )
    assert kernel.xid(board, 31, "x", pid=7, name="python").endswith(": 31, pid=7, name=python, x")


async def test_every_line_reaches_a_reader_who_is_slower_than_the_writer(tmp_path: Path) -> None:
    log = tmp_path / "kernel-log"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    printing = asyncio.create_task(kernel.print_lines(log, (f"line {number}" for number in range(50_000))))
    read = b""
    async with asyncio.timeout(60):
        while read.count(b"\n") < 50_000:
            with contextlib.suppress(BlockingIOError):
                read += os.read(reader, 65_536)
            await asyncio.sleep(0)
    await printing
    os.close(reader)
    assert read.decode().splitlines() == [f"line {number}" for number in range(50_000)]


async def test_a_stand_in_service_holds_the_gpu_until_it_is_stopped(tmp_path: Path) -> None:
    tools = Tools(tmp_path / "tools")

    async def systemctl(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            str(tools.directory / "systemctl"), *words, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        return output.decode()

    await systemctl("start", "--", PERSISTENCED)
    assert tools.serves(PERSISTENCED)
    shown = await systemctl("show", "--property=Id", "--", PERSISTENCED, "dcgm.service")
    assert f"Id={PERSISTENCED}\nLoadState=loaded\nActiveState=active" in shown
    assert "Id=dcgm.service\nLoadState=not-found\nActiveState=inactive\nMainPID=0" in shown
    await systemctl("stop", "--", PERSISTENCED)
    assert not tools.serves(PERSISTENCED)
    assert tools.count("systemctl st") == 2


def test_the_report_says_what_did_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    timings = IncidentTimings(0.01, 0.0, None, 1.5, 2.0, 3.6)
    day = GameDay(
        "gpu_lost",
        "A GPU is lost",
        12.0,
        findings=(Finding("it is repaired", False, "it is not", 3.0), Finding("it is seen", True, "", 1.0)),
        courses=(Course("i-1", "host-1", "escalated", "GPU lost", ("reset_gpu failed",), timings),),
        most_out=1,
    )
    assert not day.held
    print_report(Output(as_json=False), [day, GameDay("x", "y", 0.0, skipped="not here")])
    lines = capsys.readouterr().out.splitlines()
    assert "gpu_lost: NOT HELD - A GPU is lost" in lines
    assert any(line.split() == ["NO", "3.0", "s", "it", "is", "repaired:", "it", "is", "not"] for line in lines)
    assert any("reset gpu failed" in line and "2.000 s" in line for line in lines)
    assert lines[-1] == "0 of 1 game days held, 1 not played."


def test_a_port_that_one_process_has_looked_up_is_nobody_elses_until_that_process_ends(tmp_path: Path) -> None:
    claim = "from pathlib import Path; from orquanta.gameday.fleet import _Claims; import sys\n"
    claim += "print(_Claims(Path(sys.argv[1])).take(20_000), flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", claim, str(tmp_path / "ports")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        own = _Claims(tmp_path / "ports")
        assert (own.take(20_000), own.take(20_001)) == (False, True)
        other.kill()
        other.wait()
    assert own.take(20_000)
    assert len({free_port() for _ in range(50)}) == 50
