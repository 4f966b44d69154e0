"""What the probe loads, and what it does not."""

import subprocess
import sys

PROGRAM = """
import sys
from node_agent.probe import child
from node_agent.clock import SystemClock
from node_agent.probe.nvml import Nvml
from node_agent.probe.telemetry import Telemetry
from node_agent.virtual import virtual_gpus
import node_agent.virtual.board

with virtual_gpus("8xH100"):
    nvml = Nvml()
    nvml.open()
    assert len(Telemetry(nvml, SystemClock()).read().gpus) == 8
loaded = set(sys.modules)
import inspect
from ctypes.util import find_library
assert str(inspect.signature(lambda a: a)) == "(a)"
find_library("nothing")
print(*sorted(loaded))
"""

HEAVY = {
    "ast",
    "asyncio",
    "google",
    "grpc",
    "hashlib",
    "pathlib",
    "socket",
    "ssl",
    "structlog",
    "subprocess",
    "tempfile",
}


def test_the_probe_loads_nothing_that_it_has_no_use_for() -> None:
    finished = subprocess.run(
        [sys.executable, "-P", "-s", "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(finished.stdout.split())
    assert "pynvml" in loaded
    assert not HEAVY & loaded


def test_the_daemon_does_not_load_what_calls_the_driver() -> None:
    program = "import sys, node_agent.hardware; print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(finished.stdout.split())
    assert "node_agent.probe.client" in loaded
    assert not {"pynvml", "node_agent.probe.nvml", "node_agent.virtual.device", "node_agent.virtual.catalogue"} & loaded
