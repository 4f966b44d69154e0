"""The policy's file."""

import base64
import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from node_agent.files import write_atomically
from orquanta.v1 import repair_pb2


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept of policies over restarts and reboots."""

    signed: bytes = b""
    """A SignedPolicy, serialized; empty if there is none."""
    highest_version: int = 0
    """No older policy is taken again, not even after this one is gone."""
    expired: bool = False
    """It ran out once: no clock brings it back."""
    latest_time: datetime | None = None
    """The latest time of day that this host knows to have passed."""
    boot_id: str = ""
    """The boot in which it was accepted."""
    deadline_boottime_seconds: float = 0.0
    """On CLOCK_BOOTTIME of that boot: when it runs out whatever the wall clock says."""

    def policy(self) -> repair_pb2.SignedPolicy:
        """Return the policy with its signature."""
        return repair_pb2.SignedPolicy.FromString(self.signed)


def read(file: Path) -> Stored:
    """Return what is stored; nothing if there is no file. Raises OSError, ValueError for a damaged one."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return Stored()
    try:
        value = json.loads(data)
        latest = value["latest_time"]
        stored = Stored(
            signed=base64.b64decode(value["signed"], validate=True),
            highest_version=int(value["highest_version"]),
            expired=bool(value["expired"]),
            latest_time=None if latest is None else datetime.fromisoformat(latest),
            boot_id=str(value["boot_id"]),
            deadline_boottime_seconds=float(value["deadline_boottime_seconds"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"it is damaged ({error!r})") from error
    if stored.latest_time is not None and stored.latest_time.tzinfo is None:
        return replace(stored, latest_time=None)
    return stored


def write(file: Path, stored: Stored) -> None:
    """Replace what is stored, for good. Raises OSError."""
    value = {
        "signed": base64.b64encode(stored.signed).decode(),
        "highest_version": stored.highest_version,
        "expired": stored.expired,
        "latest_time": None if stored.latest_time is None else stored.latest_time.isoformat(),
        "boot_id": stored.boot_id,
        "deadline_boottime_seconds": stored.deadline_boottime_seconds,
    }
    write_atomically(file, json.dumps(value).encode())
