"""Slurm as an executor: batch scripts, the client's command lines, and the GPUs of a partition.

Sources: sbatch(1), sinfo(1), and gres.conf(5) of Slurm 22.05.
"""

import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node_agent.executors.slurm_marks import LIST, mark, own_mark, read_marks
from node_agent.executors.slurm_programs import kill, run_program
from node_agent.jobs.container import NoEngineError
from node_agent.jobs.environment import DEFAULT_PATH
from node_agent.jobs.executor import EngineAwayError, SiteCommands
from node_agent.jobs.spec import MemberKey, MemberSpec

_CODE: Final = (
    "import sys; sys.path.append(sys.argv[1]); from node_agent.executors.slurm_client import main; main(sys.argv[2:])"
)
_ROOT: Final = str(Path(__file__).parent.parent.parent)
_SINFO_SECONDS: Final = 30.0
_GRES: Final = re.compile(r"gpu(?::(?P<type>[A-Za-z0-9_.-]+))?:(?P<count>[0-9]{1,3})(?:\(|$)")
_OUT_OF_SERVICE: Final = ("down", "drain", "fail", "maint", "unknown", "power", "inval", "reboot", "no_respond")
_MIB: Final = 1024 * 1024


class NoSlurmError(Exception):
    """Slurm cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class SlurmNode:
    """A node of the cluster that can run jobs: its GPUs of one model. `gpu_type` may be empty."""

    name: str
    gpu_type: str
    gpu_count: int


@dataclass(frozen=True, slots=True)
class Slurm:
    """A partition of a Slurm cluster.

    `output_dir` must be the same directory here and on the cluster's nodes. `arguments` are further ones of sbatch,
    such as `--account=research`. `environment` is what Slurm's own programs need, such as SLURM_CONF. `node_id` is
    whose jobs these are: daemons that share a cluster leave each other's alone.
    """

    output_dir: Path
    partition: str = ""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus_per_node: int = 0
    node_id: str = ""

    def order(self, spec: MemberSpec, environment: Mapping[str, str]) -> str:
        """Return the batch script and how to submit it, as JSON. Raises NoEngineError for what Slurm cannot run."""
        if spec.image:
            raise NoEngineError("jobs on Slurm run no container images here; name a command")
        if spec.gpu_milli:
            raise NoEngineError("Slurm gives whole GPUs here; ask for no part of one")
        name = job_name(spec.key)
        nodes = self._nodes(spec)
        return json.dumps(
            {
                "name": name,
                "mark": own_mark(self.node_id, spec.key),
                "output_dir": str(self.output_dir / name),
                "arguments": mark([*self._arguments(spec, nodes), *self.arguments], self.node_id, spec.key),
                "script": _script(spec, environment, nodes),
            }
        )

    def commands(self, directory: Path) -> SiteCommands:
        """Return the client's command lines for the member that lives in `directory`."""
        client = (sys.executable, "-I", "-c", _CODE, _ROOT)
        return SiteCommands(
            run=(*client, "run", str(directory)),
            kill=(*client, "kill", str(directory)),
            signal=(*client, "signal", str(directory), "{signal}"),
            environment=self._variables,
        )

    def end(self, key: MemberKey) -> bool:
        """End at once what runs under the member's name, or bears its mark under another one."""
        try:
            ids = self._marked().get(key, [])
        except EngineAwayError:
            return False
        taken = [kill(which, environment=self._variables) for which in (f"--name={job_name(key)}", *ids)]
        return all(taken)

    def unended(self) -> Collection[MemberKey]:
        """Return the members whose jobs bear this host's mark and have not ended. Raises EngineAwayError."""
        return self._marked().keys()

    def _marked(self) -> Mapping[MemberKey, Sequence[str]]:
        done = run_program(list(LIST), environment=self._variables)
        if isinstance(done, str) or done.returncode != 0:
            said = done if isinstance(done, str) else done.stderr.strip()[:300]
            raise EngineAwayError(f"Slurm cannot be asked for its jobs: {said or 'squeue failed'}; see: squeue")
        return read_marks(done.stdout, self.node_id)

    @property
    def _variables(self) -> dict[str, str]:
        return {"PATH": DEFAULT_PATH, "LC_ALL": "C.UTF-8", **self.environment}

    def nodes(self) -> tuple[SlurmNode, ...]:
        """Return the partition's nodes that are in service. Raises NoSlurmError."""
        partition = (f"--partition={self.partition}",) if self.partition else ()
        command = ("sinfo", "-N", "--noheader", "--Format=NodeList:100,StateLong:60,Gres:400", *partition)
        try:
            done = subprocess.run(
                command,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SINFO_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise NoSlurmError("sinfo is not installed here; install Slurm's client programs") from error
        except subprocess.TimeoutExpired as error:
            raise NoSlurmError(f"Slurm did not answer within {_SINFO_SECONDS:.0f} s; see: sinfo") from error
        if done.returncode != 0:
            raise NoSlurmError(f"Slurm cannot be asked: {done.stderr.strip()[:300] or 'sinfo failed'}")
        return parse_nodes(done.stdout)

    def _nodes(self, spec: MemberSpec) -> int:
        """Return over how many nodes the GPUs are spread evenly: as few as can hold them."""
        count = len(spec.gpu_uuids)
        if not self.gpus_per_node or count <= self.gpus_per_node:
            return 1
        least = math.ceil(count / self.gpus_per_node)
        return next(nodes for nodes in range(least, count + 1) if count % nodes == 0)

    def _arguments(self, spec: MemberSpec, nodes: int) -> Sequence[str]:
        made = [f"--job-name=orquanta-{spec.key}", "--parsable", "--no-requeue", "--export=NONE", f"--nodes={nodes}"]
        made.append("--ntasks-per-node=1")
        if self.partition:
            made.append(f"--partition={self.partition}")
        if spec.gpu_uuids:
            model = _slurm_type(spec.gpu_uuids[0])
            made.append(f"--gres=gpu:{f'{model}:' if model else ''}{len(spec.gpu_uuids) // nodes}")
        if spec.cpu_limit_milli:
            made.append(f"--cpus-per-task={math.ceil(spec.cpu_limit_milli / 1000)}")
        if spec.memory_limit_bytes:
            made.append(f"--mem={math.ceil(spec.memory_limit_bytes / _MIB)}M")
        if spec.max_runtime_seconds:
            # Slurm's limit is for when nobody here ends it: with room for the checkpoint and the grace before that.
            most = spec.max_runtime_seconds + spec.checkpoint_seconds + spec.stop_grace_seconds
            made.append(f"--time={math.ceil(most / 60) + 1}")
        return made


def job_name(key: MemberKey) -> str:
    """Return the name of a member's job; no other member has it."""
    return f"orquanta-{key}"


def parse_nodes(text: str) -> tuple[SlurmNode, ...]:
    """Return the nodes in service that sinfo lists, each once, by name; lines that make no sense are left out."""
    found: dict[str, SlurmNode] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or any(state in words[1].lower() for state in _OUT_OF_SERVICE):  # noqa: PLR2004 - as asked
            continue
        for part in words[2].split(","):
            match = _GRES.match(part)
            if match is not None and int(match["count"]) > 0 and words[0] not in found:
                found[words[0]] = SlurmNode(words[0], match["type"] or "", int(match["count"]))
    return tuple(found[name] for name in sorted(found))


def gpu_uuid(gpu_type: str, number: int) -> str:
    """Return the name that a GPU of the partition goes by: which of them a job gets, Slurm decides."""
    return f"slurm.{gpu_type or 'any'}.{number}"


def _slurm_type(uuid: str) -> str:
    model = uuid.removeprefix("slurm.").rpartition(".")[0]
    return "" if model == "any" else model


def _script(spec: MemberSpec, environment: Mapping[str, str], nodes: int) -> str:
    command = spec.command if isinstance(spec.command, str) else shlex.join(spec.command)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(environment.items()))
    rendezvous = (
        f"export MASTER_PORT={spec.master_port} NNODES={nodes} PET_NNODES={nodes} PET_MASTER_PORT={spec.master_port}\n"
        'export MASTER_ADDR="${SLURMD_NODENAME:-127.0.0.1}"\nexport PET_MASTER_ADDR="$MASTER_ADDR"\n'
    )
    change = f"cd {shlex.quote(spec.working_dir)} || exit 1\n" if spec.working_dir else ""
    if nodes == 1:
        run = f"export NODE_RANK=0 PET_NODE_RANK=0\nexec /bin/sh -c {shlex.quote(command)}\n"
    else:
        ranked = f'export NODE_RANK="$SLURM_PROCID" PET_NODE_RANK="$SLURM_PROCID"; {command}'
        run = f"exec srun --export=ALL --kill-on-bad-exit=1 /bin/sh -c {shlex.quote(ranked)}\n"
    return f"#!/bin/sh\n{exports}{rendezvous}{change}{run}"
