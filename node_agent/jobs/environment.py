"""The environment that a job starts with: small, its own, and nothing of the daemon's.

Rendezvous. `torchrun` reads each of its options from `PET_<OPTION>` before its own default (torch.distributed.run,
torch.distributed.argparse_util), so `torchrun train.py` on every host of a gang is enough: PET_NNODES,
PET_NODE_RANK, PET_NPROC_PER_NODE, PET_MASTER_ADDR, PET_MASTER_PORT, PET_RDZV_ID, PET_RDZV_BACKEND and
PET_RDZV_ENDPOINT. The backend is "static": rank 0's host keeps the store and ranks are the ones given here. Options on
torchrun's own command line win, and so does `--standalone`.

RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE speak of worker processes, which torchrun sets for each worker. They
are set here only where one process per host is what runs: several hosts with at most one GPU each. Anywhere else they
would tell a program started directly that it is the only worker of a host with many GPUs. NNODES, NODE_RANK,
NPROC_PER_NODE, MASTER_ADDR and MASTER_PORT speak of hosts and are always set; other launchers read those.
"""

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from node_agent.jobs.spec import MemberSpec

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MARKER = "ORQUANTA_MEMBER"
"""Every process of a job carries this variable, so that leftovers can be found."""
STATE_MARKER = "ORQUANTA_STATE"
"""And this one: which of the daemons on a host has started it. Daemons of several fleets may name members alike."""

_GPUS_SEEN = frozenset({"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"})


def state_mark(jobs_dir: Path) -> str:
    """Return what tells a daemon's directory of jobs from those of others on its host; it outlives the directory."""
    return hashlib.sha256(os.fsencode(os.path.realpath(jobs_dir))).hexdigest()[:16]


def marks(name: str, jobs_dir: Path) -> dict[str, str]:
    """Return the variables that mark the processes of the member with this name."""
    return {MARKER: name, STATE_MARKER: state_mark(jobs_dir)}


def cgroup_name(name: str, jobs_dir: Path) -> str:
    """Return what the cgroups of the member with this name are called, beside those of other daemons on its host."""
    return f"{name}@{state_mark(jobs_dir)}"


def is_marked(entries: Collection[bytes], name: str, mark: str) -> bool:
    """Tell whether a process with this environment belongs to the member. Older daemons marked theirs by name alone."""
    if f"{MARKER}={name}".encode() not in entries:
        return False
    state = f"{STATE_MARKER}=".encode()
    return f"{STATE_MARKER}={mark}".encode() in entries or not any(entry.startswith(state) for entry in entries)


def is_anothers(entries: Collection[bytes], name: str, mark: str) -> bool:
    """Tell whether a process with this environment belongs to another daemon's member of the same name."""
    return f"{MARKER}={name}".encode() in entries and not is_marked(entries, name, mark)


def host_environment(work_dir: str, temporary_dir: str, user_name: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Return what a program on this host needs; `extra` is the operator's choice for all jobs."""
    base = {
        "PATH": DEFAULT_PATH,
        "HOME": work_dir,
        "USER": user_name,
        "LOGNAME": user_name,
        "LANG": "C.UTF-8",
        "TMPDIR": temporary_dir,
        "PYTHONUNBUFFERED": "1",  # output of Python programs shows as it is written
    }
    return {**base, **extra}


def rendezvous(spec: MemberSpec) -> dict[str, str]:
    """Return where and as what this member meets the others of its gang."""
    workers = max(1, spec.gpus_per_node or len(spec.gpu_uuids))
    found = {
        "MASTER_ADDR": spec.master_addr,
        "MASTER_PORT": str(spec.master_port),
        "NNODES": str(spec.world),
        "NODE_RANK": str(spec.rank),
        "NPROC_PER_NODE": str(workers),
    }
    found |= {f"PET_{name}": value for name, value in found.items()}
    found |= {
        "PET_RDZV_ID": spec.allocation_id,
        "PET_RDZV_BACKEND": "static",
        "PET_RDZV_ENDPOINT": f"{spec.master_addr}:{spec.master_port}",
    }
    if spec.world > 1 and workers == 1:
        found |= {"RANK": str(spec.rank), "WORLD_SIZE": str(spec.world), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    return found


def identity(spec: MemberSpec, jobs_dir: Path, *, virtual_gpus: bool) -> dict[str, str]:
    """Return what a job may not choose for itself: who it is, and which GPUs it sees."""
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(spec.gpu_uuids),
        "ORQUANTA_JOB_ID": spec.job_id,
        "ORQUANTA_ALLOCATION_ID": spec.allocation_id,
        "ORQUANTA_EPOCH": str(spec.epoch),
        **marks(str(spec.key), jobs_dir),
        "ORQUANTA_GPU_COUNT": str(len(spec.gpu_uuids)),
        "ORQUANTA_GPU_UUIDS": ",".join(spec.gpu_uuids),
        "ORQUANTA_VIRTUAL_GPUS": "1" if virtual_gpus else "0",
    }


def process_environment(
    spec: MemberSpec, base: Mapping[str, str], jobs_dir: Path, *, virtual_gpus: bool, share: Mapping[str, str]
) -> dict[str, str]:
    """Return the whole environment of a job that runs as a process of this host."""
    own = identity(spec, jobs_dir, virtual_gpus=virtual_gpus)
    chosen = {**base, **rendezvous(spec), **spec.env, **share, **own}
    return {**chosen, "NVIDIA_VISIBLE_DEVICES": ",".join(spec.gpu_uuids) or "void"}


def site_environment(spec: MemberSpec) -> dict[str, str]:
    """Return what is added to the environment that an engine of the site gives; which GPUs it sees, the engine says."""
    return {
        "PYTHONUNBUFFERED": "1",
        **{name: value for name, value in spec.env.items() if name not in _GPUS_SEEN},
        "ORQUANTA_JOB_ID": spec.job_id,
        "ORQUANTA_ALLOCATION_ID": spec.allocation_id,
        "ORQUANTA_EPOCH": str(spec.epoch),
        "ORQUANTA_GPU_COUNT": str(len(spec.gpu_uuids)),
    }


def container_environment(
    spec: MemberSpec, jobs_dir: Path, *, virtual_gpus: bool, share: Mapping[str, str]
) -> dict[str, str]:
    """Return what is added to an image's own environment; its GPUs come in as CDI devices."""
    return {
        "PYTHONUNBUFFERED": "1",
        **rendezvous(spec),
        **spec.env,
        **share,
        **identity(spec, jobs_dir, virtual_gpus=virtual_gpus),
    }
