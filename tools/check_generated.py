"""Fails if the committed protobuf code is not what `make generate` makes of the protos."""

import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "clients" / "python" / "orquanta" / "v1"


def main() -> int:
    """Generate into a scratch folder and compare file by file."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["buf", "generate", "--output", scratch], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        fresh = Path(scratch, "clients", "python", "orquanta", "v1")
        names = sorted({path.name for folder in (fresh, COMMITTED) for path in folder.glob("*_pb2*") if path.is_file()})
        _, different, missing = filecmp.cmpfiles(fresh, COMMITTED, names, shallow=False)
    stale = sorted(different + missing)
    if stale:
        sys.stderr.write(f"Generated code is out of date: {', '.join(stale)}. Run: make generate\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
