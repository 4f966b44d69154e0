"""The few Linux calls that Python 3.11 does not offer, through the C library."""

from __future__ import annotations

import ctypes
import os

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNS = 0x00020000
_CLONE_NEWPID = 0x20000000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000
_MS_NOSUID_NODEV_NOEXEC = 0x2 | 0x4 | 0x8

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def die_with_parent(signal_number: int, parent_pid: int) -> None:
    """Have the kernel send this process a signal when the thread that forked it ends; exit if that happened already."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0))
    if os.getppid() != parent_pid:
        os._exit(1)


def become_subreaper() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def new_pid_namespace_for_children() -> None:
    """Put the next child at the head of a process namespace of its own: when it dies, all in it die.

    Raises OSError where the host does not allow it.
    """
    _check(_libc.unshare(_CLONE_NEWPID))


def own_pid_namespace_for_children() -> None:
    """Undo new_pid_namespace_for_children for children to come."""
    fd = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(fd, _CLONE_NEWPID))
    finally:
        os.close(fd)


def mount_own_proc() -> None:
    """Give this process and its children a /proc that shows their own process namespace, and nobody else one."""
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None))
    _check(_libc.mount(b"proc", b"/proc", b"proc", _MS_NOSUID_NODEV_NOEXEC, None))
