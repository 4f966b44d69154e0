"""One row that cannot be read stops no loop over all of its kind, and no list: the others are found and served."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from control_plane.agents import tracer
from control_plane.agents.housekeeping import Housekeeping
from control_plane.agents.notice_texts import WebhookKind
from control_plane.agents.notifier import Notifier, Webhook
from control_plane.agents.scheduler import agent
from control_plane.agents.scheduler.agent import CHECK_SECONDS
from control_plane.governor import goal_ends, verdicts
from control_plane.model.action import ActionState
from control_plane.model.job import JobState
from control_plane.model.record import Noun
from control_plane.scheduling.reading import Everything, Terms, everything, hosts_now, jobs_now
from control_plane.scheduling.values import REFUSED
from control_plane.scheduling.view import QueueSettings, QueueView
from control_plane.services import node_views
from control_plane.services.convert import nodes as convert
from control_plane.store import actions, allocations, events, fleet_shapes, goals, incidents, jobs, nodes, readable
from control_plane.store.actions import ActionFilter
from control_plane.store.database import Tx
from control_plane.store.goals import GoalFilter
from control_plane.store.incidents import IncidentFilter
from control_plane.store.jobs import JobFilter
from control_plane.store.nodes import NodeFilter
from control_plane.store.pages import PageRequest
from control_plane.store.readable import Unreadable
from control_plane.tools.fleet_gpus import FleetGpus
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import LIMITS, RUNNING, World, job_id, spec

_ALL: Final = PageRequest(100)
_TERMS: Final = Terms(LIMITS.max_gpus_per_user, 0.0)
_SETTINGS: Final = QueueSettings(LIMITS.max_gpus_per_user)
_LATER = '\'{"what": "nobody here has heard of"}\''
_CUT_OFF = "'{\"gpus\": ['"

_BROKEN: Final = {
    "node": ("nodes", "inventory", _LATER),
    "node-cut-off": ("nodes", "inventory", _CUT_OFF),
    "node-labels": ("nodes", "labels", _CUT_OFF),
    "node-state": ("nodes", "state", "'hibernating'"),
    "job": ("jobs", "spec", _LATER),
    "job-cut-off": ("jobs", "spec", _CUT_OFF),
    "job-state": ("jobs", "status", "'hibernating'"),
    "attempt": ("allocations", "state", "'hibernating'"),
    "member-state": ("allocation_members", "state", "'hibernating'"),
    "member-reason": ("allocation_members", "exit_reason", "'moonshine'"),
    "member-gpus": ("allocation_members", "gpu_uuids", _LATER),
    "member-gpus-cut-off": ("allocation_members", "gpu_uuids", _CUT_OFF),
    "condition": ("node_conditions", "document", _LATER),
    "health-event": ("health_events", "document", _LATER),
    "incident": ("incidents", "conditions", f"'[{_LATER[1:-1]}]'"),
    "repair": ("repairs", "rung", "77"),
    "repair-steps": ("repairs", "steps", f"'[{_LATER[1:-1]}]'"),
    "goal": ("goals", "plan", _LATER),
    "action": ("actions", "arguments_json", _LATER),
}

_READERS: Final[dict[str, Callable[[Tx], object]]] = {
    "the scheduler's reading": partial(everything, terms=_TERMS),
    "nodes": lambda tx: node_views.page(tx, NodeFilter(), _ALL),
    "nodes of a model": lambda tx: nodes.page(tx, NodeFilter(gpu_type="h100"), _ALL),
    "node states": nodes.states,
    "shapes": fleet_shapes.read,
    "GPUs": FleetGpus().count,
    "jobs": lambda tx: jobs.page(tx, JobFilter(), _ALL),
    "goals": lambda tx: goals.page(tx, GoalFilter(), _ALL),
    "left-over goals": goal_ends.has_left_over,
    "actions": lambda tx: actions.page(tx, ActionFilter(), _ALL),
    "waiting actions": actions.awaiting,
    "incidents": lambda tx: incidents.page(tx, IncidentFilter(), _ALL),
    "open incidents": incidents.unended,
    "verdicts": verdicts.doubts,
    "stranded attempts": allocations.stranded,
    "traces": lambda tx: tracer.ended(tx, events.after(tx, 0)),
}


class _TakenBackError(Exception):
    """What was spoilt is to be as it was."""


def _spoil(tx: Tx, table: str, column: str, broken: str) -> None:
    """Put something into a column of the oldest row behind everybody's back."""
    first = f"SELECT min(rowid) FROM {table}"
    tx.session.execute(text(f"UPDATE {table} SET {column} = {broken} WHERE rowid = ({first})"))


