"""Runs the custom checks, each on its own period."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from node_agent.clock import Clock
from node_agent.probe.bounded.command import Commands, Finished
from node_agent.probe.bounded.text import printable, printable_bytes
from node_agent.probe.bounded.threads import DeadlineThreads, NoThread, Stuck
from node_agent.probe.custom.answer import AnswerInvalid, Finding, parse_answer
from node_agent.probe.custom.declaration import MAXIMUM_CHECKS, CustomCheck
from node_agent.probe.custom.trust import NotTrusted, trusted_executable
from node_agent.probe.host_checks.changes import Publisher
from node_agent.probe.observations import HostFinding, HostReport, Standing

log = structlog.get_logger()

_TRUST_DEADLINE_SECONDS: Final = 5.0
_MAXIMUM_GPUS_REMEMBERED: Final = 256


class CustomChecks:
    """Runs the checks that the configuration declares and hands on what they say."""

    def __init__(
        self,
        checks: Sequence[CustomCheck],
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._checks = tuple(checks)
        self._clock = clock
        self._sleep = sleep
        self._threads = DeadlineThreads(clock, maximum=2 * MAXIMUM_CHECKS)
        self._commands = Commands(clock, threads=self._threads)
        self._told: dict[str, set[str]] = {check.name: set() for check in self._checks}

    async def run(self, take: Callable[[Sequence[HostReport]], Awaitable[None]]) -> None:
        """Run each check again and again and hand on what changed, until cancelled."""
        publisher = Publisher(take)
        async with asyncio.TaskGroup() as group:
            for check in self._checks:
                group.create_task(self._repeat(check, publisher), name=f"custom check {check.name}")

    async def look_once(self) -> list[HostReport]:
        """Run all checks once, at the same time. Takes as long as the slowest."""
        looks = await asyncio.gather(*(self.look(check) for check in self._checks))
        return [report for look in looks for report in look]

    async def _repeat(self, check: CustomCheck, publisher: Publisher) -> None:
        while True:
            try:
                await publisher.publish(await self.look(check))
            except Exception as error:  # noqa: BLE001 - one odd check must not end the others
                log.error("custom_check.failed", check=check.name, error=repr(error))  # noqa: TRY400 - a trace for each run helps nobody
            await self._sleep(check.period_seconds)

    async def look(self, check: CustomCheck) -> list[HostReport]:
        """Run one check and return what it says, or UNKNOWN and why it says nothing."""
        try:
            findings = parse_answer(await self._output(check))
        except (NotTrusted, AnswerInvalid, _NoAnswer) as error:
            return [self._report(check, Finding(Standing.UNKNOWN, str(error)))]
        findings.setdefault("", Finding(Standing.GOOD, "answers"))  # ends what was said of a run that failed
        told = self._told[check.name]
        for gpu_uuid in told - findings.keys():
            findings[gpu_uuid] = Finding(Standing.GOOD, "not reported any more", gpu_uuid)
        if len(told) > _MAXIMUM_GPUS_REMEMBERED:
            told.clear()
        told.update(findings)
        return [self._report(check, finding) for finding in findings.values()]

    async def _output(self, check: CustomCheck) -> bytes:
        name, path = check.name, check.command[0]
        try:
            executable = await self._threads.call(
                f"trust {name}", lambda: trusted_executable(path), _TRUST_DEADLINE_SECONDS
            )
            finished = await self._commands.run(
                (executable, *check.command[1:]), key=f"custom {name}", timeout_seconds=check.timeout_seconds
            )
        except Stuck as stuck:
            raise _NoAnswer(f"it hangs in the kernel and cannot be killed: {stuck}") from stuck
        except NoThread as error:
            raise _NoAnswer(str(error)) from error
        except (OSError, ValueError) as error:
            raise _NoAnswer(f"it cannot be started: {error}") from error
        return _checked(finished, check)

    def _report(self, check: CustomCheck, finding: Finding) -> HostReport:
        subject = f"{check.name}/{finding.gpu_uuid}" if finding.gpu_uuid else check.name
        text = printable(finding.message) or finding.standing.value
        return HostReport(HostFinding.CUSTOM, subject, finding.standing, text, self._clock.now(), finding.gpu_uuid)


class _NoAnswer(Exception):
    """The check gave no answer that can be read; the message says why."""


def _checked(finished: Finished, check: CustomCheck) -> bytes:
    if finished.too_long:
        raise _NoAnswer("it printed more than 64 KiB and was killed")
    if finished.exit_code is None:
        raise _NoAnswer(f"it took longer than {check.timeout_seconds:g} s and was killed")
    if finished.exit_code != 0:
        how = f"signal {-finished.exit_code}" if finished.exit_code < 0 else f"exit code {finished.exit_code}"
        said = printable_bytes(finished.error, 200)
        raise _NoAnswer(f"it ended with {how}{': ' if said else ''}{said}")
    return finished.output
