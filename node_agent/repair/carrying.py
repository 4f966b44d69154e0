"""One repair from its preconditions to its verification, begun here or found half done."""

from typing import Final

import structlog

from node_agent.repair import processes
from node_agent.repair.errors import BadArgument, Interrupted, JournalUnusable, StepFailed, StillGoingOn
from node_agent.repair.model import RepairState, Step
from node_agent.repair.rungs import RUNGS, Precondition, RungWork
from node_agent.repair.text import printable
from node_agent.repair.toolbox import MARKER
from node_agent.repair.verify.verification import verify
from node_agent.repair.work import Work

log = structlog.get_logger()

MAXIMUM_RESUMES: Final = 5
"""Daemons that take a repair up; if they all die of it, it is not verified any more."""
_LEFTOVERS_PAUSE_SECONDS: Final = 0.2


async def carry_out(work: Work) -> None:
    """Carry out an order to its end, or to where the next daemon goes on.

    Raises JournalUnusable before anything is done if it cannot be recorded.
    """
    rung = RUNGS[work.order.rung]
    log.info("repair.begins", repair_id=work.order.id, rung=work.order.rung.name, reason=work.order.reason[:200])
    _hold(work, rung)
    try:
        await work.begin()
        broken = await _broken(work, rung)
        if broken:
            await work.end(RepairState.REFUSED, _joined(broken))
            return
        await _climb(work, rung)
    finally:
        work.parts.jobs.let_go()


async def finish(work: Work) -> None:
    """End a repair that another daemon began: wait for its last command, take back, judge by what can be seen.

    On a disk that refuses, what was stopped is still started again: that is harmless, and was recorded before.
    """
    rung = RUNGS.get(work.order.rung)
    log.warning("repair.found_unfinished", repair_id=work.order.id, rung=work.order.rung.name, step=work.entry.begun)
    if rung is None:
        await work.end(RepairState.FAILED, "it was cut off")
        return
    _hold(work, rung)
    try:
        recorded = await work.resumed()
        left = await _wait_for_leftovers(work)
        owed = await work.take_back()
        await _reacquire(work)
        if left or owed:
            await work.end(RepairState.FAILED, "; ".join((*left, *owed)))
            return
        if not recorded:
            await work.end(RepairState.FAILED, "it was cut off and taken back; not verified, for the disk refuses it")
            return
        if work.entry.resumes > MAXIMUM_RESUMES:
            await work.end(RepairState.FAILED, f"{work.entry.resumes} daemons have ended in its midst; not verified")
            return
        if work.record.state is RepairState.VERIFYING:
            await _verify(work, rung, "it was done; the verification was cut off and done again")
            return
        conclusion = await rung.conclude(work)
        if not conclusion.verify:
            await work.end(RepairState.FAILED, conclusion.message)
            return
        await _verify(work, rung, conclusion.message)
    except (Interrupted, StillGoingOn):
        return  # the next daemon goes on
    except (StepFailed, BadArgument, JournalUnusable) as error:
        await work.end(RepairState.FAILED, f"it was cut off, and then: {error}")
    finally:
        work.parts.jobs.let_go()


async def rehearse(work: Work) -> tuple[RepairState, str]:
    """Say what would be done and whether it could be, as steps of the record: preconditions, then what would be done.

    Changes nothing, and writes nothing. Returns how a dry run ends.
    """
    rung = RUNGS.get(work.order.rung)
    if rung is None:
        return RepairState.REFUSED, f"{work.order.rung.name} is not for the host to do: the control plane moves jobs"
    now = work.parts.clock.now()
    steps: list[Step] = []
    try:
        conditions = await rung.preconditions(work)
        steps += [Step(f"precondition: {found.name}", found.holds, found.detail, now, 0.0) for found in conditions]
        broken = [found for found in conditions if not found.holds]
        plan = [] if broken else await rung.plan(work)
        steps += [Step(f"would do: {what}", True, "not done: this is a dry run", now, 0.0) for what in plan]
    except (StepFailed, BadArgument, OSError) as error:
        return RepairState.REFUSED, f"it cannot be told: {error}"
    finally:
        work.replace_steps(steps)
    if broken:
        return RepairState.REFUSED, f"it could not be done: {_joined(broken)}"
    return RepairState.SUCCEEDED, "it could be done; nothing was done"


