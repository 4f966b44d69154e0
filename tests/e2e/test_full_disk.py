"""The control plane's disk is full: writes refuse and say why, reads go on, and all is well once there is space."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orquanta.client import AsyncClient
from orquanta.errors import Unavailable
from orquanta.gameday.fleet import Fleet
from orquanta.retry import RetryPolicy
from orquanta.types.goals import GoalState
from orquanta.types.jobs import JobSpec, JobState, ResourceRequest
from tests.e2e.books import nothing_changes
from tests.e2e.conftest import output, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(180)]


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    """A file system of its own at `directory`."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    directory.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], check=False)
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """Take every byte that is left, also once more; return the file to remove again."""
    ballast = directory / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return ballast


async def test_a_full_disk_refuses_writes_serves_reads_and_heals_without_a_restart(
    quick_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    state = tmp_path / "fleet" / "control-plane"
    with small_disk(state, "64m"):
        async with quick_fleet() as fleet:
            admin = await fleet.client()
            await fleet.add_host(admin, "host", "2xL4")
            pid = fleet.control_plane.pid
            end = tmp_path / "end"
            command = (
                "for i in $(seq 1 30); do seq $((i*1000)) $((i*1000+999)); sleep 0.2; done; "
                f"until test -e {end}; do sleep 0.05; done"
            )
            spec = JobSpec("talking", ResourceRequest(1, ("L4",)), command=command, max_runtime_seconds=300)
            talking = (await admin.jobs.submit(spec)).job
            await reaches(admin, talking.id, JobState.RUNNING)
            key = (await admin.auth.create_api_key("impatient")).secret
            impatient = AsyncClient(
                fleet.server, api_key=key, ca_certificate=fleet.ca_file, retry=RetryPolicy(max_attempts=1)
            )
            async with impatient:
                ballast = fill(state)
                async with nothing_changes(admin):
                    for number in range(5):
                        fill(state)  # the broker may have given back what it had of chunks that were stored
                        with pytest.raises(Unavailable) as caught:
                            await impatient.goals.create(f"Run `echo {number}` on 1 L4 for 1 minute")
                        assert caught.value.reason == "STORE_UNAVAILABLE"
                        assert "disk" in caught.value.message
                        assert "nothing was changed" in caught.value.message
                assert (await impatient.jobs.get(talking.id)).state is JobState.RUNNING
                assert (await impatient.nodes.get("host")).connected
                await asyncio.sleep(2)  # the job goes on writing what cannot be stored
                ballast.unlink()
                end.touch()
                async with asyncio.timeout(60):
                    goal = await admin.goals.create("Run `echo there is space again` on 1 L4 for 1 minute")
                    view = await admin.goals.wait(goal.id)
            assert view.goal.state is GoalState.SUCCEEDED, view.goal.status_reason
            done = await admin.jobs.wait(talking.id)
            assert (done.state, done.epoch) == (JobState.SUCCEEDED, 1), done.status_reason
            expected = b"".join(b"%d\n" % number for number in range(1000, 31_000))
            found = await output(admin, talking.id, follow=True)
            assert (len(found), found == expected) == (len(expected), True)
            assert await output(admin, view.jobs[0].id, follow=True) == b"there is space again\n"
            assert fleet.control_plane.pid == pid
