"""Jobs that an engine of the site runs, where the engine or its client fails; the engine is a few lines of shell."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from node_agent.jobs.executor import EngineAwayError, SiteCommands
from node_agent.jobs.spec import MemberKey, MemberSpec
from node_agent.jobs.status import MemberState, Outcome
from tests.node_agent.jobs.host import (
    Host,
    ended,
    eventually,
    processes_of,
    running,
    spec,
    supervisor_pid,
    wipe,
)


class ShellEngine:
    """An engine whose client is the job's own command, in the member's directory.

    It takes the order to end a job only while the file `answers` is there; each order is a line in `kills`. `running`
    is what it says that it runs for this host; None while it is away.
    """

    def __init__(self, directory: Path) -> None:
        self.running: set[MemberKey] | None = set()
        self.answers = directory / "answers"
        self.kills = directory / "kills"

    def order(self, spec: MemberSpec, _environment: Mapping[str, str]) -> str:
        assert isinstance(spec.command, str)
        return spec.command

    def commands(self, directory: Path) -> SiteCommands:
        tell = f'tell() {{ echo "$1" > {directory}/draft; mv {directory}/draft {directory}/site.json; }}'
        kill = f"echo kill >> {self.kills}; test -e {self.answers}"
        return SiteCommands(
            run=("/bin/sh", "-c", f"{tell}; . {directory}/order.json"),
            kill=("/bin/sh", "-c", kill),
            signal=("/bin/false",),
            environment={"PATH": os.environ["PATH"]},
        )

    def end(self, key: MemberKey) -> bool:
        with self.kills.open("a") as file:
            file.write(f"{key}\n")
        return self.answers.exists()

    def unended(self) -> Collection[MemberKey]:
        if self.running is None:
            raise EngineAwayError("it is away")
        return self.running

    def asked_for(self, key: MemberKey) -> int:
        return self.kills.read_text().splitlines().count(str(key)) if self.kills.exists() else 0

    def asked(self) -> int:
        return len(self.kills.read_text().splitlines()) if self.kills.exists() else 0


@pytest.fixture
def engine(tmp_path: Path) -> ShellEngine:
    return ShellEngine(tmp_path)


@pytest.fixture
def host(tmp_path: Path, engine: ShellEngine) -> Iterator[Host]:
    made = Host(tmp_path / "state", executor=engine)
    yield made
    made.clean_up()


RUNS = """tell '{"state": "running"}'"""


async def test_a_job_whose_client_died_counts_as_there_until_the_engine_has_ended_it(
    host: Host, engine: ShellEngine
) -> None:
    job = spec("lost", f"{RUNS}; kill -9 $$")
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually(lambda: engine.asked() > 2)
        assert not runner.statuses()[job.key].ended
        engine.answers.touch()
        assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST


async def test_a_job_whose_supervisor_died_counts_as_there_until_the_engine_has_ended_it(
    host: Host, engine: ShellEngine
) -> None:
    job = spec("orphan", f"{RUNS}; sleep 600")
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        os.kill(supervisor_pid(host, job.key), signal.SIGKILL)
        await eventually(lambda: engine.asked() > 1)
        assert not runner.statuses()[job.key].ended
        engine.answers.touch()
        assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST


async def test_an_engine_that_takes_its_time_is_not_asked_again_and_again(host: Host, engine: ShellEngine) -> None:
    engine.answers.touch()
    waits = f"""trap '' TERM; {RUNS}; while ! test -e {engine.kills}; do sleep 0.02; done; sleep 1"""
    job = spec("slow", f"""{waits}; tell '{{"state": "ended", "signal": 9}}'""", stop_grace_seconds=0.0)
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        await runner.converge({})
        assert (await ended(runner, job.key)).outcome is Outcome.STOPPED
    assert engine.asked() < 5


async def test_a_job_whose_directory_is_deleted_counts_as_there_until_the_engine_has_ended_it(
    host: Host, engine: ShellEngine
) -> None:
    job = spec("wiped", f"{RUNS}; sleep 600")
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        wipe(host.settings.jobs_dir / str(job.key))
        await eventually(lambda: engine.asked_for(job.key) > 1)
        assert processes_of(job.key) == []
        assert not runner.statuses()[job.key].ended
        engine.answers.touch()
        assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST
        assert "directory was deleted" in runner.statuses()[job.key].message


@pytest.mark.parametrize("deleted", [True, False], ids=["directory deleted", "specification destroyed"])
async def test_what_a_daemon_finds_and_cannot_follow_is_ended_in_the_engine_before_it_counts_as_lost(
    host: Host, engine: ShellEngine, deleted: bool
) -> None:
    job = spec("found", f"{RUNS}; sleep 600")
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
    directory = host.settings.jobs_dir / str(job.key)
    if deleted:
        wipe(directory)
    else:
        (directory / "spec.json").write_text("{")
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually(lambda: engine.asked_for(job.key) > 1)
        assert processes_of(job.key) == []
        assert job.key not in runner.statuses()
        engine.answers.touch()
        assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST


async def test_what_the_engine_runs_for_this_host_and_nobody_follows_is_ended_there_and_nothing_else(
    host: Host, engine: ShellEngine
) -> None:
    engine.answers.touch()
    job, stray = spec("ours", f"{RUNS}; sleep 600"), MemberKey("a-stray", 0)
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
    engine.running = {job.key, stray}
    async with host.daemon():
        pass  # a copy of the state directory, whose control plane does not let it in, ends nothing
    assert engine.asked_for(stray) == 0
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually(lambda: engine.asked_for(stray) == 1)
        assert engine.asked_for(job.key) == 0
        await runner.converge({})
        assert (await ended(runner, job.key)).outcome is Outcome.STOPPED


async def test_a_member_does_not_start_while_the_engine_is_asked_to_end_what_ran_under_its_name(
    host: Host, engine: ShellEngine
) -> None:
    job = spec("before", f"{RUNS}; sleep 600")
    engine.running = {job.key}
    async with host.daemon() as runner:
        runner.use_gate(lambda _: "the host is not ready")
        await runner.converge({job.key: job})
        await eventually(lambda: engine.asked_for(job.key) > 0)
        runner.use_gate(lambda _: "")
        await runner.converge({job.key: job})
        assert "has not ended yet" in runner.statuses()[job.key].message
        assert processes_of(job.key) == []
        engine.answers.touch()
        await running(runner, job.key)
        await runner.converge({})
        assert (await ended(runner, job.key)).outcome is Outcome.STOPPED


async def test_an_engine_that_cannot_tell_what_it_runs_stops_nothing(host: Host, engine: ShellEngine) -> None:
    engine.running = None
    engine.answers.touch()
    job = spec("meanwhile", f"""{RUNS}; tell '{{"state": "ended", "exit_code": 0}}'""")
    async with host.daemon() as runner:
        assert (await host.run(runner, job))[job.key].succeeded
    assert engine.asked() == 0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        pytest.param("0", 0.0, id="no time"),
        pytest.param("true", None, id="no number"),
        pytest.param("-5", None, id="less than none"),
        pytest.param("1e300", None, id="too much"),
    ],
)
async def test_the_engines_word_on_how_long_a_job_ran_is_taken_where_it_can_be(
    host: Host, engine: ShellEngine, said: str, seconds: float | None
) -> None:
    go = engine.kills.with_suffix(".go")
    runs = f"{RUNS}; while ! test -e {go}; do sleep 0.02; done"
    job = spec("timed", f"""{runs}; tell '{{"state": "ended", "exit_code": 0, "ran_seconds": {said}}}'""")
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        go.touch()
        status = await ended(runner, job.key)
    assert status.runtime_seconds == seconds if seconds is not None else status.runtime_seconds > 0


@pytest.mark.parametrize(
    ("said", "outcome", "code"),
    [
        pytest.param('"signal": 127', Outcome.EXITED, 1, id="no signal"),
        pytest.param('"exit_code": 255', Outcome.EXITED, 255, id="last code"),
        pytest.param('"exit_code": 65536', Outcome.EXITED, 1, id="no code"),
        pytest.param('"exit_code": -1', Outcome.EXITED, 1, id="below"),
        pytest.param('"signal": 15', Outcome.SIGNALED, None, id="signal"),
    ],
)
async def test_an_end_that_no_process_of_this_host_can_have_is_told_all_the_same(
    host: Host, said: str, outcome: Outcome, code: int | None
) -> None:
    job = spec("odd", f"""tell '{{"state": "ended", {said}}}'""")
    async with host.daemon() as runner:
        status = (await host.run(runner, job))[job.key]
    assert (status.outcome, status.exit_code) == (outcome, code)


async def test_a_job_that_ran_under_another_boot_is_ended_in_the_engine_once_there_are_orders_for_this_may_be_a_copy(
    host: Host, engine: ShellEngine, tmp_path: Path
) -> None:
    engine.answers.touch()
    job = spec("original", f"{RUNS}; sleep 600")
    other = Host(tmp_path / "other", executor=engine)
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        there = other.settings.jobs_dir / str(job.key)
        shutil.copytree(host.settings.jobs_dir / str(job.key), there)
    document = json.loads((there / "spec.json").read_text())
    document["plan"]["boot_id"] = "another"
    (there / "spec.json").write_text(json.dumps(document))
    (there / "supervisor.json").unlink()
    async with other.daemon() as runner:
        await eventually(lambda: runner.statuses()[job.key].state is MemberState.RUNNING)
        for _ in range(10):  # time to do wrong
            await asyncio.sleep(0.02)
        assert engine.asked() == 0
        assert not runner.statuses()[job.key].ended
        await runner.converge({job.key: job})
        assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST
    assert engine.asked() == 1
    assert processes_of(str(job.key))  # the original's own are not on the copy's machine


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("kill -9 $$", id="its client died"),
        pytest.param(
            """tell '{"state": "ended", "outcome": "supervisor_lost", "exit_code": 1}'""", id="it is not told"
        ),
    ],
)
async def test_a_job_whose_end_says_no_time_ran_for_longer_than_when_it_was_first_seen_to_run(
    host: Host, engine: ShellEngine, end: str
) -> None:
    engine.answers.touch()
    go = engine.kills.with_suffix(".go")
    seen = """tell '{"state": "running", "ran_seconds": 0}'"""
    job = spec("untold", f"{seen}; while ! test -e {go}; do sleep 0.02; done; {end}")
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        await asyncio.sleep(0.5)
        go.touch()
        status = await ended(runner, job.key)
    assert status.runtime_seconds > 0.4
