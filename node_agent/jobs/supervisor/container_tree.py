"""A job in a container: the engine (podman or docker) owns its processes, the supervisor owns the engine's client."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH123
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

from node_agent.jobs import proc
from node_agent.jobs.supervisor.cgroups import Cgroup, mounts
from node_agent.jobs.supervisor.child import Command
from node_agent.jobs.supervisor.tree import Tree

_ENGINE_TIMEOUT_SECONDS = 10.0
_CLIENT_PATIENCE_SECONDS = 5.0
_REMOVE_TRIES = 5
_ENGINE_FAILED, _CANNOT_INVOKE, _NOT_FOUND = 125, 126, 127


class ContainerTree(Tree):
    """A container, from its client's start to its removal.

    `calls` holds the engine's command lines: "inspect" (prints pid, OOM flag, start time, exit code, separated by |),
    "stop" ("{grace}" stands for whole seconds), "kill" and "remove".
    """

    def __init__(self, command: Command, calls: dict[str, list[str]]) -> None:
        super().__init__(command, Cgroup({}))
        self._calls = calls
        self._stopping: subprocess.Popen[bytes] | None = None
        self._killed_at: float | None = None
        self._ever_started = False
        self._peak_files: list[str] | None = None

    def reap(self) -> None:
        """Take note of the client's end, then of the container's result, and remove the container."""
        if self._stopping is not None and (code := self._stopping.poll()) is not None:
            self._stopping = None
            if code != 0 and self.exit_status is None:
                _signal_group(self.main_pid, signal.SIGTERM)  # there is no container yet: the image is being pulled
        if self.empty:
            return
        pid, status = os.waitpid(self.main_pid, os.WNOHANG)
        if pid == 0:
            return
        self._inspect()
        self._remove()
        if self._stopping is not None:
            self._stopping.kill()
            self._stopping.wait()
        self.exit_status = _as_job_status(status, started=self._ever_started)
        self.empty = True

    def pids(self) -> list[int]:
        """Return the client: the container's processes belong to the engine."""
        return [self.main_pid]

    def job_pids(self) -> list[int]:
        """Return the container's live processes."""
        pid = self._inspect()
        return [pid, *proc.descendants(pid)] if pid else []

    def sample(self) -> None:
        """Note the container's peak memory, which is gone once the engine has removed its cgroup."""
        if self._peak_files is None:
            pid = self._inspect()
            if not pid:
                return
            self._peak_files = _peak_files(pid)
        for path in self._peak_files:
            try:
                with open(path, encoding="ascii") as file:
                    self.peak_memory_bytes = max(self.peak_memory_bytes or 0, int(file.read()))
            except OSError:
                continue

    def terminate(self, grace_seconds: float) -> None:
        """Have the engine stop the container, without waiting for it."""
        argv = [part.replace("{grace}", str(max(1, round(grace_seconds)))) for part in self._calls["stop"]]
        self._stopping = subprocess.Popen(
            argv, env=self.command.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """Have the engine kill the container; a client that stays on after that is killed too."""
        now = time.monotonic()
        if self._killed_at is None:
            self._killed_at = now
            self._run("kill")
        elif now - self._killed_at > _CLIENT_PATIENCE_SECONDS:
            _signal_group(self.main_pid, signal.SIGKILL)

    def start_failure(self, exit_code: int | None, last_words: str) -> str | None:
        """Tell the engine's own exit codes from those of a container that ran."""
        if self._ever_started or exit_code not in {_ENGINE_FAILED, _CANNOT_INVOKE, _NOT_FOUND}:
            return None
        what = {
            _ENGINE_FAILED: "the container engine could not start the container; check the image's name and the engine",
            _CANNOT_INVOKE: "the image's command cannot be executed; check the command and its permissions",
            _NOT_FOUND: "the image has no such command; check the command",
        }[exit_code]
        return f"{what}: {last_words}" if last_words else what

    def _inspect(self) -> int:
        result = self._run("inspect")
        words = result.split("|") if result is not None else []
        if len(words) != 4:  # noqa: PLR2004 - what the format asks for
            return 0
        pid, oom_killed, started_at, _exit_code = words
        self.oom_killed = self.oom_killed or oom_killed == "true"
        self._ever_started = self._ever_started or not started_at.startswith("0001-")
        return int(pid) if pid.isdigit() else 0

    def _remove(self) -> None:
        for attempt in range(_REMOVE_TRIES):
            if self._run("remove") is not None or self._run("inspect") is None:
                return
            time.sleep(0.2 * 2**attempt)

    def _run(self, call: str) -> str | None:
        try:
            done = subprocess.run(
                self._calls[call],
                env=self.command.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_ENGINE_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def _as_job_status(status: int, *, started: bool) -> int:
    """Turn the client's wait status into the job's: an engine reports death by signal N as exit code 128 + N."""
    code = os.waitstatus_to_exitcode(status)
    if started and 128 < code < 128 + signal.NSIG:  # noqa: PLR2004 - the convention
        return code - 128
    return status


def _peak_files(pid: int) -> list[str]:
    found = mounts()
    paths = []
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") and "memory" in found:
            paths.append(found["memory"] + path + "/memory.max_usage_in_bytes")
        elif not controllers and "unified" in found:
            paths.append(found["unified"] + path + "/memory.peak")
    return paths


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
