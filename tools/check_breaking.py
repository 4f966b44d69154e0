"""Fails if the protos break those of the newest release, or, before the first release, those of HEAD.

There is nothing to compare with in a repository without commits or a clone without tags and protos.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else ""


def main() -> int:
    """Compare with the newest tag `v*`, else with HEAD."""
    base = _git("describe", "--tags", "--abbrev=0", "--match", "v*") or _git("rev-parse", "HEAD")
    if not base or not _git("ls-tree", "-r", "--name-only", base, "proto"):
        return 0
    commit = _git("rev-parse", f"{base}^{{commit}}")
    return subprocess.run(["buf", "breaking", "--against", f".git#ref={commit}"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
