"""The command line as a person and a script use it: real processes against the real server."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orquanta.gameday.fleet import ADMIN
from orquanta.types.jobs import JobState
from tests.e2e.conftest import Site, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

TALKING = "Run `echo one; sleep 1; echo two` on 1 H100 for 5 minutes"
SHORT = "Run `echo from the job` on 1 H100 for 5 minutes"


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    stdout: str
    stderr: str

    def document(self) -> Any:  # JSON, as each command documents it
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Shell:
    """A person's shell: a home directory with the profile that `login` made."""

    environment: dict[str, str]

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("orquanta"),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )

    async def run(self, *arguments: str, typed: str = "") -> Said:
        process = await self.start(*arguments)
        stdout, stderr = await asyncio.wait_for(process.communicate(typed.encode()), 40)
        assert process.returncode is not None
        return Said(process.returncode, stdout.decode(), stderr.decode())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shell(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    home = tmp_path_factory.mktemp("home")
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "COLUMNS": "120"}
    made = Shell(environment)
    login = ["login", "--server", site.fleet.server, "--ca", str(site.fleet.ca_file), "--email", ADMIN]
    said = await made.run(*login, "--password-stdin", typed=site.fleet.password + "\n")
    assert said.code == 0, said
    assert site.fleet.password not in (home / ".config" / "orquanta" / "config.toml").read_text()
    return made


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def cleared(site: Site) -> AsyncIterator[None]:
    """What a test leaves unfinished is cancelled."""
    yield
    async for goal in site.admin.goals.list():
        if not goal.state.ended:
            await site.admin.goals.cancel(goal.id)
            for job in (await site.admin.goals.get(goal.id)).jobs:
                await site.admin.jobs.wait(job.id)


def goal_id(text: str) -> str:
    found = re.search(r"\bg-[0-9a-z]{12}\b", text)
    assert found is not None, text
    return found.group()


async def test_a_wrong_password_is_refused_and_leaves_no_profile(site: Site, tmp_path: Path) -> None:
    stranger = Shell({"HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    login = ["login", "--server", site.fleet.server, "--ca", str(site.fleet.ca_file), "--email", ADMIN]
    said = await stranger.run(*login, "--password-stdin", typed="not the password\n")
    assert said.code == 4
    assert "password" in said.stderr
    assert not (tmp_path / ".config" / "orquanta" / "config.toml").exists()
    assert (await stranger.run("goal", "list")).code != 0


async def test_a_goal_is_followed_to_its_end_with_result_and_bill(shell: Shell) -> None:
    said = await shell.run("goal", "submit", SHORT)
    assert said.code == 0, said
    assert "succeeded" in said.stdout
    assert re.search(r"\$0\.\d+", said.stdout), said.stdout
    assert said.stderr.startswith("What was thought and done for it: orquanta agent run run-")


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        ("Run `exit 3` on 1 H100 for 5 minutes", 1, "exit"),
        ("rm -rf the shared checkpoint bucket to free space", 5, "refused"),
        ("Fine-tune llama-3-8b for 20 minutes", 6, "answer"),
        ("Fine-tune llama-3-8b on 8 H100 for 6 hours, budget $400", 5, "approve"),
    ],
)
async def test_the_exit_code_tells_a_script_what_became_of_a_goal(
    shell: Shell, text: str, code: int, word: str
) -> None:
    said = await shell.run("goal", "submit", "--detach" if code in {5, 6} else "--timezone=UTC", text)
    assert said.code == code, said
    assert word in (said.stdout + said.stderr).lower(), said


async def test_json_is_one_document_that_says_the_same(shell: Shell, site: Site) -> None:
    said = await shell.run("goal", "submit", "--json", SHORT)
    assert said.code == 0, said
    view = said.document()
    assert view["goal"]["state"] == "succeeded"
    shown = (await shell.run("goal", "show", view["goal"]["id"], "--json")).document()
    assert shown == view
    job = view["jobs"][0]
    assert (await shell.run("job", "show", job["id"], "--json")).document()["id"] == job["id"]
    for command in (["goal", "list"], ["job", "list"], ["node", "list"], ["action", "list"], ["audit", "list"]):
        listed = await shell.run(*command, "--json")
        assert listed.code == 0, listed
        ((_, rows),) = listed.document().items()
        assert rows
    missing = await shell.run("goal", "show", "g-000000000000", "--json")
    assert missing.code == 3
    assert json.loads(missing.stderr)["error"]["reason"] == "GOAL_NOT_FOUND"


