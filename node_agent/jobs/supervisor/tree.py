"""The job's processes as one thing that can be started, asked to stop, and killed without a remainder."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH208
from __future__ import annotations

import contextlib
import errno
import os
import select
import signal

from node_agent.jobs import proc
from node_agent.jobs.supervisor import kernel
from node_agent.jobs.supervisor.cgroups import Cgroup
from node_agent.jobs.supervisor.child import (
    FATAL,
    WARNING,
    Command,
    Pipes,
    StartError,
    become,
    default_signals,
    explain,
)

_KIB = 1024
_FREEZE_ROUNDS = 100  # the second mostly finds nothing; a process that may not be stopped could fork for ever


class Tree:
    """A job's processes below the supervisor, which adopts each one whose parent ends (a child subreaper).

    `exit_status` is the main process's wait status once it ended; `empty` says that no process is left. Call `reap`
    on SIGCHLD and when `wake_fd` becomes readable. `verdict` is an outcome and its message, where the exit status does
    not tell how it ended. `ran_seconds` is for how long it had run when that was last heard, if whoever runs it tells.
    """

    isolated = False

    def __init__(self, command: Command, cgroup: Cgroup) -> None:
        self.command = command
        self.cgroup = cgroup
        self.main_pid = 0
        self.exit_status: int | None = None
        self.max_rss_bytes = 0
        self.empty = True
        self.init: tuple[int, str] | None = None
        self.wake_fd: int | None = None
        self.oom_killed = False
        self.peak_memory_bytes: int | None = None
        self.verdict: tuple[str, str] | None = None
        self.ran_seconds: float | None = None

    @property
    def waits(self) -> str | None:
        """Why the job does not run yet although it was started; None for one that runs."""
        return None

    def start(self) -> Pipes:
        """Start the command; return the pipes that its output comes through. Raises StartError."""
        kernel.become_subreaper()
        pipes = Pipes()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            become(self.command, pipes, parent)
        self.main_pid = pid
        self.empty = False
        pipes.close_write_ends()
        self._read_report(pipes)
        return pipes

    def _read_report(self, pipes: Pipes) -> None:
        for words in pipes.read_report():
            if words[0] == WARNING:
                self.cgroup.could_not_join(words[1])
            elif words[0] == FATAL:
                self.kill()
                self._wait_until_empty()
                raise explain(self.command, *words[1:4])

    def _wait_until_empty(self) -> None:
        while not self.empty:
            self._collect(0)

    def reap(self) -> None:
        """Take note of the processes that ended; never waits."""
        while not self.empty and self._collect(os.WNOHANG):
            pass

    def _collect(self, flags: int) -> bool:
        try:
            pid, status, usage = os.wait4(-1, flags)
        except ChildProcessError:
            self.empty = True
            return False
        if pid == 0:
            return False
        self.max_rss_bytes = max(self.max_rss_bytes, usage.ru_maxrss * _KIB)
        if pid == self.main_pid and not self.isolated:  # else init tells, and its own status says nothing of the job
            self.exit_status = status
        return True

    def pids(self) -> list[int]:
        """Return the job's live processes."""
        return proc.descendants(os.getpid())

    def sample(self) -> None:
        """Note what can only be seen while the job runs; called every few seconds."""

    def start_failure(self, _exit_code: int | None, _last_words: str) -> str | None:
        """Return what to do when the exit code means that the job never started; None when it did."""
        return None

    def terminate(self, _grace_seconds: float) -> None:
        """Ask every process of the job to end, also one that is just being forked; all of them go on until they do."""
        frozen = self._freeze()
        for pid in frozen:
            _send(pid, signal.SIGTERM)
        for pid in reversed(frozen):  # children first: some, such as su, stop themselves when they see a child stopped
            _send(pid, signal.SIGCONT)

    def checkpoint(self, number: int) -> bool:
        """Send a signal to the processes that have a handler for it; say whether there is any."""
        asked = [pid for pid in self.job_pids() if proc.catches(pid, number)]
        for pid in asked:
            _send(pid, number)
        return bool(asked)

    def job_pids(self) -> list[int]:
        """Return the live processes that the job itself has started."""
        return self.pids()

    def kill(self) -> None:
        """Kill every process of the job; call again until `empty`, for some may fork meanwhile."""
        self.cgroup.kill()
        for pid in self._freeze():
            _send(pid, signal.SIGKILL)

    def _freeze(self) -> list[int]:
        """Stop every process of the job, and return them, parents first: a stopped process cannot fork out of reach."""
        frozen: dict[int, None] = {}
        for _ in range(_FREEZE_ROUNDS):
            found = [pid for pid in self.pids() if pid not in frozen]
            if not found:
                break
            for pid in found:
                _send(pid, signal.SIGSTOP)
            frozen.update(dict.fromkeys(found))
        return list(frozen)


