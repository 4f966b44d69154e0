"""Loading without the garbage collector, each time in a process of its own."""

import subprocess
import sys


def told_by(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_nothing_is_collected_while_modules_are_loaded_and_what_was_loaded_is_left_alone() -> None:
    program = """
import gc
from control_plane import swift_start
print(gc.isenabled(), gc.get_freeze_count())
swift_start.loaded()
print(gc.isenabled(), gc.get_freeze_count() > 1000)
"""
    assert told_by(program).splitlines() == ["False 0", "True True"]


def test_the_program_collects_again_once_it_is_loaded() -> None:
    program = "import gc, control_plane.__main__; print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    assert told_by(program) == "True True\n"
