"""A real Slurm of two nodes on this machine, with GPUs that are character devices and nothing more."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orquanta.gameday.fleet import free_port

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE_SECONDS = 30.0
GPUS_PER_NODE = 4


def why_not() -> str:
    """Return why no Slurm can be started here, or nothing."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "only root can start Slurm's daemons"


@contextmanager
def cluster(directory: Path) -> Iterator[Path]:
    """Start the cluster; yields its configuration file."""
    directory.chmod(0o755)
    for name in ("spool", "state", "dev", "spool/gpu1", "spool/gpu2"):
        (directory / name).mkdir(parents=True)
    for number in range(GPUS_PER_NODE):
        os.mknod(directory / f"dev/gpu{number}", 0o20666, os.makedev(1, 3))
    config = _configure(directory)
    processes: list[subprocess.Popen[bytes]] = []
    with (directory / "said").open("wb") as said:

        def start(*command: str) -> None:
            env = {"PATH": _PATH, "SLURM_CONF": str(config)}
            processes.append(subprocess.Popen(command, env=env, stdout=said, stderr=said, cwd=directory))

        try:
            key, munge = directory / "munge.key", directory / "munge.socket"
            key.write_bytes(os.urandom(1024))
            key.chmod(0o400)
            files = [f"--{name}-file={directory / name}" for name in ("pid", "log", "seed")]
            start("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}", *files)
            _until(munge.exists, directory)
            start("slurmctld", "-D", "-f", str(config), "-c")
            for node in ("gpu1", "gpu2"):
                start("slurmd", "-D", "-f", str(config), "-N", node)
            _until(lambda: ask(config, "sinfo", "-h", "-N", "-o", "%T").split() == ["idle", "idle"], directory)
            yield config
        finally:
            for process in reversed(processes):
                process.terminate()
            for process in processes:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def ask(config: Path, *command: str) -> str:
    """Return what a program of Slurm prints. Jobs are asked for again where the controller has not answered."""
    env = {"PATH": _PATH, "SLURM_CONF": str(config)}
    limit = time.monotonic() + _PATIENCE_SECONDS
    while True:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode == 0 or command[0] != "squeue" or time.monotonic() > limit:
            return done.stdout


def _configure(directory: Path) -> Path:
    host = socket.gethostname().split(".")[0]
    control, first, second = (free_port() for _ in range(3))
    (directory / "gres.conf").write_text(
        f"NodeName=gpu[1-2] Name=gpu Type=h100 File={directory}/dev/gpu[0-{GPUS_PER_NODE - 1}]\n"
    )
    config = directory / "slurm.conf"
    config.write_text(
        f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
SlurmctldPort={control}
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.%n.pid
SlurmdSpoolDir={directory}/spool/%n
StateSaveLocation={directory}/state
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.%n.log
SlurmdParameters=config_overrides
MpiDefault=none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
KillWait=5
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
NodeName=DEFAULT CPUs=16 RealMemory=64000 Gres=gpu:h100:{GPUS_PER_NODE}
NodeName=gpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first}
NodeName=gpu2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
    )
    return config


def _until(true: Callable[[], bool], directory: Path) -> None:
    limit = time.monotonic() + _PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < limit, (directory / "said").read_text()
        time.sleep(0.05)
