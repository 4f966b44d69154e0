"""How long it takes to verify an audit of a million records from a file: the chain, the tree and every checkpoint.

Usage: python -m bench.audit_verify [--records N]
"""

import argparse
import os
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.figures import report
from orquanta.ledger.chain import GENESIS, canonical_json, private_hash, record_hash
from orquanta.ledger.checkpoint import Checkpoint, Start
from orquanta.ledger.export_file import Header, checkpoint_line, header_line, read_lines, record_line
from orquanta.ledger.merkle import Frontier
from orquanta.ledger.records import LedgerRecord, canonical_record
from orquanta.ledger.signatures import Signer
from orquanta.ledger.verify import Verdict, Verifier

_EVERY = 256  # records between checkpoints, as the auditor signs them when it is busy
_TARGET_SECONDS = 60
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def write_log(path: Path, count: int, signer: Signer) -> None:
    """Write an export of `count` records of ordinary size, with a checkpoint over every 256."""
    tree = Frontier()
    previous = GENESIS
    with path.open("w", encoding="utf-8") as file:
        file.write(header_line(Header(signer.origin, signer.public_key, Start())) + "\n")
        for number in range(1, count + 1):
            key = number.to_bytes(32, "big")
            words = canonical_json(
                {
                    "agent_name": "scheduler_agent",
                    "reasoning": f"fits: 8 H100 on gpu-a-{number % 1213}, the tightest island that holds the gang",
                    "payload": {"summary": "place job", "hash": f"{number:064x}", "decision": ["allowed (STATE)"]},
                }
            )
            fields = {
                "action": "place_job.done",
                "outcome": "done",
                "agent": "scheduler_agent",
                "action_id": f"act-{number:012d}",
                "job_id": f"j-{number:012d}",
                "goal_id": f"g-{number // 3:012d}",
                "user_id": "5d1e0e4c-3f7f-4a86-9a35-1c1b0e0e8f11",
                "cost_impact": number * 1_000,
            }
            at = _BEGIN + timedelta(seconds=number)
            canonical = canonical_record(number, at.isoformat(), fields, private_hash(key, words))
            hashed = record_hash(previous, canonical)
            file.write(record_line(LedgerRecord(number, previous, hashed, canonical, words, key)) + "\n")
            previous = hashed
            tree.append(hashed)
            if number % _EVERY == 0 or number == count:
                file.write(checkpoint_line(signer.sign(number, tree.root(), at)) + "\n")


def verify(path: Path, signer: Signer) -> Verdict:
    """Verify the file line by line."""
    verifier = Verifier(signer.public_key, [])
    with path.open(encoding="utf-8") as file:
        for part in read_lines(file):
            match part:
                case LedgerRecord():
                    verifier.feed(part)
                case Checkpoint():
                    verifier.expect([part])
    return verifier.finish()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    count = parser.parse_args().records
    signer = Signer(os.urandom(32))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "audit.jsonl"
        write_log(path, count, signer)
        size_bytes = path.stat().st_size
        began, cpu = time.perf_counter(), time.process_time()
        verdict = verify(path, signer)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    if not verdict.intact:
        raise SystemExit(f"the log that was written is not intact: {verdict.fault}")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:,} records and {verdict.checkpoints:,} checkpoints, {size_bytes / 1e6:,.0f} MB of JSON lines")
    print(f"verified in {seconds:.1f} s ({cpu_seconds:.1f} s of one core), {count / seconds:,.0f} records a second")
    print(f"peak memory {peak_mb:.0f} MB")
    figures = {
        "records": verdict.records,
        "checkpoints": verdict.checkpoints,
        "export_bytes": size_bytes,
        "verify_seconds": round(seconds, 2),
        "verify_cpu_seconds": round(cpu_seconds, 2),
        "records_per_second": round(count / seconds),
        "peak_rss_mb": round(peak_mb, 1),
    }
    print(report("audit_verify", figures, {"verify_seconds": _TARGET_SECONDS}))


if __name__ == "__main__":
    main()
