"""Nothing is wrong: then nothing may be done, and questions are answered with the right figures."""

import random
from collections.abc import Mapping
from functools import partial

from control_plane.agents.scheduler import Scheduler
from control_plane.model.action import Action
from control_plane.model.goal import GoalState
from control_plane.model.health import ConditionSeverity
from control_plane.model.identity import CredentialKind, Principal, Role
from control_plane.model.ids import derived_user_id
from control_plane.model.job import AllocationState
from control_plane.model.node import Node
from control_plane.store import nodes, users
from control_plane.store.database import Tx
from control_plane.telemetry.reading import reading_of
from evals.case import Case, Pack, Verdict
from evals.lab import Lab, open_lab
from orquanta.v1 import event_pb2
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import LIMITS, spec

_ROUNDS = 30
_SEEDS = (1, 2, 3, 4, 5)

QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "how many H100 are idle?": ("11 of 16 H100 idle",),
    "how many A100 idle right now?": ("4 of 4 A100 idle",),
    "how many GPUs are idle?": ("4 of 4 A100 idle", "11 of 16 H100 idle"),
    "how is job train-a?": ("train-a", "running"),
    "which jobs are running?": ("train-a", "train-b"),
    "are there any open incidents?": ("incident",),
    "why did my job fail?": ("None of your jobs has failed",),
    "which nodes are quarantined?": (),
    "what did I spend this month?": ("$0",),
    "which of my jobs wait in the queue?": ("No job waits",),
}
"""Questions, and what an answer to each must say about the fleet of this pack."""

HEALTHY_GOALS = (
    "gpu-a-17 feels slow today, sort it out",
    "please repair GPU 3 on node gpu-b-1",
    "is everything all right with gpu-a-17?",
    "gpu-a-17 had an Xid 79 last week, have a look",
)
"""Goals about hosts with which nothing is wrong."""


def pack() -> Pack:
    """Return the controls: normal running, questions, and goals about healthy hosts."""
    return Pack(
        "no_fault",
        "nothing is wrong: nothing is done, and questions are answered rightly",
        [
            *(Case(f"noise-{seed}", partial(_noise, seed)) for seed in _SEEDS),
            *(Case(f"question-{number}", partial(_question, text)) for number, text in enumerate(QUESTIONS, 1)),
            *(Case(f"healthy-{number}", partial(_healthy, text)) for number, text in enumerate(HEALTHY_GOALS, 1)),
        ],
    )


async def _fleet(lab: Lab) -> None:
    world = lab.world
    first, second = await lab.node("gpu-a-17"), await lab.node("gpu-b-1")
    await lab.node("gpu-c-1", gpu=4, gpu_type="A100")
    ada = await world.user("ada", role=Role.OPERATOR)
    await world.launch(ada, spec("train-a", gpu=3), spec("train-b", gpu=2))
    await world.place("train-a", (first, [0, 1, 2]))
    await world.place("train-b", (second, [0, 1]))
    for name in ("train-a", "train-b"):
        await world.report(name, AllocationState.RUNNING)


async def _noise(seed: int) -> Verdict:
    """Normal running: warm GPUs, corrected errors, notes of the driver; agents look at all of it, again and again."""
    chance = random.Random(seed)
    async with open_lab() as lab:
        await _fleet(lab)
        clinic = Clinic.of(lab.world)
        scheduler = Scheduler(lab.world.store, lab.world.governor, max_gpus_per_user=LIMITS.max_gpus_per_user)
        hosts = [await lab.world.store.read(partial(_by_name, name=name)) for name in ("gpu-a-17", "gpu-b-1")]
        before = [one.id for one in await lab.actions()]
        for _ in range(_ROUNDS):
            host = chance.choice(hosts)
            index = chance.randrange(8)
            lab.telemetry.add(host.id, reading_of(_batch(lab, host.name, chance)))
            if chance.random() < 0.5:
                kind, text = chance.choice(_NOTES)
                note = f"gpu/{kind.lower()}-{index}"
                told = {"severity": ConditionSeverity.INFO, "repair": None, "authority": None, "kind": kind}
                await clinic.raised(host, note, index, summary=text, **told)
                if chance.random() < 0.5:
                    await clinic.cleared(host, note)
            lab.world.clock.advance(chance.choice((1, 5, 30)))
            await clinic.treat()
            await scheduler.round()
        done = [one for one in await lab.actions() if one.id not in before]
    return _none(done, "")


_NOTES = (
    ("ECC_CORRECTED", "a corrected memory error"),
    ("CLOCK_EVENT", "clocks are lowered by the power cap"),
    ("THERMAL_NOTE", "74 C, below the slowdown threshold"),
    ("PCIE_REPLAY", "3 PCIe replays"),
    ("NVLINK_CRC", "1 NVLink CRC error, corrected"),
)


async def _question(text: str) -> Verdict:
    async with open_lab() as lab:
        await _fleet(lab)
        before = [one.id for one in await lab.actions()]
        ada = await _ada(lab)
        goal = await lab.ask(ada, text)
        done = [one for one in await lab.actions() if one.id not in before]
    missing = [words for words in QUESTIONS[text] if words.lower() not in goal.result.lower()]
    trouble = f"{goal.state.value}: {goal.result!a} lacks {missing}" if missing else ""
    if goal.state is not GoalState.SUCCEEDED:
        trouble = f"{goal.state.value}: {goal.status_reason}"
    return _none(done, trouble)


async def _healthy(text: str) -> Verdict:
    async with open_lab() as lab:
        await _fleet(lab)
        before = [one.id for one in await lab.actions()]
        goal = await lab.ask(await _ada(lab), text)
        done = [one for one in await lab.actions() if one.id not in before]
    return _none(done, "" if goal.state.ended or goal.state is GoalState.NEEDS_INPUT else f"it is {goal.state.value}")


async def _ada(lab: Lab) -> Principal:
    user = await lab.world.store.read(lambda tx: users.require(tx, derived_user_id("ada")))
    return Principal(user.id, user.email, user.role, CredentialKind.PASSWORD, "credential")


def _by_name(tx: Tx, name: str) -> Node:
    node = nodes.by_name(tx, name)
    if node is None:
        raise LookupError(f"there is no node {name}")
    return node


def _batch(lab: Lab, name: str, chance: random.Random) -> event_pb2.TelemetryBatch:
    """Return what a busy and healthy host measures."""
    batch = event_pb2.TelemetryBatch()
    batch.sampled_at.FromDatetime(lab.world.clock.now())
    for index in range(8):
        batch.gpus.add(
            uuid=f"GPU-{name}-{index}",
            utilization_percent=chance.randrange(60, 100),
            temperature_celsius=chance.randrange(55, 79),
        )
    return batch


def _none(done: list[Action], trouble: str) -> Verdict:
    """Score a control: every action is a false one."""
    broken = tuple(f"a false action: {one.kind} ({one.summary[:120]})" for one in done)
    return Verdict(0.0 if trouble or broken else 1.0, broken, trouble, (("false_actions", float(len(done))),))
