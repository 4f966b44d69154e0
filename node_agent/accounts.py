"""The Unix account of jobs: a name becomes numbers, once, before anything runs."""

import grp
import os
import pwd
from pathlib import Path

import structlog

from node_agent.errors import SettingsInvalid, StateUnusable

log = structlog.get_logger()

_ANYBODY_MAY_PASS = 0o011


def account_of_jobs(run_as: str) -> tuple[int, int] | None:
    """Return uid and gid of USER or USER:GROUP, names or numbers; None, the daemon's own account, for an empty text.

    Only root may become somebody else; any other daemon's own account is None too. Raises SettingsInvalid for an
    account that does not exist, or that this daemon may not become.
    """
    if not run_as:
        if os.geteuid() == 0:
            log.warning(
                "jobs.run_as_root",
                todo="whoever may submit jobs is root on this host: set run_as to an account without rights",
            )
        return None
    user, _, group = run_as.partition(":")
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        uid, own_gid = entry.pw_uid, entry.pw_gid
    except (KeyError, OverflowError) as error:
        if not (user.isdecimal() and group):
            raise _unknown(run_as, f"there is no user {user!r} here") from error
        uid, own_gid = int(user), 0
    try:
        gid = own_gid if not group else int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise _unknown(run_as, f"there is no group {group!r} here") from error
    if os.geteuid() not in (0, uid):
        raise SettingsInvalid(f"run_as is {run_as!r}, but only a daemon that runs as root can give jobs an account.")
    return (uid, gid) if os.geteuid() == 0 else None


def let_pass(state_dir: Path) -> None:
    """Let the jobs' account through to its working directories; nothing becomes readable. Raises StateUnusable."""
    try:
        state_dir.chmod(state_dir.stat().st_mode & 0o7777 | _ANYBODY_MAY_PASS)
    except OSError as error:
        raise StateUnusable(
            f"The state directory {state_dir} cannot be opened for the jobs' account: {error.strerror}."
        ) from error
    closed = [str(parent) for parent in state_dir.parents if not parent.stat().st_mode & 0o001]
    if closed:
        log.warning(
            "jobs.directory_closed",
            directories=closed,
            todo="jobs run as another account, which may not pass through these: put the state directory elsewhere",
        )


def _unknown(run_as: str, why: str) -> SettingsInvalid:
    return SettingsInvalid(f"run_as is {run_as!r}, but {why}: give USER or USER:GROUP, as names or numbers.")
