"""A job that an engine of the site runs elsewhere: the supervisor stands over the engine's client.

The client keeps `site.json` beside the status: `state` (waiting, running, ended), `message`, `ran_seconds` (for how
long it had run when that was written, by the engine's clock, if the engine tells), and once it has ended `outcome` (a
member's outcome), `exit_code` and `signal`.
"""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH118, PTH123
from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess

from node_agent.jobs import proc
from node_agent.jobs.supervisor.cgroups import Cgroup
from node_agent.jobs.supervisor.child import Command
from node_agent.jobs.supervisor.tree import Tree

SITE_FILE = "site.json"
_CALL_SECONDS = 70.0  # a client makes two calls of its engine at most, of 30 s each
_FIRST_KILL_AGAIN_SECONDS = 0.5
_LONGEST_KILL_AGAIN_SECONDS = 10.0
_MESSAGE_MAX = 500
_LAST_SIGNAL = 64
_LAST_EXIT_CODE = 255
_RAN_SECONDS_MAX = 1e9
_TOLD = {"start_failed", "supervisor_lost", "timed_out"}
_OUTCOMES = {*_TOLD, "exited", "signaled", "oom_killed"}


class SiteTree(Tree):
    """A job of the site, from its submission to its end. `calls` holds "kill" and "signal"; see jobs/executor.py."""

    def __init__(self, command: Command, calls: dict[str, list[str]], directory: str) -> None:
        super().__init__(command, Cgroup({}))
        self._calls = calls
        self._file = os.path.join(directory, SITE_FILE)
        self._client_ended = False
        self._kill_again_at = 0.0
        self._kill_again_seconds = _FIRST_KILL_AGAIN_SECONDS

    @property
    def waits(self) -> str | None:
        """Why the engine has not started the job yet; None once it has."""
        found = self._read()
        if found.get("state") in {"running", "ended"}:
            self._note_time(found)
            return None
        return str(found.get("message") or "waits for its engine to take it")[:_MESSAGE_MAX]

    def reap(self) -> None:
        """Take note of the client's end, and of what it knows of the job's.

        Nobody follows a job whose client died, so nobody may let it go on: it counts as there until the engine has
        taken the order to end it.
        """
        if self.empty:
            return
        if not self._client_ended:
            pid, status = os.waitpid(self.main_pid, os.WNOHANG)
            if pid == 0:
                return
            self._client_ended = True
            found = self._read()
            if found.get("state") == "ended":
                self._end(found)
                return
            for child in self.pids():  # a submission that is under way would be taken after the order to end
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self.exit_status = status
            self.ran_seconds = None  # what was told when it was first seen to run is not how long it ran
            self.verdict = "supervisor_lost", "the client of the site's engine died; its job is ended, run it again"
        self.kill()

    def _note_time(self, found: dict[str, object]) -> None:
        seconds = found.get("ran_seconds")
        if isinstance(seconds, int | float) and 0 <= seconds <= _RAN_SECONDS_MAX:
            self.ran_seconds = float(seconds)

    def _end(self, found: dict[str, object]) -> None:
        self.ran_seconds = None
        self._note_time(found)
        code, number = found.get("exit_code"), found.get("signal")
        if isinstance(number, int) and 0 < number <= _LAST_SIGNAL:
            self.exit_status = number
        else:
            self.exit_status = (code if isinstance(code, int) and 0 <= code <= _LAST_EXIT_CODE else 1) << 8
        self.oom_killed = found.get("outcome") == "oom_killed"
        if found.get("outcome") in _TOLD or (found.get("outcome") in _OUTCOMES and found.get("message")):
            self.verdict = str(found["outcome"]), str(found.get("message", ""))[:_MESSAGE_MAX]
        self.empty = True

    def terminate(self, _grace_seconds: float) -> None:
        """Have the client ask the engine to end the job."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.main_pid, signal.SIGTERM)

    def checkpoint(self, number: int) -> bool:
        """Have the engine signal the job; whether it listens, nobody here can tell. One that waits has no processes."""
        return self.waits is None and self._call("signal", number)

    def kill(self) -> None:
        """Have the engine end the job at once, and again after a while; the client ends once it has."""
        if self.empty or proc.boottime_seconds() < self._kill_again_at:
            return
        taken = self._call("kill")
        self._kill_again_at = proc.boottime_seconds() + self._kill_again_seconds
        self._kill_again_seconds = min(_LONGEST_KILL_AGAIN_SECONDS, self._kill_again_seconds * 2)
        self.empty = taken and self._client_ended

    def _call(self, name: str, number: int = 0) -> bool:
        try:
            done = subprocess.run(
                [part.replace("{signal}", str(number)) for part in self._calls[name]],
                env=self.command.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_CALL_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    def _read(self) -> dict[str, object]:
        try:
            with open(self._file, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
