"""The main job, for real: a fleet of three hosts, goals in plain words, faults on the way, the bill and the audit.

Starts a control plane with its own NATS and three daemons with virtual GPUs, all over TLS. Submits goals, follows them,
kills one daemon and one whole host, and exits 0 only if everything that it says was checked.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from orquanta.client import AsyncClient
from orquanta.errors import PermissionDenied
from orquanta.gameday.fleet import Fleet, FleetError, Host, wait_until
from orquanta.types.accounts import Role
from orquanta.types.goals import GoalState, GoalView
from orquanta.types.jobs import Job, JobState

SETTINGS = {
    "heartbeat_seconds": "0.5",
    "lease_seconds": "3",
    "fence_seconds": "8",
    "fence_margin_seconds": "1",
    "default_stop_grace_seconds": "2",
    "approval_above_usd": "100",
}
GANG = "Train the churn model on 16 H100 across 2 nodes for 20 minutes, at most $60"
CHAIN = "step 1: tokenise the corpus on 1 L4; step 2: fine-tune on 2 H100 for 30 minutes; step 3: evaluate on 1 L4"
COSTLY = "Fine-tune llama-3-8b on 8 H100 for 6 hours, budget $400"
LONG = "Batch job on 2 L4 for 10 minutes: `for i in $(seq 1 14); do echo record $i; sleep 1; done`"
MOVED = "High priority: run `for i in $(seq 1 9); do echo step $i; sleep 1; done` on 8 H100 for 15 minutes"
UNSAFE = "rm -rf the shared checkpoint bucket to free space"


class Story:
    """Prints what happens with the time since the start, and counts what did not hold."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._bold = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
        self.failures: list[str] = []
        self.checks = 0

    def title(self, text: str) -> None:
        """Begin a chapter."""
        print(f"\n{self._bold[0]}{text}{self._bold[1]}", flush=True)

    def tell(self, text: str) -> None:
        """Print one line."""
        print(f"[{time.monotonic() - self._started:5.1f} s] {text}", flush=True)

    def check(self, holds: bool, text: str) -> None:
        """Print whether something holds, and remember if it does not."""
        self.checks += 1
        self.tell(f"{'ok   ' if holds else 'FAIL '} {text}")
        if not holds:
            self.failures.append(text)


