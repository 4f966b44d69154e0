"""What the control plane's log tells of an error, in a process of its own."""

import json
import subprocess
import sys

import pytest

_PROGRAM = """
import sys, structlog
from control_plane.logging import configure_logging
configure_logging("info", sys.argv[1])
def log_in(password):
    raise ValueError("the account is locked")
try:
    log_in(sys.argv[2])
except ValueError:
    structlog.get_logger().exception("login.failed")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_error_is_told_with_its_traceback_and_without_the_values_of_variables(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, form, "swordfish"], check=True, capture_output=True, text=True
    )
    assert "login.failed" in done.stderr
    assert "in log_in" in done.stderr
    assert "ValueError: the account is locked" in done.stderr
    assert "swordfish" not in done.stderr


_LIBRARY = """
import logging, sys
from control_plane.logging import configure_logging
configure_logging("info", sys.argv[1])
try:
    raise ValueError("no\\nanswer")
except ValueError:
    logging.getLogger("a.library").exception("%s failed", "the \\"export\\"")
"""


def _said_by_a_library(form: str) -> str:
    return subprocess.run([sys.executable, "-c", _LIBRARY, form], check=True, capture_output=True, text=True).stderr


def test_what_a_library_says_is_json_too() -> None:
    (line,) = _said_by_a_library("json").splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"], said["logger"]) == ('the "export" failed', "error", "a.library")
    assert "ValueError: no\nanswer" in said["exception"]
    assert said["timestamp"].endswith("Z")


def test_what_a_library_says_is_text_for_a_person() -> None:
    said = _said_by_a_library("text")
    assert 'the "export" failed' in said.splitlines()[0]
    assert "ValueError: no" in said
