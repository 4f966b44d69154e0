"""Builds a Weaviate server for tests into the cache, from its Go module; what is there is not built again.

It takes Go 1.26, a C compiler, about ten minutes on two cores and 5 GB of disk, most of it for Go's own caches, which
are removed. Nothing of it is part of OrQuanta.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

VERSION: Final = "v1.35.2"
_MODULE: Final = "github.com/weaviate/weaviate/cmd/weaviate-server"
_SECONDS_MAX: Final = 3_600


def binary() -> Path:
    """Return where the server is, or would be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "orquanta" / "weaviate" / VERSION / "weaviate-server"


def build() -> Path:
    """Build the server unless it is there; return where it is. Raises SystemExit, saying what to do."""
    made = binary()
    if made.exists():
        return made
    if shutil.which("go") is None:
        raise SystemExit("there is no go; install Go 1.26 from https://go.dev/dl and try again")
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as folder:
        environment = {
            **os.environ,
            "CGO_ENABLED": "1",
            "GOBIN": folder,
            "GOPATH": f"{folder}/path",
            "GOCACHE": f"{folder}/cache",
            "GOFLAGS": "-modcacherw",  # so that it can be removed
        }
        command = ["go", "install", "-p", "2", "-ldflags", "-s -w", f"{_MODULE}@{VERSION}"]
        done = subprocess.run(command, env=environment, check=False, timeout=_SECONDS_MAX)
        if done.returncode:
            raise SystemExit("Weaviate could not be built; what go said is above")
        (Path(folder) / made.name).replace(made)
    return made


if __name__ == "__main__":
    sys.stdout.write(f"{build()}\n")