async def _broken(work: Work, rung: RungWork) -> list[Precondition]:
    try:
        return [found for found in await rung.preconditions(work) if not found.holds]
    except (StepFailed, BadArgument, OSError) as error:
        return [Precondition("the preconditions can be told", False, printable(str(error)))]


async def _climb(work: Work, rung: RungWork) -> None:
    work.deadline = work.parts.clock.monotonic() + rung.timeout_seconds
    failure = ""
    try:
        await work.note(state=RepairState.RUNNING)
        await rung.carry_out(work)
    except StillGoingOn:
        return  # a reboot: the daemon of the next boot ends it
    except (StepFailed, Interrupted, JournalUnusable, BadArgument) as error:
        failure = str(error)
    owed = await work.take_back()
    await _reacquire(work)
    if failure or owed:
        await work.end(RepairState.FAILED, "; ".join((*([failure] if failure else []), *owed)))
        return
    try:
        await _verify(work, rung, "done")
    except (Interrupted, StillGoingOn):
        return  # the next daemon verifies
    except JournalUnusable as error:
        await work.end(RepairState.FAILED, str(error))


async def _verify(work: Work, rung: RungWork, message: str) -> None:
    scope = rung.scope(work)
    if not scope.gpus and not scope.load:
        await work.end(RepairState.SUCCEEDED, message)
        return
    await work.note(state=RepairState.VERIFYING)
    good, found = await verify(work, scope)
    await work.end(RepairState.SUCCEEDED if good else RepairState.FAILED, f"{message}; {found}")


async def _wait_for_leftovers(work: Work) -> list[str]:
    """Wait for commands that the daemon before left running: to start a service in the midst of a reset harms both."""
    entry = f"{MARKER}={work.order.id}".encode()
    limit = work.parts.clock.monotonic() + work.parts.limits.leftovers_seconds
    released = False
    while left := await work.parts.look("commands left running", lambda: processes.with_environment(entry)):
        if work.parts.clock.monotonic() > limit:
            names = [f"{found.name} (pid {pid})" for pid in left if (found := processes.look(pid)) is not None]
            return [f"{', '.join(names)[:200]} of this repair does not end: it hangs in the kernel"] if names else []
        if not released:
            released = True
            await _release(work)  # probes that started meanwhile would make a reset fail
        await work.pause(_LEFTOVERS_PAUSE_SECONDS)
        if work.interrupted.is_set():
            raise Interrupted("the daemon is stopped while it waits for commands that were left running")
    return []


async def _release(work: Work) -> None:
    try:
        await work.parts.hardware.release()
    except Exception as error:  # noqa: BLE001 - a driver that hangs holds the probe too; what was stopped must start
        log.error("repair.not_released", repair_id=work.order.id, error=repr(error))  # noqa: TRY400 - the reason is whole


async def _reacquire(work: Work) -> None:
    try:
        await work.parts.hardware.reacquire()
    except (OSError, RuntimeError, ValueError) as error:
        log.error("repair.not_reacquired", repair_id=work.order.id, error=repr(error))  # noqa: TRY400 - the reason is whole


def _hold(work: Work, rung: RungWork) -> None:
    touched = rung.touched(work)
    if touched is None:
        work.parts.jobs.hold(())
    elif touched:
        work.parts.jobs.hold([gpu.uuid for gpu in touched])


def _joined(broken: list[Precondition]) -> str:
    return "; ".join(f"{found.name}: {found.detail}" for found in broken)
