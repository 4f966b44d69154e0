"""The processes of a job as one thing."""

import subprocess
import sys
from pathlib import Path

LATE = """
import os, select, sys
from pathlib import Path
from node_agent.jobs.supervisor.cgroups import Cgroup
from node_agent.jobs.supervisor.child import Command
from node_agent.jobs.supervisor.tree import Tree

go = Path(sys.argv[1])

class Late(Tree):
    forked = False

    def pids(self):
        found = super().pids()
        if not self.forked:
            self.forked = True
            go.touch()
            while super().pids() == found:
                pass
        return found

command = ["/bin/sh", "-c", f"until [ -e {go} ]; do :; done; sleep 1000; true"]
tree = Late(Command(command, {"PATH": os.environ["PATH"]}, "/", None, []), Cgroup({}))
tree.start()
tree.terminate(600.0)
while not tree.empty:
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    tree.reap()
print(os.waitstatus_to_exitcode(tree.exit_status))
"""


def test_a_process_that_is_forked_while_its_job_is_asked_to_end_is_asked_as_well(tmp_path: Path) -> None:
    program = [sys.executable, "-c", LATE, str(tmp_path / "go")]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("-15\n", "")
