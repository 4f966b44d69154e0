"""One host's kernel prints a hundred thousand lines."""

from orquanta.gameday import kernel, local
from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Stage

LINES = 100_000
_HANDFUL = 10


async def _play(stage: Stage) -> None:
    noisy, quiet = await stage.add_hosts(2)
    gpu = await stage.gpu(noisy)
    before = await stage.node(quiet)
    line = kernel.xid(gpu, 31, "Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS", pid=4711, name="python")
    stage.note(f"{noisy.name}: its kernel prints {LINES} lines like {line!r}")
    await kernel.print_lines(noisy.kernel_log, (line for _ in range(LINES)))

    async def counted() -> bool:
        return any(one.count == LINES for one in await local.conditions(noisy))

    await stage.until("every line is counted", counted)

    async def known() -> bool:
        return bool((await stage.node(noisy)).conditions)

    await stage.until("the books know of them", known)
    conditions = [one.id for one in (await stage.node(noisy)).conditions]
    stage.expect("they are one condition", len(conditions) == 1, ", ".join(conditions))
    events = len(await local.events(noisy))
    stage.expect("a handful of events told of them", 0 < events <= _HANDFUL, f"{events} did")
    stage.note(f"{noisy.name}: {events} events for {LINES} lines")
    after = await stage.node(quiet)
    untouched = after.connected and not after.conditions and after.state is before.state
    stage.expect("the other host noticed nothing", untouched, after.status_reason)
    for host in (noisy, quiet):
        await stage.no_repair(host, "for an application's fault")
        await stage.serves_again(host)


SCENARIO = Scenario(
    "log_storm",
    f"One host's kernel prints {LINES:,} lines",
    "They are one condition and a handful of events; other hosts notice nothing; nothing is repaired.",
    _play,
    most_out=0,
)