async def _busy_fleet(clinic: Clinic) -> None:
    """Two of each: hosts with jobs, jobs that wait, hosts in trouble, goals, and actions that wait for a person."""
    world = clinic.world
    user = await world.user()
    for name in ("one", "two"):
        host, sick = await world.node(f"host-{name}"), await world.node(f"sick-{name}")
        goal = await world.goal(user, name)
        await world.launch(user, spec(f"runs-{name}"), spec(f"waits-{name}"), goal=goal)
        await world.place(f"runs-{name}", (host, [0]))
        await world.report(f"runs-{name}", RUNNING)
        await world.launch(user, spec(f"dear-{name}", gpu=64, seconds=900_000))
        await clinic.raised(sick)
    await clinic.treat()


async def test_a_row_that_cannot_be_read_is_set_aside_wherever_many_are_read(clinic: Clinic) -> None:
    await _busy_fleet(clinic)

    def look(tx: Tx) -> None:
        job_ids, node_ids = jobs.live_ids(tx), [node.id for node in nodes.active(tx)]
        readers = _READERS | {
            "the scheduler's jobs that have changed": lambda tx: jobs_now(tx, job_ids, _TERMS),
            "the scheduler's hosts that have changed": lambda tx: hosts_now(tx, node_ids),
        }
        for what, (table, column, broken) in _BROKEN.items():
            with suppress(_TakenBackError), tx.savepoint():
                _spoil(tx, table, column, broken)
                tx.session.expire_all()
                for name, reader in readers.items():
                    with capture_logs() as told:
                        assert reader(tx) is not None, (what, name)
                    assert {one["event"] for one in told} <= {"row.set_aside"}, (what, name)
                raise _TakenBackError

    await clinic.world.store.write(look)


@pytest.mark.parametrize(
    "kinds", [("node", "condition", "repair-steps"), ("job", "incident", "action", "goal")], ids=["hosts", "work"]
)
async def test_agents_go_round_though_a_row_of_several_kinds_cannot_be_read(
    clinic: Clinic, kinds: tuple[str, ...]
) -> None:
    world = clinic.world
    await _busy_fleet(clinic)

    def spoil(tx: Tx) -> None:
        for kind in kinds:
            _spoil(tx, *_BROKEN[kind])

    await world.store.write(spoil)
    await clinic.scheduler.round()
    assert (await world.job("waits-two")).state is JobState.PLACED
    view = QueueView(world.store, QueueSettings(LIMITS.max_gpus_per_user))
    await view.ask(lambda _, line: line)
    await Housekeeping(world.store, world.governor).round()
    assert await Notifier(world.store, [Webhook("http://127.0.0.1:1", WebhookKind.JSON)]).round()
    third = await world.node("sick-three")
    await clinic.raised(third)
    await clinic.treat()
    assert await clinic.maybe_repair(third) is not None


async def test_what_a_job_that_cannot_be_read_holds_stays_its_own(clinic: Clinic) -> None:
    world = clinic.world
    user = await world.user()
    host = await world.node("host", gpu=2)
    await world.launch(user, spec("runs"), spec("waits"))
    await world.place("runs", (host, [0]))
    await world.store.write(lambda tx: _spoil(tx, *_BROKEN["job"]))  # the older of the two
    await clinic.scheduler.round()
    waits = await world.job("waits")
    assert waits.state is JobState.QUEUED
    assert "one job has to itself" in waits.status_reason
    with pytest.raises(Unreadable, match="run the later version"):
        await world.job("runs")
    other = await world.node("other", gpu=2)
    await clinic.scheduler.round()
    assert [member.node_id for member in (await world.newest("waits")).members] == [other.id]


async def test_a_host_whose_inventory_cannot_be_read_is_shown_with_why_and_is_back_once_it_tells_again(
    world: World,
) -> None:
    node = await world.node("host")
    await world.store.write(lambda tx: _spoil(tx, *_BROKEN["node"]))
    (view,) = await world.store.read(lambda tx: node_views.page(tx, NodeFilter(), _ALL)[0])
    shown = convert.node(view)
    assert not shown.gpus
    assert shown.status_reason.startswith("what the host is made of cannot be read by this control plane: ")
    await world.come_back(node)
    (view,) = await world.store.read(lambda tx: node_views.page(tx, NodeFilter(), _ALL)[0])
    assert (len(view.node.inventory.gpus) if view.node.inventory else 0, convert.node(view).status_reason) == (8, "")


