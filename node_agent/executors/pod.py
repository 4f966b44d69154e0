"""What a pod's status says of its job."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from node_agent.executors.kubernetes_api import Json
from node_agent.executors.site_file import SiteState

_HOPELESS: Final = frozenset({"InvalidImageName", "CreateContainerConfigError"})
_NO_IMAGE: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"})
_LOST: Final = frozenset({"Evicted", "NodeLost", "NodeShutdown", "Shutdown", "Terminated", "UnexpectedAdmissionError"})
_MESSAGE_MAX: Final = 400
IMAGE_PATIENCE_SECONDS: Final = 600.0
"""For how long a pod's image may fail to be pulled."""
_SIGNALED: Final = 128
"""Runtimes report death by a signal as this and the signal's number."""
_LAST_SIGNAL: Final = 64


@dataclass(frozen=True, slots=True)
class PodView:
    """Where a pod is. `image_missing` means that its image cannot be pulled, so far."""

    state: SiteState
    name: str
    image_missing: bool = False


def view(pod: Json) -> PodView:
    """Return where the pod's job is."""
    name = str(pod.get("metadata", {}).get("name", ""))
    status = pod.get("status", {})
    containers = status.get("containerStatuses") or [{}]
    inside = containers[0].get("state", {})
    phase = status.get("phase")
    if phase in {"Succeeded", "Failed"}:
        terminated = inside.get("terminated") or {}
        return PodView(replace(_ended(status, terminated, name), ran_seconds=_ran_seconds(terminated)), name)
    if "running" in inside or phase == "Running":
        return PodView(SiteState("running", "", name), name)
    waiting = inside.get("waiting") or {}
    reason = str(waiting.get("reason") or _unscheduled(status) or "Pending")
    text = str(waiting.get("message") or "")[:_MESSAGE_MAX]
    if reason in _HOPELESS:
        return PodView(SiteState("ended", f"{reason}: {text}", name, "start_failed", 1), name)
    message = f"waits in Kubernetes: {reason}" + (f": {text}" if text else "")
    return PodView(SiteState("waiting", message[:_MESSAGE_MAX], name), name, image_missing=reason in _NO_IMAGE)


def _ran_seconds(terminated: Json) -> float | None:
    """Return for how long the container ran, by its node's clock; None if that is not told."""
    try:
        started, finished = (datetime.fromisoformat(terminated[name]) for name in ("startedAt", "finishedAt"))
        return max(0.0, (finished - started).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None


def _unscheduled(status: Json) -> str:
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "")[:_MESSAGE_MAX]
    return ""


def _ended(status: Json, terminated: Json, name: str) -> SiteState:
    reason = str(status.get("reason") or terminated.get("reason") or "")
    said = str(status.get("message") or terminated.get("message") or "")[:_MESSAGE_MAX]
    disrupted = any(
        one.get("type") == "DisruptionTarget" and one.get("status") == "True" for one in status.get("conditions", [])
    )
    code, number = terminated.get("exitCode"), terminated.get("signal")
    code = code if isinstance(code, int) else 1
    if reason in _LOST or disrupted:
        return SiteState("ended", f"the cluster has taken its pod away: {said or reason}", name, "supervisor_lost", 1)
    if reason == "DeadlineExceeded":
        return SiteState("ended", "ran for as long as it may", name, "timed_out", 1)
    if reason == "OOMKilled":
        text = "killed by Kubernetes for using more memory than it may; ask for more or use less"
        return SiteState("ended", text, name, "oom_killed", None, 9)
    if reason in {"ContainerCannotRun", "StartError"}:
        return SiteState("ended", f"its image cannot run it: {said}", name, "start_failed", 1)
    if isinstance(number, int) and number > 0:
        return SiteState("ended", "", name, "signaled", None, number)
    if _SIGNALED < code <= _SIGNALED + _LAST_SIGNAL:
        return SiteState("ended", "", name, "signaled", None, code - 128)
    return SiteState("ended", "", name, "exited", code)
