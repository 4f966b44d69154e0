"""The life of one supervisor: detach, start the job, stand over it, write down how it ended, exit."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH105, PTH110, PTH118, PTH123
from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time

from node_agent.jobs import proc
from node_agent.jobs.records import MAX_PAYLOAD_BYTES, STDERR, STDOUT
from node_agent.jobs.supervisor.cgroups import Cgroup
from node_agent.jobs.supervisor.child import Command, Pipes, StartError
from node_agent.jobs.supervisor.fence import read_fence
from node_agent.jobs.supervisor.log_writer import LogWriter
from node_agent.jobs.supervisor.notices import Notifier
from node_agent.jobs.supervisor.plan import LOG_DIRECTORY, STATUS_FILE, STOP_FILE, SUPERVISOR_FILE, Plan
from node_agent.jobs.supervisor.status_writer import StatusWriter
from node_agent.jobs.supervisor.tree import Tree, start_tree

_TICK_SECONDS = 10.0  # fence, sign of life and postponed writes are looked after at least this often
_FIRST_TICK_SECONDS = 1.0
_KILL_AGAIN_SECONDS = 0.05
_STUCK_SECONDS = 30.0
_DRAIN_BYTES = 16 * 1024 * 1024  # after the job: what its pipes can still hold is far less
_LAST_WORDS_BYTES = 600
_SUPERVISOR_OOM_SCORE = "-900"


class Supervisor:
    """Stands over one job from its start to its last process."""

    def __init__(self, directory: str, plan: Plan) -> None:
        self._directory = directory
        self._plan = plan
        self._status = StatusWriter(directory)
        self._notifier = Notifier(plan.notice_socket, plan.name)
        self._log = LogWriter(os.path.join(directory, LOG_DIRECTORY), plan.log_segment_bytes, plan.log_segments)
        self._poll = select.poll()
        self._streams: dict[int, int] = {}
        self._stop_asked = False
        self._outcome: str | None = None
        self._terminate_at: float | None = None
        self._kill_at: float | None = None
        self._kill_since: float | None = None
        self._fence: float | None = None
        self._tick_at = 0.0
        self._started = 0.0
        self._last_words = b""
        self._waits: str | None = None
        self._runs = False
        self._cgroup = Cgroup({})
        self._tree: Tree | None = None
        self._wake_read = self._install_signals()

    def run(self) -> None:
        """Run the job to its end; everything that happens is in status.json and the log."""
        wake_read = self._wake_read
        self._status.update(state="starting")
        if (reason := self._reason_not_to_start()) is not None:
            self._end_without_start(*reason)
            return
        oom_before = proc.kernel_oom_kills()
        try:
            tree, pipes = self._start()
        except StartError as error:
            self._end_without_start("start_failed", str(error))
            return
        except OSError as error:
            self._end_without_start("start_failed", f"cannot start on this host: {error}; make room on its disk")
            return
        self._tree = tree
        self._tick_at = self._started + _FIRST_TICK_SECONDS
        self._watch(pipes, wake_read)
        self._look_whether_it_runs(
            tree,
            pid=tree.main_pid or None,
            init=tree.init,
            isolated=tree.isolated,
            limits_enforced=[*self._cgroup.enforced, *(["gpu_share"] if self._plan.gpu_share_enforced else [])],
            cgroups=list(self._cgroup.paths.values()),
        )
        while not tree.empty:
            self._step(tree, wake_read)
        self._drain()
        self._end(tree, oom_before)

    def _look_whether_it_runs(self, tree: Tree, **fields: object) -> None:
        """Note that the job runs, or what it waits for, where that has changed; `fields` go with it."""
        waits = tree.waits
        if waits is None:
            if self._waits is not None:
                self._started = proc.boottime_seconds()  # what it has waited is not what it has run
            self._waits, self._runs = None, True
            self._status.update(
                state="running", message="", started_at=time.time(), started_boottime=self._started, **fields
            )
            self._notifier.status()
        elif waits != self._waits:
            self._waits = waits
            self._status.update(state="starting", message=waits, **fields)
            self._notifier.status()

    def _install_signals(self) -> int:
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        return wake_read

    def _on_stop(self, _number: int, _frame: object) -> None:
        self._stop_asked = True

    def _reason_not_to_start(self) -> tuple[str, str] | None:
        if self._stop_asked or os.path.exists(os.path.join(self._directory, STOP_FILE)):
            return "stopped", "stopped before it started"
        self._read_fence()
        if self._fence is not None and proc.boottime_seconds() >= self._fence:
            return "fenced", "this host had lost its control plane before the job started"
        return None

    def _start(self) -> tuple[Tree, Pipes]:
        plan = self._plan
        if plan.cgroup_parent is not None and plan.container is None and plan.site is None:
            self._cgroup = Cgroup.create(plan.cgroup_parent, plan.name, plan.limits)
        command = Command(plan.argv, plan.env, plan.cwd, plan.user, self._cgroup.join_files())
        self._started = proc.boottime_seconds()
        if plan.site is not None:
            # Only jobs elsewhere pay for loading what they need.
            from node_agent.jobs.supervisor.site_tree import SiteTree  # noqa: PLC0415

            site = SiteTree(command, plan.site, self._directory)
            return site, site.start()
        if plan.container is None:
            return start_tree(command, self._cgroup, isolate=plan.isolate)
        # Only containers pay for loading what containers need.
        from node_agent.jobs.supervisor.container_tree import ContainerTree  # noqa: PLC0415

        tree = ContainerTree(command, plan.container)
        return tree, tree.start()

    def _watch(self, pipes: Pipes, wake_read: int) -> None:
        self._streams = {pipes.out_read: STDOUT, pipes.err_read: STDERR}
        for fd in self._streams:
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)
        self._poll.register(wake_read, select.POLLIN)
        if self._tree is not None and self._tree.wake_fd is not None:
            self._poll.register(self._tree.wake_fd, select.POLLIN)

    def _step(self, tree: Tree, wake_read: int) -> None:
        ready = self._poll.poll(self._next_wakeup(tree) * 1000)
        for fd, _ in ready:
            if fd in self._streams:
                self._pump(fd)
            elif fd == wake_read:
                while _read_or_none(wake_read, 4096):
                    pass
        tree.reap()
        if tree.wake_fd is not None and tree.exit_status is not None:
            self._unregister(tree.wake_fd)
        self._look_after_time(tree)

    def _next_wakeup(self, tree: Tree) -> float:
        now = proc.boottime_seconds()
        waits = [self._tick_at - now]
        if (notice := self._notifier.flush()) is not None:
            waits.append(notice)
        if self._kill_since is not None or (tree.exit_status is not None and self._outcome is None):
            waits.append(_KILL_AGAIN_SECONDS)
        elif self._kill_at is not None:
            waits.append(min(self._kill_at, self._terminate_at or self._kill_at, self._fence or self._kill_at) - now)
        else:
            if self._stop_asked:
                waits.append(0.0)
            if not self._runs:
                waits.append(_FIRST_TICK_SECONDS)
            elif self._plan.max_runtime_seconds is not None:
                waits.append(self._started + self._plan.max_runtime_seconds - now)
            if self._fence is not None:
                waits.append(self._fence - now)
        return max(0.0, min(waits)) + 0.001  # poll counts whole milliseconds; do not wake just before the time

    def _look_after_time(self, tree: Tree) -> None:
        now = proc.boottime_seconds()
        plan = self._plan
        if self._fence is not None and now >= self._fence:
            self._read_fence()
        if not self._runs and self._outcome is None:
            self._look_whether_it_runs(tree)
        if now >= self._tick_at:
            self._tick_at = now + _TICK_SECONDS
            self._read_fence()
            self._sign_of_life(tree)
        if tree.exit_status is not None and self._outcome is None:
            self._kill(tree, now)  # what the main process leaves behind has no claim to go on
        elif self._outcome is None and self._stop_asked:
            self._begin_stop(tree, "stopped", self._stop_grace_seconds(), "", checkpoint=True)
        elif self._outcome is None and self._has_run_its_time(now):
            text = f"ran for its maximum of {plan.max_runtime_seconds:g} s"
            self._begin_stop(tree, "timed_out", plan.stop_grace_seconds, text, checkpoint=True)
        elif self._outcome is None and self._fence is not None and now >= self._fence:
            text = "this host lost its control plane for longer than the fence allows"
            self._begin_stop(tree, "fenced", min(plan.fence_grace_seconds, plan.stop_grace_seconds), text)
        elif self._kill_at is not None:
            self._go_on_stopping(tree, now)

    def _begin_stop(
        self, tree: Tree, outcome: str, grace_seconds: float, message: str, *, checkpoint: bool = False
    ) -> None:
        """Ask the job to end: at once, or once it has had its time for a checkpoint, if it listens for the signal."""
        self._outcome = outcome
        now = proc.boottime_seconds()
        plan = self._plan
        waits = checkpoint and plan.checkpoint_signal > 0 and tree.checkpoint(plan.checkpoint_signal)
        self._terminate_at = now + (plan.checkpoint_seconds if waits else 0.0)
        self._kill_at = self._terminate_at + grace_seconds
        if waits:
            message = message or f"asked for a checkpoint; it has {plan.checkpoint_seconds:g} s"
        else:
            self._terminate(tree, now)
        self._status.update(state="stopping", outcome=outcome, message=message)
        self._notifier.status()

    def _terminate(self, tree: Tree, now: float) -> None:
        self._terminate_at = None
        tree.terminate(max(0.0, self._kill_at - now) if self._kill_at is not None else 0.0)

    def _has_run_its_time(self, now: float) -> bool:
        limit = self._plan.max_runtime_seconds
        return self._runs and limit is not None and now >= self._started + limit

    def _go_on_stopping(self, tree: Tree, now: float) -> None:
        """Send SIGTERM after the checkpoint, and SIGKILL after the grace; neither may last beyond the fence."""
        assert self._kill_at is not None
        if self._fence is not None and now >= self._fence:
            self._kill_at = min(self._kill_at, self._fence + self._plan.fence_grace_seconds)
            self._terminate_at = None if self._terminate_at is None else now
            self._fence = None
        if self._terminate_at is not None and (now >= self._terminate_at or tree.exit_status is not None):
            self._kill_at -= max(0.0, self._terminate_at - now)
            self._terminate(tree, now)
        if now >= self._kill_at:
            self._kill(tree, now)

    def _kill(self, tree: Tree, now: float) -> None:
        if self._kill_since is None:
            self._kill_since = now
        tree.kill()
        if now - self._kill_since > _STUCK_SECONDS and "stuck" not in self._status.fields:
            self._status.update(
                state="stopping",
                stuck=True,
                message="SIGKILL has no effect on some of the job's processes: the kernel or a driver holds them; "
                "restart the host if they do not go",
            )
            self._notifier.status()

    def _stop_grace_seconds(self) -> float:
        try:
            with open(os.path.join(self._directory, STOP_FILE), encoding="ascii") as file:
                return max(0.0, float(file.read()))
        except (OSError, ValueError):
            return self._plan.stop_grace_seconds

    def _read_fence(self) -> None:
        found = read_fence(self._plan.fence_file, self._plan.boot_id)
        self._fence = found if found is not None else self._fence

    def _sign_of_life(self, tree: Tree) -> None:
        """Leave a mark from which a later daemon can tell how long the job ran, should this process be killed."""
        tree.sample()
        with contextlib.suppress(OSError):
            os.utime(os.path.join(self._directory, SUPERVISOR_FILE))
        if self._status.pending:
            self._status.update()
            self._notifier.status()

    def _pump(self, fd: int) -> int:
        data = _read_or_none(fd, MAX_PAYLOAD_BYTES)
        if data is None:
            return 0
        if not data:
            self._unregister(fd)
            del self._streams[fd]
            return 0
        self._log.append(self._streams[fd], data)
        if self._streams[fd] == STDERR:
            self._last_words = (self._last_words + data)[-_LAST_WORDS_BYTES:]
        self._notifier.log()
        return len(data)

    def _unregister(self, fd: int) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(fd)

    def _drain(self) -> None:
        left = _DRAIN_BYTES
        while left > 0:
            took = sum(self._pump(fd) for fd in list(self._streams))
            if took == 0:
                break
            left -= took
        self._log.close()

    def _end(self, tree: Tree, oom_before: int) -> None:
        code = os.waitstatus_to_exitcode(tree.exit_status) if tree.exit_status is not None else None
        signal_number = -code if code is not None and code < 0 else None
        exit_code = code if signal_number is None else None
        killed_by_others = signal_number == signal.SIGKILL and self._outcome is None
        oom = self._cgroup.oom_kills() > 0 or tree.oom_killed
        if not self._cgroup.paths and killed_by_others:
            oom = oom or proc.kernel_oom_kills() > oom_before
        outcome, message = self._outcome, str(self._status.fields.get("message", ""))
        if outcome is None:
            failure = tree.start_failure(exit_code, self._last_words.decode(errors="replace").strip())
            if tree.verdict is not None:
                outcome, message = tree.verdict
            elif failure is not None:
                outcome, message = "start_failed", failure
            elif oom and code != 0:
                outcome, message = "oom_killed", self._oom_message()
            else:
                outcome = "exited" if signal_number is None else "signaled"
        peak = self._cgroup.peak_memory_bytes() or tree.peak_memory_bytes or tree.max_rss_bytes or None
        self._finish(
            outcome,
            message,
            exit_code=exit_code,
            signal=signal_number,
            oom_killed=oom,
            peak_memory_bytes=peak,
            runtime_seconds=max(0.0, proc.boottime_seconds() - self._started) if self._runs else 0.0,
        )

    def _oom_message(self) -> str:
        limit = self._plan.limits.get("memory_bytes")
        if limit and "memory" in self._cgroup.enforced:
            return f"killed for using more than its {limit} bytes of memory; ask for more or use less"
        return "killed by the kernel because the host ran out of memory; ask for more or use less"

    def refuse(self, message: str) -> None:
        """End the member before anything is started."""
        self._end_without_start("start_failed", message)

    def _end_without_start(self, outcome: str, message: str) -> None:
        self._finish(outcome, message, runtime_seconds=0.0)

    def _finish(self, outcome: str, message: str, **fields: object) -> None:
        self._cgroup.remove()
        self._status.finish(
            state="ended",
            outcome=outcome,
            message=message,
            ended_at=time.time(),
            log_bytes=self._log.offset,
            log_dropped_bytes=self._log.dropped_bytes,
            **fields,
        )
        self._notifier.status()


def _read_or_none(fd: int, limit: int) -> bytes | None:
    """Return what can be read now, b"" at the end, None when there is nothing at the moment."""
    try:
        return os.read(fd, limit)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _detach() -> int:
    """Continue in a child that nobody waits for; return the pipe to close once the child can be found on disk."""
    ready_read, ready_write = os.pipe()
    if os.fork() != 0:
        os.close(ready_write)
        os.read(ready_read, 1)
        os._exit(0)
    os.close(ready_read)
    return ready_write


def _introduce(directory: str) -> None:
    """Write down who this process is, whole and before anything is started."""
    path = os.path.join(directory, SUPERVISOR_FILE)
    pid = os.getpid()
    with open(path + ".draft", "w", encoding="ascii") as file:
        json.dump({"pid": pid, "start_time": proc.start_time(pid), "boot_id": proc.boot_id()}, file)
    os.replace(path + ".draft", path)


def main(directory: str, lock_fd: int) -> None:
    """Supervise the job in `directory`; `lock_fd` holds the directory's lock for as long as this process lives."""
    ready = _detach()
    os.set_inheritable(lock_fd, False)
    if os.path.exists(os.path.join(directory, STATUS_FILE)):
        return  # whoever was here before has run or buried this job; nothing runs twice
    plan = Plan(directory)
    supervisor = Supervisor(directory, plan)  # takes stop signals from here on, so it may be found from here on
    try:
        _introduce(directory)
    except OSError as error:
        supervisor.refuse(f"cannot start on this host: {error}; make room on its disk")
        return
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(_SUPERVISOR_OOM_SCORE)
    except OSError:
        pass
    os.close(ready)
    supervisor.run()
