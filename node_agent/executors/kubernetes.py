"""Kubernetes as an executor: Jobs, the client's command lines, and the GPUs of the cluster.

Sources: the Kubernetes API reference (batch/v1 Job, core/v1 Pod, Node); NVIDIA's device plug-in (`nvidia.com/gpu`) and
GPU feature discovery (`nvidia.com/gpu.product`).
"""

import http
import json
import math
import sys
import urllib.parse
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node_agent.executors.kubernetes_api import Api, ApiAccess, ApiError, Json, delete_at_once, jobs_path
from node_agent.executors.pod import IMAGE_PATIENCE_SECONDS
from node_agent.jobs.container import NoEngineError
from node_agent.jobs.environment import DEFAULT_PATH
from node_agent.jobs.executor import EngineAwayError, SiteCommands
from node_agent.jobs.spec import MemberKey, MemberSpec

GPU: Final = "nvidia.com/gpu"
PRODUCT: Final = "nvidia.com/gpu.product"
JOB_LABEL: Final = "orquanta.dev/member"
NODE_LABEL: Final = "orquanta.dev/node"
_ROOT: Final = str(Path(__file__).parent.parent.parent)
_CODE: Final = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from node_agent.executors.kubernetes_client import main; main(sys.argv[2:])"
)
_FORGET_SECONDS: Final = 600
"""A Job that ended and whose client is gone is deleted by the cluster itself after this long."""
_PREFIX: Final = "k8s."
_NAME: Final = "orquanta-"
_PAGE: Final = 500
"""Jobs that the API tells of in one answer."""
_PAGES_MAX: Final = 200
"""Answers that are asked for in one look: 100,000 Jobs. Jobs beyond them are looked at when there are fewer."""
_ANY: Final = "any"


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node of the cluster that can run jobs.

    `product` is what its GPUs are labelled as, for example NVIDIA-H100-80GB-HBM3; it may be empty.
    """

    name: str
    product: str
    gpu_count: int


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """A namespace of a cluster. Jobs without an image of their own run in `image`.

    `node_id` is whose jobs these are: daemons that share a namespace leave each other's alone.
    """

    access: ApiAccess
    namespace: str
    image: str = ""
    gpus_per_node: int = 0
    node_id: str = ""

    def order(self, spec: MemberSpec, environment: Mapping[str, str]) -> str:
        """Return the Job and how to reach the cluster, as JSON. Raises NoEngineError for what cannot run there."""
        if spec.gpu_milli:
            raise NoEngineError("Kubernetes gives whole GPUs here; ask for no part of one")
        if len(spec.gpu_uuids) > self.gpus_per_node:
            raise NoEngineError(
                f"no node of the cluster has {len(spec.gpu_uuids)} GPUs, and gangs over several of its nodes are not "
                f"started here: ask for at most {self.gpus_per_node}"
            )
        if not spec.image and not self.image:
            raise NoEngineError("jobs on Kubernetes run in an image; name one, or set kubernetes_image on the daemon")
        return json.dumps(
            {
                "access": self.access.to_json(),
                "namespace": self.namespace,
                "job": self._job(spec, environment),
                "grace_seconds": math.ceil(spec.stop_grace_seconds),
            }
        )

    def commands(self, directory: Path) -> SiteCommands:
        """Return the client's command lines for the member that lives in `directory`."""
        client = (sys.executable, "-I", "-c", _CODE, _ROOT)
        return SiteCommands(
            run=(*client, "run", str(directory)),
            kill=(*client, "kill", str(directory)),
            signal=(*client, "signal", str(directory), "{signal}"),
            environment={"PATH": DEFAULT_PATH, "LC_ALL": "C.UTF-8"},
        )

    def end(self, key: MemberKey) -> bool:
        """Delete the member's Job and its pods at once."""
        try:
            delete_at_once(Api(self.access), self.namespace, job_name(key))
        except ApiError as error:
            return error.status == http.HTTPStatus.NOT_FOUND
        return True

    def unended(self) -> Collection[MemberKey]:
        """Return the members whose Jobs bear this host's label and have not ended. Raises EngineAwayError."""
        if not self.node_id:
            return ()
        selector = urllib.parse.quote(f"{NODE_LABEL}={self.node_id}")
        path = f"{jobs_path(self.namespace)}?labelSelector={selector}&limit={_PAGE}"
        found: list[MemberKey] = []
        more = ""
        try:
            for _ in range(_PAGES_MAX):
                page = Api(self.access).call("GET", path + more)
                found.extend(key for key in map(_unended_member, page.get("items") or []) if key is not None)
                token = str((page.get("metadata") or {}).get("continue") or "")
                if not token:
                    break
                more = f"&continue={urllib.parse.quote(token, safe='')}"
        except ApiError as error:
            raise EngineAwayError(f"Kubernetes cannot be asked for its jobs: {error}") from error
        return tuple(found)

    def nodes(self) -> tuple[ClusterNode, ...]:
        """Return the nodes in service that have GPUs, by name. Raises ApiError."""
        items = Api(self.access).call("GET", "/api/v1/nodes").get("items", [])
        return tuple(sorted(filter(None, map(_node, items)), key=lambda node: node.name))

    def _job(self, spec: MemberSpec, environment: Mapping[str, str]) -> Json:
        name = job_name(spec.key)
        limits: dict[str, str] = {}
        if spec.gpu_uuids:
            limits[GPU] = str(len(spec.gpu_uuids))
        if spec.cpu_limit_milli:
            limits["cpu"] = f"{spec.cpu_limit_milli}m"
        if spec.memory_limit_bytes:
            limits["memory"] = str(spec.memory_limit_bytes)
        product = _product(spec.gpu_uuids[0]) if spec.gpu_uuids else ""
        told = {**environment, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(spec.master_port)}
        told |= {"NNODES": "1", "NODE_RANK": "0"}
        if not spec.gpu_uuids:
            told["NVIDIA_VISIBLE_DEVICES"] = "void"  # else images that say "all" see every GPU of the node
        container: dict[str, Json] = {
            "name": "job",
            "image": spec.image or self.image,
            "env": [{"name": key, "value": value} for key, value in sorted(told.items())],
            "resources": {"limits": limits},
            "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108 - shared memory of workers
            **({"workingDir": spec.working_dir} if spec.working_dir else {}),
        }
        if isinstance(spec.command, str):
            container["command"] = ["/bin/sh", "-c", spec.command]
        elif spec.command:
            container["args" if spec.image else "command"] = list(spec.command)
        pod: dict[str, Json] = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": math.ceil(spec.stop_grace_seconds),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
            "containers": [container],
            **({"nodeSelector": {PRODUCT: product}} if product else {}),
            **({"activeDeadlineSeconds": _deadline_seconds(spec)} if spec.max_runtime_seconds else {}),
        }
        labels = {"app.kubernetes.io/managed-by": "orquanta", JOB_LABEL: name}
        labels |= {NODE_LABEL: self.node_id} if self.node_id else {}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "backoffLimit": 0,  # whether it is tried again, the control plane decides
                "ttlSecondsAfterFinished": _FORGET_SECONDS,
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }


