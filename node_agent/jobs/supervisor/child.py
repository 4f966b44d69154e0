"""Turning a forked child into the job's first process."""

from __future__ import annotations

import contextlib
import os
import signal

from node_agent.jobs.supervisor import kernel

WARNING = "W"
FATAL = "F"
_JOB_OOM_SCORE = "300"  # when the host runs out of memory, the kernel takes a job before the daemon or sshd


class StartError(Exception):
    """The job's command could not be started; the text says what to do."""


class Command:
    """What to run: `argv`, `env`, `cwd`, `user` ((uid, gid) or None) and the cgroup files to enter."""

    def __init__(
        self,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        user: tuple[int, int] | None,
        join_files: list[tuple[str, str]],
    ) -> None:
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.user = user
        self.join_files = join_files


class Pipes:
    """The ends that a child inherits: its standard output, its standard error, and where it reports trouble."""

    def __init__(self) -> None:
        self.out_read, self.out_write = os.pipe()
        self.err_read, self.err_write = os.pipe()
        self.report_read, self.report_write = os.pipe()

    def close_write_ends(self) -> None:
        """Close the child's ends in a process that is not the child."""
        for fd in (self.out_write, self.err_write, self.report_write):
            os.close(fd)

    def read_report(self) -> list[list[str]]:
        """Wait until the child has become the job's command, or failed to; return its report, a list of words each."""
        text = b""
        while data := os.read(self.report_read, 4096):
            text += data
        os.close(self.report_read)
        return [line.split("\t") for line in text.decode("utf-8", "replace").splitlines()]


def default_signals() -> None:
    """Undo what Python and the supervisor did to signals, so that the job starts from the system's defaults."""
    signal.set_wakeup_fd(-1)
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            continue  # SIGKILL, SIGSTOP and those that the C library keeps
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def become(command: Command, pipes: Pipes, parent_pid: int) -> None:
    """Replace this process by the job's command. Never returns; trouble goes to the report pipe."""
    stage = "prepare"
    try:
        for controller, file in command.join_files:
            try:
                _write(file, "0")
            except OSError:
                os.write(pipes.report_write, f"{WARNING}\t{controller}\n".encode())
        os.setsid()
        default_signals()
        with contextlib.suppress(OSError):
            _write("/proc/self/oom_score_adj", _JOB_OOM_SCORE)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (pipes.out_write, 1), (pipes.err_write, 2)):
            os.dup2(source, target)
        stage = "user"
        if command.user is not None:
            os.setgroups([])
            os.setgid(command.user[1])
            os.setuid(command.user[0])
        kernel.die_with_parent(signal.SIGKILL, parent_pid)
        stage = "cwd"
        os.chdir(command.cwd)
        stage = "exec"
        os.execvpe(command.argv[0], command.argv, command.env)  # noqa: S606 - no shell but the user's own
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must reach the supervisor and not unwind into its code
        number = error.errno if isinstance(error, OSError) else 0
        os.write(pipes.report_write, f"{FATAL}\t{stage}\t{number}\t{error}\n".encode(errors="replace"))
    finally:
        os._exit(127)


def explain(command: Command, stage: str, number: str, text: str) -> StartError:
    """Turn a child's report into an error that says what to do."""
    reason = os.strerror(int(number)) if number != "0" else text
    if stage == "cwd":
        return StartError(
            f"cannot enter the working directory {command.cwd}: {reason}; create it on this host or leave it out"
        )
    if stage == "user":
        return StartError(f"cannot become user {command.user}: {reason}; run the daemon as root or leave run_as unset")
    if stage == "exec":
        path = command.env.get("PATH", os.defpath)
        where = "" if "/" in command.argv[0] else f" (searched {path})"
        return StartError(
            f"cannot run {command.argv[0]!r}{where}: {reason}; install it on this host or give its full path"
        )
    return StartError(f"cannot start the job's process ({stage}): {reason}")


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