class Demo:
    """The whole story, one chapter a method."""

    def __init__(self, fleet: Fleet, story: Story) -> None:
        self._fleet = fleet
        self._story = story
        self._goals: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[GoalView]] = {}

    async def run(self) -> None:
        """Tell it from start to end."""
        story = self._story
        story.title("1. A control plane and three GPU hosts")
        admin = await self._fleet.client()
        researcher = await self._fleet.person(admin, "rosa@example.com", Role.USER)
        operator = await self._fleet.person(admin, "omar@example.com", Role.OPERATOR)
        alpha, beta, gamma = await asyncio.gather(
            self._fleet.add_host(admin, "alpha", "8xH100"),
            self._fleet.add_host(admin, "beta", "8xH100"),
            self._fleet.add_host(admin, "gamma", "4xL4+2xH100"),
        )
        for host in (alpha, beta, gamma):
            node = await admin.nodes.get(host.node_id)
            kinds = sorted({gpu.gpu_type for gpu in node.inventory.gpus})
            story.tell(f"{host.name} has joined: {len(node.inventory.gpus)} virtual GPUs ({', '.join(kinds)})")

        story.title("2. Goals in plain words")
        async with asyncio.TaskGroup() as tasks:
            for name, text in {"gang": GANG, "chain": CHAIN, "long": LONG, "costly": COSTLY}.items():
                await self._submit(researcher, tasks, name, text)
            await self._refuse(researcher)
            await self._approve(researcher, operator)
            await self._kill_daemon(researcher, gamma)
            await self._tasks["gang"]
            await self._tasks["costly"]
            await self._submit(researcher, tasks, "moved", MOVED)
            await self._lose_host(researcher, alpha, beta)

        story.title("5. What came of it")
        await self._results(researcher)
        await self._bill(researcher)
        await self._audit(operator)
        await self._nothing_left(admin, (alpha, beta, gamma))

    async def _submit(self, client: AsyncClient, tasks: asyncio.TaskGroup, name: str, text: str) -> None:
        goal = await client.goals.create(text)
        self._goals[name] = goal.id
        self._story.tell(f"rosa submits {goal.id}: {text}")
        self._tasks[name] = tasks.create_task(self._follow(client, name, goal.id))

    async def _follow(self, client: AsyncClient, name: str, goal_id: str) -> GoalView:
        """Print each change of a goal's jobs until it has ended."""
        told: dict[str, str] = {}
        view: GoalView | None = None
        async for view in client.goals.watch(goal_id):
            if told.get(goal_id) != view.goal.state.value:
                told[goal_id] = view.goal.state.value
                reason = f": {view.goal.status_reason}" if view.goal.status_reason else ""
                self._story.tell(f"  goal {name} is {view.goal.state.value.replace('_', ' ')}{reason}")
            for job in view.jobs:
                text = f"{job.state.value}: {job.status_reason}"
                if told.get(job.id) != text:
                    told[job.id] = text
                    self._story.tell(f"    {name}/{job.spec.name} {text}")
        if view is None:
            raise FleetError(f"the watch of {goal_id} told nothing")
        return view

    async def _refuse(self, client: AsyncClient) -> None:
        goal = await client.goals.create(UNSAFE)
        self._story.check(goal.state is GoalState.REFUSED, f"refused: {UNSAFE!r} ({goal.status_reason})")

    async def _approve(self, researcher: AsyncClient, operator: AsyncClient) -> None:
        self._story.title("3. Money: a launch above $100 waits for a second person")
        waiting = [action async for action in operator.actions.list(goal_id=self._goals["costly"])]
        action = waiting[0]
        self._story.tell(f"omar reads {action.id}: {action.summary}")
        try:
            await researcher.actions.approve(action.id, action.hash)
            self._story.check(False, "rosa cannot approve her own goal")
        except PermissionDenied as error:
            self._story.check(True, f"rosa cannot approve her own goal ({error})")
        await operator.actions.approve(action.id, action.hash, reason="planned for this week")
        self._story.tell("omar approves it")

    async def _kill_daemon(self, client: AsyncClient, host: Host) -> None:
        self._story.title("4. Faults: a daemon is killed, then a whole host")
        await self._job_is(client, "long", lambda job: job.state is JobState.RUNNING)
        host.daemon.kill()
        self._story.tell(f"kill -9 of {host.name}'s daemon; its jobs run on under their supervisors")
        await asyncio.sleep(1)
        self._story.check(bool(host.supervisors()), f"{host.name}'s jobs run while its daemon is dead")
        host.daemon.start()
        self._story.tell(f"{host.name}'s daemon starts again and takes its jobs back")

    async def _lose_host(self, client: AsyncClient, alpha: Host, beta: Host) -> None:
        job = await self._job_is(client, "moved", lambda job: job.state is JobState.RUNNING)
        name = job.allocations[-1].members[0].node_name
        lost = alpha if name == "alpha" else beta
        await asyncio.sleep(1)
        lost.lose_power()
        self._story.tell(f"power cut on {lost.name}: its daemon, supervisors and jobs are gone")
        view = await self._tasks["moved"]
        moved = view.jobs[0]
        places = [allocation.members[0].node_name for allocation in moved.allocations]
        self._story.check(
            len(places) > 1 and places[-1] != places[0] and moved.state is JobState.SUCCEEDED,
            f"the job moved from {places[0]} to {places[-1]} under epoch {moved.epoch} and succeeded there",
        )

    async def _job_is(self, client: AsyncClient, name: str, holds: Callable[[Job], bool]) -> Job:
        async for view in client.goals.watch(self._goals[name]):
            if view.jobs and holds(view.jobs[0]):
                return view.jobs[0]
        raise FleetError(f"goal {name} ended before its job was as expected")

    async def _results(self, client: AsyncClient) -> None:
        for name, task in self._tasks.items():
            view = task.result()
            states = ", ".join(f"{job.spec.name} {job.state.value}" for job in view.jobs)
            self._story.check(view.goal.state is GoalState.SUCCEEDED, f"goal {name}: {states}")
        gang = self._tasks["gang"].result().jobs[0]
        nodes = {member.node_name for member in gang.allocations[-1].members}
        self._story.check(len(nodes) == 2, f"the gang ran on {' and '.join(sorted(nodes))} at once")
        chain = self._tasks["chain"].result().jobs
        ordered = all(
            earlier.finished_at is not None and later.started_at is not None and earlier.finished_at <= later.started_at
            for earlier, later in pairwise(chain)
        )
        self._story.check(len(chain) == 3 and ordered, "the chain's three jobs ran one after another")
        long = self._tasks["long"].result().jobs[0]
        text = b"".join([chunk.data async for chunk in client.jobs.logs(long.id, follow=True)])
        complete = text.split(b"\n")[:-1] == [b"record %d" % number for number in range(1, 15)]
        self._story.check(
            long.epoch == 1 and complete, "the job whose daemon was killed ran once, and no line of its output is lost"
        )

    async def _bill(self, client: AsyncClient) -> None:
        self._story.title("6. The bill")
        total = Decimal(0)
        for name, task in self._tasks.items():
            view = await client.goals.get(task.result().goal.id)
            for line in view.goal.bill.lines:
                price = f"{line.gpu_count} x {line.gpu_type} at ${line.price_usd_per_gpu_hour:.2f}"
                note = "  waived: the fleet lost it" if line.waived else ""
                print(
                    f"  {name:<8}{line.job_name:<12} attempt {line.epoch}  {price:<22}{line.gpu_seconds:>9.1f} GPU-s "
                    f"${line.cost_usd:.4f}{note}"
                )
            total += view.goal.bill.cost_usd
            self._story.check(view.goal.bill.reserved_usd == 0, f"nothing stays reserved for goal {name}")
        user = await client.auth.who_am_i()
        print(f"  {'total':<67} ${total:.4f}")
        self._story.check(user.spent_usd == total > 0, f"rosa's account says the same: ${user.spent_usd:.4f} spent")

    async def _audit(self, client: AsyncClient) -> None:
        self._story.title("7. The audit")
        records = [record async for record in client.audit.list()]
        for goal_id in (self._goals["costly"],):
            for record in reversed([one for one in records if one.goal_id == goal_id]):
                print(f"  {record.id:>4}  {record.agent_name:<20} {record.action:<32} {record.reasoning[:90]}")
        kinds = {record.action for record in records}
        wanted = {
            "launch_jobs.awaiting_approval",
            "launch_jobs.done",
            "place_job.done",
            "requeue_job.done",
            "node.lost",
        }
        self._story.check(wanted <= kinds, f"{len(records)} records tell who decided what and why")

    async def _nothing_left(self, client: AsyncClient, hosts: tuple[Host, ...]) -> None:
        metrics = await client.metrics.fleet()
        held = sum(gpu_type.allocated for gpu_type in metrics.gpu_types)
        self._story.check(held == 0, "no GPU is held any more")
        with contextlib.suppress(FleetError):  # a supervisor ends a moment after it has reported
            await wait_until(lambda: not any(host.processes() for host in hosts), "no process of any job is left")
        self._story.check(not any(host.processes() for host in hosts), "no process of any job is left")


@asynccontextmanager
async def _fleet(directory: Path) -> AsyncIterator[Fleet]:
    async with Fleet(SETTINGS, directory=directory) as fleet:
        yield fleet


async def _main() -> int:
    story = Story()
    with tempfile.TemporaryDirectory(prefix="orquanta-demo-") as scratch:
        try:
            async with _fleet(Path(scratch, "fleet")) as fleet:
                await Demo(fleet, story).run()
        except* FleetError as errors:
            for error in errors.exceptions:
                story.check(False, str(error))
    if story.failures:
        print(f"\n{len(story.failures)} of {story.checks} checks failed:")
        print("\n".join(f"  {failure}" for failure in story.failures))
        return 1
    print(f"\nAll {story.checks} checks passed. Start a fleet that stays with: make up")
    return 0


def main() -> int:
    """Run the demo; return 0 only if everything was checked and holds."""
    argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0] if __doc__ else "").parse_args()
    try:
        return asyncio.run(_main())
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