def _deadline_seconds(spec: MemberSpec) -> int:
    """Return after how long the cluster ends a pod whose client does not: it counts while the image is pulled.

    It is the pod's, for a Job's deadline counts from its creation, also while it waits for a node.
    """
    return math.ceil((spec.max_runtime_seconds or 0) + spec.stop_grace_seconds + IMAGE_PATIENCE_SECONDS)


def job_name(key: MemberKey) -> str:
    """Return the name of a member's Job; no other member has it."""
    return f"{_NAME}{key.allocation_id}-{key.rank}"


def _unended_member(job: Json) -> MemberKey | None:
    """Return whose Job this is, if it is one of ours that may run: neither ended nor being deleted.

    One that a person has made of ours bears our labels, but another name than the label says.
    """
    metadata, status = job.get("metadata", {}), job.get("status", {})
    name = str(metadata.get("name", ""))
    ended = any(
        one.get("type") in {"Complete", "Failed"} and one.get("status") == "True"
        for one in status.get("conditions") or []
    )
    if ended or metadata.get("deletionTimestamp") or (metadata.get("labels") or {}).get(JOB_LABEL) != name:
        return None
    allocation_id, _, rank = name.removeprefix(_NAME).rpartition("-")
    return MemberKey.parse(f"{allocation_id}.{rank}")


def gpu_uuid(product: str, number: int) -> str:
    """Return the name that a GPU of the cluster goes by: which of them a job gets, Kubernetes decides."""
    return f"{_PREFIX}{product or _ANY}.{number}"


def _product(uuid: str) -> str:
    product = uuid.removeprefix(_PREFIX).rpartition(".")[0]
    return "" if product == _ANY else product


def _node(item: Json) -> ClusterNode | None:
    """Return a node that is ready and takes pods, and has GPUs."""
    status, spec = item.get("status", {}), item.get("spec", {})
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in status.get("conditions", []))
    count = str(status.get("allocatable", {}).get(GPU, "0"))
    if not ready or spec.get("unschedulable") or not count.isdigit() or int(count) == 0:
        return None
    metadata = item.get("metadata", {})
    return ClusterNode(str(metadata.get("name", "")), str(metadata.get("labels", {}).get(PRODUCT, "")), int(count))
