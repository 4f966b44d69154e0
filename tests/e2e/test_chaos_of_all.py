"""A short run of `make chaos`: each kind of mischief once while jobs run on simulated hosts, and the books balance."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.plan import Kind


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.postgres
@pytest.mark.timeout(400)
def test_every_job_ends_exactly_once_though_each_part_is_killed_stopped_and_cut(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chaos", "--json", "--keep", "--directory", str(tmp_path / "chaos")]
    command += ["--seconds", "20", "--hosts", "16", "--jobs", "80", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert sum(figures["jobs"].values()) == 80
    assert set(figures["recovered"]) == {kind.value for kind in Kind}
    assert figures["violations"] == 0