async def test_watching_as_json_gives_a_line_for_each_change(shell: Shell) -> None:
    submitted = await shell.run("goal", "submit", "--detach", "--json", "Run `sleep 1` on 1 H100 for 5 minutes")
    watched = await shell.run("goal", "watch", submitted.document()["goal"]["id"], "--json")
    states = [json.loads(line)["goal"]["state"] for line in watched.stdout.splitlines()]
    assert watched.code == 0
    assert states[-1] == "succeeded"


async def test_following_output_ends_by_itself_when_the_job_has_ended(shell: Shell, site: Site) -> None:
    submitted = await shell.run("goal", "submit", "--detach", TALKING)
    assert submitted.code == 0, submitted
    (job,) = (await site.admin.goals.get(goal_id(submitted.stdout))).jobs
    said = await shell.run("job", "logs", "-f", job.id)
    assert (said.code, said.stdout) == (0, "one\ntwo\n")
    last = await shell.run("job", "logs", "--tail", "1", job.id)
    assert last.stdout == "two\n"


async def test_a_job_is_submitted_waited_for_and_its_code_passed_on(shell: Shell) -> None:
    said = await shell.run("job", "submit", "--gpu-type", "H100", "-f", "--", "sh", "-c", "echo hello; exit 4")
    assert said.code == 1, said
    assert "hello" in said.stdout


async def test_ctrl_c_detaches_and_the_goal_goes_on(shell: Shell, site: Site, tmp_path: Path) -> None:
    end = tmp_path / "end"
    program = f"until test -e {end}; do sleep 0.05; done; echo finished"
    process = await shell.start("goal", "submit", f"Run `{program}` on 1 H100 for 5 minutes")
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 40)).decode()
    submitted = goal_id(line)
    (job,) = (await site.admin.goals.get(submitted)).jobs
    await reaches(site.admin, job.id, JobState.RUNNING)
    process.send_signal(signal.SIGINT)
    _, stderr = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 130
    assert f"orquanta goal watch {submitted}" in stderr.decode()
    end.touch()
    assert (await site.admin.jobs.wait(job.id)).state is JobState.SUCCEEDED


async def test_a_goal_is_answered_and_cancelled(shell: Shell) -> None:
    asked = await shell.run("goal", "submit", "Fine-tune llama-3-8b for 20 minutes")
    assert asked.code == 6
    fields = re.findall(r"(\S+)='\.\.\.'", asked.stderr)
    assert fields, asked
    answers = [f"{field}=2 H100" for field in fields]
    answered = await shell.run("goal", "answer", "--detach", goal_id(asked.stdout), *answers)
    assert answered.code == 0, answered
    cancelled = await shell.run("goal", "cancel", goal_id(asked.stdout), "--reason", "just trying")
    assert cancelled.code == 0
    assert "cancelled" in cancelled.stdout


async def test_stop_all_and_resume_all(shell: Shell) -> None:
    stopped = await shell.run("action", "stop-all", "--reason", "drill")
    try:
        assert stopped.code == 0, stopped
        denied = await shell.run("goal", "submit", SHORT)
        assert denied.code == 5, denied
        assert "drill" in denied.stdout + denied.stderr
    finally:
        resumed = await shell.run("action", "resume-all")
        assert resumed.code == 0, resumed


async def test_a_server_that_is_away_is_told_from_one_that_refuses(shell: Shell, tmp_path: Path) -> None:
    said = await shell.run("--server", "127.0.0.1:1", "goal", "list")
    assert said.code in {4, 7}, said
    assert "127.0.0.1:1" in said.stderr or "log in" in said.stderr.lower()
