"""`orquanta memory`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from orquanta.v1 import memory_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import ScriptedServer

ID = "m-7zk3m09qv2xa"


def a_memory() -> memory_pb2.Memory:
    memory = memory_pb2.Memory(
        id=ID,
        kind=memory_pb2.MEMORY_KIND_INCIDENT,
        text="Fault xid:79 on gpu-a-17",
        symptoms=["xid:79"],
        root_cause="xid:79",
        actions=[
            memory_pb2.MemoryAction(tool="reset_gpu", result=memory_pb2.MEMORY_OUTCOME_FAILED),
            memory_pb2.MemoryAction(tool="quarantine", result=memory_pb2.MEMORY_OUTCOME_UNKNOWN),
        ],
        outcome=memory_pb2.MEMORY_OUTCOME_UNKNOWN,
        node_class="8x H100",
        evidence_ids=["incident:i-1"],
        source="i-1",
        count=4,
        fixed_count=1,
    )
    memory.created_at.FromDatetime(datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC))
    memory.expires_at.FromDatetime(datetime(2026, 5, 4, 12, tzinfo=UTC) + timedelta(days=90))
    return memory


async def test_memories_are_searched_listed_and_shown(server: ScriptedServer, cli: RunCli) -> None:
    found = memory_pb2.FoundMemory(memory=a_memory(), score=0.75)
    server.answer("MemoryService/SearchMemories", memory_pb2.SearchMemoriesResponse(memories=[found]))
    server.answer("MemoryService/ListMemories", memory_pb2.ListMemoriesResponse(memories=[a_memory()]))
    server.answer("MemoryService/GetMemory", memory_pb2.GetMemoryResponse(memory=a_memory()))
    searched = await cli("memory", "search", "xid:79", "again", "--kind", "incident", "-n", "3")
    assert searched.code == 0, searched.stderr
    assert ID in searched.stdout
    assert "reset_gpu failed" in searched.stdout
    (asked,) = server.requests("MemoryService/SearchMemories", memory_pb2.SearchMemoriesRequest)
    assert (asked.text, asked.kind, asked.limit) == ("xid:79 again", memory_pb2.MEMORY_KIND_INCIDENT, 3)
    document = (await cli("memory", "search", "xid:79", "--json")).document()
    assert document["memories"][0]["score"] == 0.75
    assert "8x H100" in (await cli("memory", "list")).stdout
    shown = await cli("memory", "show", ID)
    assert "4 times, 1 of them fixed" in shown.stdout
    assert "incident:i-1" in shown.stdout


async def test_an_export_is_read_again_as_it_was_written(server: ScriptedServer, cli: RunCli, tmp_path: Path) -> None:
    server.answer("MemoryService/ExportMemories", memory_pb2.ExportMemoriesResponse(memories=[a_memory()]))
    server.answer("MemoryService/ImportMemories", memory_pb2.ImportMemoriesResponse(added=1))
    file = tmp_path / "memories.jsonl"
    written = await cli("memory", "export", "-o", str(file))
    assert (written.code, "1 memories written" in written.stderr) == (0, True), written.stderr
    read = await cli("memory", "import", str(file))
    assert read.code == 0, read.stderr
    (sent,) = server.requests("MemoryService/ImportMemories", memory_pb2.ImportMemoriesRequest)
    assert list(sent.memories) == [a_memory()]


async def test_a_line_that_is_no_memory_is_named(cli: RunCli, tmp_path: Path) -> None:
    file = tmp_path / "memories.jsonl"
    for text in ("{}", "[]", "not JSON", '{"id": "m-1", "kind": "incident"}', "[" * 100_000):
        file.write_text(f"\n{text}\n")
        said = await cli("memory", "import", str(file))
        assert said.code == 2
        assert "line 2" in said.stderr


async def test_a_memory_is_forgotten_and_the_status_is_told(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("MemoryService/DeleteMemory", memory_pb2.DeleteMemoryResponse())
    status = memory_pb2.GetMemoryStatusResponse(store="local", embedder="hashed", dimensions=512, memories=7, waiting=2)
    server.answer("MemoryService/GetMemoryStatus", status)
    assert "is forgotten" in (await cli("memory", "forget", ID, "--reason", "wrong")).stdout
    (asked,) = server.requests("MemoryService/DeleteMemory", memory_pb2.DeleteMemoryRequest)
    assert (asked.memory_id, asked.reason, bool(asked.request_id)) == (ID, "wrong", True)
    assert "hashed (512 dimensions)" in (await cli("memory", "status")).stdout
    assert (await cli("memory", "status", "--json")).document()["waiting"] == 2
