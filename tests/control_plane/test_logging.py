"""What the control plane's log tells of an error, in a process of its own."""

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
