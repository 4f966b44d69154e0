"""Nothing is wrong, though applications are noisy."""

import asyncio

from orquanta.gameday import kernel
from orquanta.gameday.scenarios.scenario import Scenario, start_work
from orquanta.gameday.stage import Stage
from orquanta.types.nodes import NodeState

_ROUNDS = 20
_PAUSE_SECONDS = 0.5
_HOT_CELSIUS = 88
_NOISE = (
    (13, "Graphics SM Warp Exception on (GPC 0, TPC 1, SM 0): Out Of Range Address"),
    (43, "Ch 00000010"),
    (31, "Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7f21_12000000"),
    (45, "Ch 00000008"),
)


async def _play(stage: Stage) -> None:
    hosts = await stage.add_hosts(2)
    work = await start_work(stage, 2)
    await work.runs()
    gpus = {host.name: [await stage.gpu(host, index) for index in (0, 1)] for host in hosts}
    stage.note("applications fault on all GPUs, and the GPUs run hot for moments")
    states = set[NodeState]()
    for number in range(_ROUNDS):
        for host in hosts:
            code, text = _NOISE[number % len(_NOISE)]
            gpu = gpus[host.name][number // len(_NOISE) % 2]
            line = kernel.xid(gpu, code, text, pid=5000 + number, name="python")
            await kernel.print_lines(host.kernel_log, [line])
            states.add((await stage.node(host)).state)
        if number % (_ROUNDS // 2) == 0:
            await stage.inject(hosts[0], "thermal", value=_HOT_CELSIUS)
        elif number % (_ROUNDS // 2) == len(_NOISE):
            await stage.inject(hosts[0], "clear")
        await asyncio.sleep(_PAUSE_SECONDS)
    stage.expect("the hosts served all the time", states == {NodeState.READY}, ", ".join(map(str, states)))
    incidents = [one.id async for one in stage.admin.incidents.list()]
    stage.expect("no incident was opened", not incidents, ", ".join(incidents))
    for host in hosts:
        seen = {one.code for one in (await stage.node(host)).conditions}
        stage.expect(f"{host.name}: the noise was seen", bool(seen & {13, 31}), str(seen))
        await stage.no_repair(host, "for applications' own faults")
    await stage.serves_again(*hosts)
    await work.ends_well()
    job = await stage.admin.jobs.get(work.job_id)
    stage.expect("no job was moved", job.epoch == 1, f"attempt {job.epoch}")


SCENARIO = Scenario(
    "quiet",
    "Noisy applications, and nothing wrong",
    "XIDs 13, 31, 43 and 45 and thermal peaks are told of and propose no repair; no job is moved.",
    _play,
    most_out=0,
)
