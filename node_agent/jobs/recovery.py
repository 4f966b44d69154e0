"""After a supervisor died without a word: leave no process of its job behind, then write down what is known."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from node_agent.jobs import proc
from node_agent.jobs.directory import SUPERVISOR_CODE, MemberDirectory
from node_agent.jobs.environment import STATE_MARKER, cgroup_name, is_anothers, is_marked, state_mark
from node_agent.jobs.spec import MemberKey
from node_agent.jobs.status import Outcome
from node_agent.jobs.supervisor.cgroups import Cgroup

log = structlog.get_logger()

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 2.0
_ENGINE_TIMEOUT_SECONDS = 70.0  # a client makes two calls of its engine at most, of 30 s each
_FIRST_ENGINE_PAUSE_SECONDS = 0.5
_LONGEST_ENGINE_PAUSE_SECONDS = 30.0


async def recover(
    directory: MemberDirectory, *, now: datetime, watched: bool, ordered: Callable[[], Awaitable[None]] | None = None
) -> dict[str, Any]:
    """Kill what is left of a member and bury it; return its last status.

    Returns only when no process of the job is left, however long a driver holds one or an engine of the site is away:
    by then the job may be started elsewhere. `watched` says that the supervisor was seen to die just now, so that the
    job's end is known. `ordered` waits for orders of a control plane: before that, what an engine runs is not ended if
    it was handed over under another boot, for then this host may be a copy of the one that follows it. Raises
    LockedError when the supervisor lives.
    """
    document = await asyncio.to_thread(directory.read_document)
    plan = document["plan"]
    same_boot = plan["boot_id"] == proc.boot_id()
    last_sign = directory.last_sign_of_life()
    if plan["container"] is not None:
        await asyncio.to_thread(_call, plan, plan["container"], ("kill", "remove"))  # removing alone gives it time
    killed_any = await _kill_all(directory, plan) if same_boot else False
    if plan.get("site") is not None:  # after its client is dead, which might be submitting the job just now
        if ordered is not None and not same_boot:
            await ordered()
        await _end_elsewhere(plan)
    status = directory.read_status() or {}
    started_at = status.get("started_at")
    ended_at = now.timestamp() if killed_any or watched else last_sign
    fields: dict[str, Any] = {
        "outcome": Outcome.SUPERVISOR_LOST.value,
        "message": _message(directory, started=started_at is not None, same_boot=same_boot),
        "ended_at": ended_at,
        "runtime_seconds": max(0.0, ended_at - started_at) if started_at is not None else 0.0,
    }
    if same_boot and plan["cgroup_parent"] is not None:
        group = _cgroups(directory, plan)
        fields["peak_memory_bytes"] = group.peak_memory_bytes()
        await asyncio.to_thread(group.remove)
    return await asyncio.to_thread(directory.bury, fields)


async def destroy(directory: MemberDirectory, name: str, cgroup_parent: str | None) -> None:
    """Kill a member whose specification cannot be read, its supervisor first; nothing of it is left afterwards."""
    supervisor = directory.read_supervisor()
    if supervisor is not None and supervisor.alive:
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            os.kill(supervisor.pid, signal.SIGKILL)
    await _clear(directory, name, cgroup_parent)


def orphans(jobs_dir: Path, known: Collection[MemberKey]) -> dict[MemberKey, int]:
    """Return the supervisors, by process id, that stand over members whose directories were deleted."""
    found = {}
    for pid in proc.all_pids():
        arguments = proc.own_arguments(pid)
        if SUPERVISOR_CODE not in arguments:
            continue
        path = Path(arguments[arguments.index(SUPERVISOR_CODE) + 1])
        key = MemberKey.parse(path.name)
        if path.parent == jobs_dir and key is not None and key not in known:
            found[key] = pid
    return found


async def destroy_orphan(pid: int, jobs_dir: Path, key: MemberKey, cgroup_parent: str | None) -> None:
    """Kill such a supervisor and all of its job: nobody else would ever stop it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    await destroy_left(jobs_dir, key, cgroup_parent)


