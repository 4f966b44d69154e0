"""How fast the local memory is with 50,000 memories: adding, opening, searching by words and vectors together.

Run: python -m bench.memory_search [--memories 50000] [--searches 200]
"""

import argparse
import asyncio
import os
import random
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.figures import percentile, report
from control_plane.clock import SystemClock
from control_plane.memory.hashed_ngrams import HashedNgrams
from control_plane.memory.local import LocalMemory
from control_plane.model.ids import MEMORY, derived_id
from control_plane.model.memory import Memory, MemoryAction, MemoryKind, MemoryOutcome, MemoryQuery

TARGETS = {"add_milliseconds": 5.0, "search_p95_milliseconds": 100.0, "symptom_p95_milliseconds": 50.0}
_FAULTS = ("xid:31", "xid:48", "xid:63", "xid:74", "xid:79", "xid:94", "xid:119", "thermal", "nvlink", "ecc")
_RUNGS = ("stop_process", "reset_gpu", "restart_service", "reload_driver", "reboot_host")
_CAUSES = ("riser card", "power supply", "firmware", "cooling", "driver", "cable", "memory bank", "fabric", "kernel")
_SEED = 7


def memory(number: int, chosen: random.Random, now: datetime) -> Memory:
    """Return a memory like those of real incidents, different from all others."""
    fault = chosen.choice(_FAULTS)
    rungs = chosen.sample(_RUNGS, k=chosen.randint(1, 3))
    host = f"gpu-{chosen.choice('abcdef')}-{number % 2_000}"
    results = [MemoryOutcome.FAILED] * (len(rungs) - 1) + [MemoryOutcome.FIXED]
    cause = f"{chosen.choice(_CAUSES)} of {host}, {number}"
    return Memory(
        id=derived_id(MEMORY, str(number)),
        tenant="",
        kind=MemoryKind.INCIDENT,
        text=f"Fault {fault} on {host} (8x H100): {', then '.join(rungs)}; resolved. Cause: {cause}.",
        symptoms=(fault,),
        root_cause=cause,
        actions=tuple(MemoryAction(tool, result) for tool, result in zip(rungs, results, strict=True)),
        outcome=MemoryOutcome.FIXED,
        gpu_type="H100",
        node_class="8x H100",
        evidence_ids=(),
        source=f"i-{number}",
        created_at=now - timedelta(seconds=number),
        expires_at=now + timedelta(days=90),
    )


async def measure(path: Path, count: int, searches: int) -> dict[str, object]:
    """Return the figures."""
    chosen = random.Random(_SEED)
    now = datetime.now(UTC)
    store = LocalMemory(path, HashedNgrams(), clock=SystemClock(), rows_per_tenant=count)
    begun = time.monotonic()
    for number in range(count):
        await store.remember(memory(number, chosen, now))
    added = time.monotonic() - begun
    await store.close()
    store = LocalMemory(path, HashedNgrams(), clock=SystemClock(), rows_per_tenant=count)
    begun = time.monotonic()
    status = await store.status()
    opened = time.monotonic() - begun
    assert status.memories == count, status
    by_text, by_symptom = [], []
    for _ in range(searches):
        words = f"{chosen.choice(_FAULTS)} on gpu-{chosen.choice('abcdef')}-{chosen.randrange(2_000)}, is it the "
        begun = time.monotonic()
        assert await store.search(MemoryQuery(words + chosen.choice(_CAUSES)), now=now)
        by_text.append(1_000 * (time.monotonic() - begun))
        begun = time.monotonic()
        assert await store.search(MemoryQuery("", symptoms=(chosen.choice(_FAULTS),), limit=50), now=now)
        by_symptom.append(1_000 * (time.monotonic() - begun))
    await store.close()
    return {
        "memories": count,
        "add_milliseconds": round(1_000 * added / count, 3),
        "open_seconds": round(opened, 2),
        "search_median_milliseconds": round(percentile(by_text, 0.5), 1),
        "search_p95_milliseconds": round(percentile(by_text, 0.95), 1),
        "symptom_p95_milliseconds": round(percentile(by_symptom, 0.95), 1),
        "file_megabytes": round(path.stat().st_size / 1e6),  # noqa: ASYNC240 - nothing else runs
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memories", type=int, default=50_000)
    parser.add_argument("--searches", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder) / "memory.db", arguments.memories, arguments.searches))
    print(report("memory_search", figures, TARGETS))


if __name__ == "__main__":
    main()