async def test_what_cannot_be_read_is_told_of_once_an_hour_and_says_nothing_of_what_it_holds(world: World) -> None:
    readable._tell.cache_clear()  # as in a process that has just started
    user = await world.user()
    await world.launch(user, spec("secret"))
    await world.store.write(lambda tx: _spoil(tx, "jobs", "spec", '\'{"command": "rm -rf password", "name": 7}\''))
    with capture_logs() as told:
        for _ in range(3):
            assert not await world.store.read(lambda tx: jobs.page(tx, JobFilter(), _ALL).items)
        world.clock.advance(3_600)
        assert not await world.store.read(jobs.live)
    assert [one["what"] for one in told] == [f"jobs {job_id('secret')}"] * 2
    assert not any("password" in str(one) for one in told)


@pytest.mark.parametrize("kind", ["node-state", "node-labels"])
async def test_a_change_of_a_host_that_cannot_be_read_stops_neither_the_scheduler_nor_who_asks_about_the_queue(
    clinic: Clinic, kind: str
) -> None:
    world = clinic.world
    user = await world.user()
    bad, _ = await world.node("bad"), await world.node("good")
    view = QueueView(world.store, QueueSettings(LIMITS.max_gpus_per_user))
    await clinic.scheduler.round()
    await view.ask(lambda _, line: line)

    def spoil(tx: Tx) -> None:
        _spoil(tx, *_BROKEN[kind])
        tx.emit(Noun.NODE, bad.id, "node.ready", "")

    await world.store.write(spoil)
    await world.launch(user, spec("a"))
    await view.ask(lambda _, line: line)
    await clinic.scheduler.round()
    assert [member.node_name for member in (await world.newest("a")).members] == ["good"]


async def test_after_changes_that_cannot_be_read_the_scheduler_reads_everything(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = clinic.world
    user = await world.user()
    await world.node("host")
    await clinic.scheduler.round()

    reloads: list[Terms] = []

    def cannot(*_: object) -> None:
        raise LookupError("nobody has thought of this")

    def read_all(tx: Tx, terms: Terms) -> Everything:
        reloads.append(terms)
        return everything(tx, terms)

    await world.launch(user, spec("a"))
    with monkeypatch.context() as patched:
        patched.setattr(agent, "changes", cannot)
        with pytest.raises(LookupError):
            await clinic.scheduler.round()
    monkeypatch.setattr(agent, "everything", read_all)
    await clinic.scheduler.round()
    assert len(reloads) == 1
    assert (await world.job("a")).state is JobState.PLACED


@pytest.mark.parametrize("kind", ["attempt", "member-state", "member-gpus", "member-gpus-cut-off", "job-state"])
async def test_what_an_attempt_that_cannot_be_read_holds_stays_its_own_and_others_find_their_places(
    clinic: Clinic, kind: str
) -> None:
    world = clinic.world
    user = await world.user()
    host = await world.node("host", gpu=2)
    await world.launch(user, spec("runs"))
    await world.place("runs", (host, [0]))
    await clinic.scheduler.round()

    def spoil(tx: Tx) -> None:
        _spoil(tx, *_BROKEN[kind])
        tx.emit(Noun.JOB, job_id("runs"), "job.attempt_changed", "")

    await world.store.write(spoil)
    await world.launch(user, spec("next"), spec("waits"))
    await clinic.scheduler.round()
    world.clock.advance(CHECK_SECONDS + 1)
    with capture_logs() as told:
        await clinic.scheduler.round()
    assert not [one for one in told if one["event"] == "scheduler.memory_differs"]
    if kind == "job-state":  # it may have asked for the host alone
        assert (await world.job("next")).state is JobState.QUEUED
    else:
        assert [member.gpu_uuids for member in (await world.newest("next")).members] == [("GPU-host-1",)]
    waits = await world.job("waits")
    assert (waits.state, waits.status_reason.startswith(REFUSED)) == (JobState.QUEUED, False)
    placed = await world.place("waits", (host, [0]))
    assert placed.state is ActionState.DENIED
    assert f"held by {job_id('runs')}" in placed.outcome


async def test_a_job_with_an_attempt_that_cannot_be_read_is_listed_and_says_so(clinic: Clinic) -> None:
    world = clinic.world
    user = await world.user()
    host = await world.node("host")
    await world.launch(user, spec("runs"), spec("waits"))
    await world.place("runs", (host, [0]))
    await world.store.write(lambda tx: _spoil(tx, *_BROKEN["attempt"]))
    page = await world.store.read(lambda tx: jobs.page(tx, JobFilter(), _ALL).items)
    reasons = {job.spec.name: job.status_reason for job in page}
    assert f"attempt 1 of job {job_id('runs')} cannot be read by this control plane" in reasons["runs"]
    assert "cannot be read" not in reasons["waits"]
