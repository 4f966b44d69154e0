"""Giving back pages of code."""

import subprocess
import sys

import pytest

from node_agent.memory import clean_mappings

LIBRARY = """\
7f0000000000-7f0000100000 r-xp 00000000 08:01 42                         /usr/lib/libx.so
Size:               1024 kB
Rss:                 512 kB
Shared_Dirty:          0 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
"""


def mapped(text: str) -> list[tuple[int, int, int]]:
    return list(clean_mappings(text.splitlines()))


def test_code_of_a_library_can_be_given_back() -> None:
    assert mapped(LIBRARY) == [(0x7F0000000000, 0x100000, 512 * 1024)]
    assert len(mapped(LIBRARY * 3)) == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r-xp", "rw-p"),
        ("r-xp", "r-xs"),
        ("/usr/lib/libx.so", ""),
        ("/usr/lib/libx.so", "[heap]"),
        ("Private_Dirty:         0", "Private_Dirty:         4"),
        ("Shared_Dirty:          0", "Shared_Dirty:          4"),
        ("Anonymous:             0", "Anonymous:             4"),
        ("Anonymous:             0 kB\n", ""),
        ("Rss:                 512", "Rss:                   0"),
    ],
)
def test_nothing_that_could_be_lost_is_given_back(old: str, new: str) -> None:
    assert old in LIBRARY
    assert mapped(LIBRARY.replace(old, new)) == []


PROGRAM = """
import asyncio, json, ssl, sqlite3
from node_agent.memory import give_back_code

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Rss"))

before = resident()
given_back = give_back_code()
after = resident()
assert json.loads(json.dumps([1, {"a": None}])) == [1, {"a": None}]
ssl.create_default_context()
asyncio.run(asyncio.sleep(0))
sqlite3.connect(":memory:").execute("select 1").fetchone()
print(given_back, before - after)
"""


def test_a_process_goes_on_with_less_memory() -> None:
    finished = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    given_back, saved = map(int, finished.stdout.split())
    assert given_back > 1_000_000
    assert saved > 1_000


def test_a_daemon_that_starts_small_works_without_the_metadata_of_packages() -> None:
    program = """
import sys
from node_agent.memory import start_small

start_small()
import nats
from node_agent import daemon

assert "zipfile" not in sys.modules, "importlib.metadata was loaded"
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 0, finished.stderr


def test_a_daemon_does_not_load_what_it_has_no_use_for_and_it_is_there_for_who_has() -> None:
    program = """
import sys
import node_agent.__main__
from node_agent.memory import start_small

start_small()
import node_agent.daemon
from node_agent.later import Later

loaded = {name for name, module in sys.modules.items() if not isinstance(module, Later)}
print(*sorted(loaded & {"ast", "email", "inspect", "ipaddress", "nats.js"}))
print("google.protobuf.internal.python_message" in loaded, "prometheus_client" in loaded)
import asyncio
import inspect
import functools
import nats
from google.protobuf.internal import python_message
from urllib.parse import urlsplit

async def one(self=None): ...

class Two:
    async def method(self): ...
    def other(self): ...

for function in (one, functools.partial(one, 1), Two().method, Two.method, Two().other, print, Two, 3):
    found = inspect.iscoroutinefunction(function)
    print(found, end=" ")
    assert asyncio.iscoroutinefunction(function) == found
assert str(inspect.signature(one)) == "(self=None)"
assert inspect.iscoroutinefunction(one) and not isinstance(sys.modules["inspect"], Later)
assert urlsplit("https://[::1]:7/x").hostname == "::1"
assert nats.js.JetStreamContext.__name__ == "JetStreamContext"
assert python_message.GeneratedProtocolMessageType
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert finished.stderr == ""
    assert finished.stdout.splitlines() == ["", "False False", "True True True True False False False False "]
