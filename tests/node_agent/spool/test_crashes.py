"""The spool under kill -9 and on a full disk."""

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

from node_agent.spool.items import Bounds
from tests.node_agent.spool.test_spool import everything, names, opened, repair, rollup, until
from tests.node_agent.spool.writer import event

ROUNDS = 12
WRITER = "tests.node_agent.spool.writer"
ROOT = Path(__file__).parents[3]


async def test_what_was_promised_survives_kill_9_in_the_middle_of_appends(tmp_path: Path) -> None:
    chance = random.Random(20260501)
    promised: list[str] = []
    for number in range(ROUNDS):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-m", WRITER, str(tmp_path), f"run{number}", stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 40)):
            async with asyncio.timeout(60):
                line = (await writer.stdout.readline()).decode().split()
            promised += line[1:]
        writer.send_signal(signal.SIGKILL)
        rest = (await writer.stdout.read()).decode()
        promised += [
            name for line in rest.splitlines(keepends=True) if line.endswith("\n") for name in line.split()[1:]
        ]
        await writer.wait()
        async with opened(tmp_path) as spool:
            found = await everything(spool)
            stored = names(found)
            assert spool.state("newest").decode() == stored[-1]  # state and records went together
        assert [record.sequence for record in found] == list(range(1, len(found) + 1))
        assert [name for name in stored if name in set(promised)] == promised
        assert len(stored) == len(set(stored))


FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from node_agent.spool.items import Bounds
from tests.node_agent.spool.test_spool import everything, names, opened, rollup, until
from tests.node_agent.spool.writer import event

directory = Path(sys.argv[1])

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with opened(directory, Bounds(memory_records=50)) as spool:
        await spool.append(event("before"))
        limit(int(sys.argv[3]))
        for number in range(5):
            await spool.append(event(f"during-{number}"))
        assert spool.status().fault, spool.status()
        records = await everything(spool)
        print("sent from memory:", *names(records))
        if sys.argv[2] == "crash":
            print("visible:", spool.visible, flush=True)
            import os
            os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[2] == "overflow":
            for number in range(100):
                await spool.append(rollup(10), event(f"more-{number}"))
        limit(resource.RLIM_INFINITY)
        await spool.append(event("after"))
        await until(lambda: not spool.status().fault)
        await spool.append(event("later"))
        records = await everything(spool)
        print("losses:", [(r.loss.records, r.loss.telemetry_samples) for r in records if r.HasField("loss")])
        print("last:", *names(records)[-2:])

asyncio.run(main())
"""


def _on_full_disk(directory: Path, mode: str, room: int = 64) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(directory), mode, str(room)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return done.returncode, done.stdout + done.stderr


async def test_on_a_full_disk_events_go_out_from_memory_and_are_written_when_there_is_room(tmp_path: Path) -> None:
    code, text = await asyncio.to_thread(_on_full_disk, tmp_path, "recover")
    assert code == 0, text
    assert "sent from memory: before during-0 during-1 during-2 during-3 during-4" in text
    assert text.count("spool.refused") == 1
    assert "losses: []" in text
    async with opened(tmp_path) as spool:
        records = await everything(spool)
    assert names(records) == ["before", *(f"during-{number}" for number in range(5)), "after", "later"]
    assert [record.sequence for record in records] == list(range(1, 9))


async def test_a_sequence_that_was_sent_from_memory_is_never_given_again_after_a_crash(tmp_path: Path) -> None:
    code, text = await asyncio.to_thread(_on_full_disk, tmp_path, "crash")
    assert code == -signal.SIGKILL, text
    assert "visible: 6" in text
    async with opened(tmp_path) as spool:
        assert await spool.append(event("next")) > 6
        assert names(await everything(spool)) == ["before", "next"]


async def test_what_cannot_even_be_marked_is_held_back_until_it_is_on_disk(tmp_path: Path) -> None:
    code, text = await asyncio.to_thread(_on_full_disk, tmp_path, "recover", room=1)
    assert code == 0, text
    assert "sent from memory: before\n" in text
    async with opened(tmp_path) as spool:
        assert names(await everything(spool))[-3:] == ["during-4", "after", "later"]


async def test_what_memory_could_not_hold_is_counted_and_told_rollups_first(tmp_path: Path) -> None:
    code, text = await asyncio.to_thread(_on_full_disk, tmp_path, "overflow")
    assert code == 0, text
    async with opened(tmp_path) as spool:
        records = await everything(spool)
    losses = [record.loss for record in records if record.HasField("loss")]
    assert sum(loss.telemetry_samples for loss in losses) == 1000
    assert (
        len([record for record in records if not record.HasField("loss")]) + sum(loss.records for loss in losses)
        == 1 + 5 + 200 + 2
    )
    assert names(records)[-2:] == ["after", "later"]


async def test_a_spool_with_small_bounds_still_takes_the_newest_record(tmp_path: Path) -> None:
    async with opened(tmp_path, Bounds(disk_bytes=1)) as spool:
        last = 0
        for number in range(20):
            last = await spool.append(repair(f"r-{number}", 5000), rollup())
        await until(lambda: spool.status().lost_records >= 40)
    assert last >= 40