async def destroy_left(jobs_dir: Path, key: MemberKey, cgroup_parent: str | None) -> None:
    """Kill what is left of a member on this host whose supervisor is dead and whose directory is gone."""
    await _clear(MemberDirectory(jobs_dir / str(key)), str(key), cgroup_parent)


def _message(directory: MemberDirectory, *, started: bool, same_boot: bool) -> str:
    if not same_boot:
        return "the host restarted while the job ran; run it again"
    trace = directory.error_tail()
    what = "the job's supervisor was killed" if started else "the job's supervisor died before the job started"
    return f"{what}; the job's processes were killed with it, run it again" + (
        f". Its last words: {trace}" if trace else ""
    )


async def _clear(directory: MemberDirectory, name: str, cgroup_parent: str | None) -> None:
    """Leave nothing of a member of which no plan is left, whether this daemon or an older one has started it."""
    older = {"name": name, "cgroup_parent": cgroup_parent}
    for plan in ({**older, "cgroup_name": cgroup_name(name, directory.path.parent)}, older):
        await _kill_all(directory, plan)
        await asyncio.to_thread(_cgroups(directory, plan).remove)


async def _kill_all(directory: MemberDirectory, plan: dict[str, Any]) -> bool:
    """Kill until nothing is left; say whether anything was."""
    pause = _FIRST_PAUSE_SECONDS
    killed_any = False
    while await asyncio.to_thread(_kill_once, directory, plan):
        killed_any = True
        await asyncio.sleep(pause)
        pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
    return killed_any


def _kill_once(directory: MemberDirectory, plan: dict[str, Any]) -> bool:
    found: set[int] = set()
    group = _cgroups(directory, plan)
    group.kill()
    found |= {pid for pid in group.pids() if proc.start_time(pid) is not None}
    init = (directory.read_status() or {}).get("init")
    if init is not None and proc.is_alive(init[0], init[1]):
        found.add(init[0])
    mark = _mark(directory, plan)
    for pid in proc.all_pids():
        if pid in found or not is_marked(proc.environment_entries(pid), plan["name"], mark):
            continue
        if proc.start_time(pid) is not None:
            found.add(pid)
    found -= {os.getpid(), 0}  # a daemon started from within a job would carry its mark
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    return bool(found)


def _cgroups(directory: MemberDirectory, plan: dict[str, Any]) -> Cgroup:
    """Return what is left of a member's cgroups.

    Older daemons called them by the member's name alone: those of one host could share them, and what another one's
    processes are in is not returned.
    """
    if plan["cgroup_parent"] is None:
        return Cgroup({})
    if "cgroup_name" in plan:
        return Cgroup.find(plan["cgroup_parent"], plan["cgroup_name"])
    group = Cgroup.find(plan["cgroup_parent"], plan["name"])
    mark = _mark(directory, plan)
    shared = any(is_anothers(proc.environment_entries(pid), plan["name"], mark) for pid in group.pids())
    return Cgroup({}) if shared else group


def _mark(directory: MemberDirectory, plan: dict[str, Any]) -> str:
    return plan.get("env", {}).get(STATE_MARKER) or state_mark(directory.path.parent)


async def _end_elsewhere(plan: dict[str, Any]) -> None:
    """Have the engine of the site end the job; ask until it has taken that."""
    pause = _FIRST_ENGINE_PAUSE_SECONDS
    while not await asyncio.to_thread(_call, plan, plan["site"], ("kill",)):
        log.warning("job.engine_away", member=plan["name"], todo="see that the site's engine answers: it runs there")
        await asyncio.sleep(pause)
        pause = min(_LONGEST_ENGINE_PAUSE_SECONDS, pause * 2)


def _call(plan: dict[str, Any], calls: Mapping[str, list[str]], names: Collection[str]) -> bool:
    """Make calls of an engine's client; say whether all went well."""
    well = True
    for name in names:
        try:
            done = subprocess.run(
                calls[name],
                env=plan["env"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_ENGINE_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            well = False  # what the engine cannot remove, the search for the job's processes below still finds
        else:
            well = well and done.returncode == 0
    return well
