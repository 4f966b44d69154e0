"""What the daemon asks of a supervisor: read from the member's directory, never from arguments or environment."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH118, PTH123
from __future__ import annotations

import json
import os

SPEC_FILE = "spec.json"
STATUS_FILE = "status.json"
SUPERVISOR_FILE = "supervisor.json"
STOP_FILE = "stop"
STOP_AT_ONCE = "at once"
"""Follows the grace in the stop's file where nothing of the job is to be saved first."""
LOG_DIRECTORY = "log"


class Plan:
    """The "plan" part of spec.json; see node_agent.jobs.plan, which writes it, for the meaning of each field."""

    def __init__(self, directory: str) -> None:
        with open(os.path.join(directory, SPEC_FILE), encoding="utf-8") as file:
            raw = json.load(file)["plan"]
        self.name: str = raw["name"]
        self.argv: list[str] = raw["argv"]
        self.env: dict[str, str] = raw["env"]
        self.cwd: str = raw["cwd"]
        self.user: tuple[int, int] | None = tuple(raw["user"]) if raw["user"] else None
        self.isolate: bool = raw["isolate"]
        self.limits: dict[str, int | None] = raw["limits"]
        self.cgroup_parent: str | None = raw["cgroup_parent"]
        self.cgroup_name: str = raw.get("cgroup_name", self.name)
        self.log_segment_bytes: int = raw["log_segment_bytes"]
        self.log_segments: int = raw["log_segments"]
        self.fence_file: str = raw["fence_file"]
        self.boot_id: str = raw["boot_id"]
        self.notice_socket: str = raw["notice_socket"]
        self.max_runtime_seconds: float | None = raw["max_runtime_seconds"]
        self.stop_grace_seconds: float = raw["stop_grace_seconds"]
        self.checkpoint_signal: int = raw.get("checkpoint_signal", 0)  # none in what an older daemon prepared
        self.checkpoint_seconds: float = raw.get("checkpoint_seconds", 0.0)
        self.gpu_share_enforced: bool = raw.get("gpu_share_enforced", False)
        self.fence_grace_seconds: float = raw["fence_grace_seconds"]
        self.container: dict[str, list[str]] | None = raw["container"]
        self.site: dict[str, list[str]] | None = raw.get("site")