class IsolatedTree(Tree):
    """A job's processes in a process namespace of their own, below a tiny init process.

    The kernel itself kills all of them when init dies, and init dies with the supervisor: nothing that a job or a
    `kill -9` does can leave a process behind.
    """

    isolated = True

    def start(self) -> Pipes:
        """Start the command below its own init. Raises StartError; OSError where the host allows no namespaces."""
        kernel.new_pid_namespace_for_children()
        pipes = Pipes()
        exits_read, exits_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            _be_init(self.command, pipes, exits_write)
        os.close(exits_write)
        os.set_blocking(exits_read, False)
        pipes.close_write_ends()
        self._init_pid = pid
        self.wake_fd = self._exits_read = exits_read
        self._exits = b""
        self.empty = False
        self.init = (pid, proc.start_time(pid) or "")
        try:
            self._read_report(pipes)
        except _NoNamespaceError as error:
            self._wait_until_empty()
            kernel.own_pid_namespace_for_children()
            raise OSError(errno.EPERM, str(error)) from None
        self.main_pid = proc.first_child(pid) or 0  # gone already, if it was quick
        return pipes

    def _read_report(self, pipes: Pipes) -> None:
        report = pipes.read_report()
        for words in report:
            if words[0] == FATAL and words[1] == "namespace":
                raise _NoNamespaceError(words[3])
        for words in report:
            if words[0] == WARNING:
                self.cgroup.could_not_join(words[1])
            elif words[0] == FATAL:
                self.kill()
                self._wait_until_empty()
                raise explain(self.command, *words[1:4])

    def _collect(self, flags: int) -> bool:
        more = super()._collect(flags)
        try:
            while data := os.read(self._exits_read, 4096):
                self._exits += data
        except BlockingIOError:
            pass
        lines = self._exits.split(b"\n")
        self._exits = lines.pop()
        for line in lines:
            status, rss_kib = line.split()
            self.exit_status = int(status)
            self.max_rss_bytes = max(self.max_rss_bytes, int(rss_kib) * _KIB)
        if self.empty and self.exit_status is None:
            self.exit_status = signal.SIGKILL  # init was killed, and the kernel killed the rest the same way
        return more

    def pids(self) -> list[int]:
        """Return the job's live processes, without their init."""
        return proc.descendants(self._init_pid)

    def kill(self) -> None:
        """Kill init, and with it the whole namespace."""
        _send(self._init_pid, signal.SIGKILL)


class _NoNamespaceError(Exception):
    """The host forbids what an isolated tree needs."""


def _be_init(command: Command, pipes: Pipes, exits: int) -> None:
    """Live as the namespace's first process: start the command, reap everything, report how the command ended."""
    default_signals()
    kept = {0, 1, 2, pipes.out_write, pipes.err_write, pipes.report_write, exits}
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd not in kept:
            with contextlib.suppress(OSError):  # the one that listed the directory
                os.close(fd)
    try:
        kernel.die_with_parent(signal.SIGKILL, 0)  # a parent outside the namespace shows as 0 ...
        poll = select.poll()
        poll.register(exits, select.POLLERR)
        if poll.poll(0):  # ... so a supervisor that is gone already shows by the pipe that nobody reads
            os._exit(1)
        kernel.mount_own_proc()
    except OSError as error:
        os.write(pipes.report_write, f"{FATAL}\tnamespace\t{error.errno}\t{error}\n".encode())
        os._exit(1)
    main = os.fork()
    if main == 0:
        os.close(exits)
        become(command, pipes, 1)
    pipes.close_write_ends()
    while True:
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            os._exit(0)
        if pid == main:
            os.write(exits, f"{status} {usage.ru_maxrss}\n".encode())


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # ended, or a setuid program only root may signal
        os.kill(pid, number)


def start_tree(command: Command, cgroup: Cgroup, *, isolate: bool) -> tuple[Tree, Pipes]:
    """Start a job, in a namespace of its own where `isolate` asks for it and the host allows it. Raises StartError."""
    if isolate:
        isolated = IsolatedTree(command, cgroup)
        try:
            return isolated, isolated.start()
        except OSError:
            pass
    tree = Tree(command, cgroup)
    try:
        return tree, tree.start()
    except OSError as error:
        raise StartError(
            f"cannot start a process on this host: {error}; free memory or processes and try again"
        ) from error
