"""`orquanta-node status|conditions|events|repairs|ack|clear|inject`: each asks the running daemon."""

import argparse
import contextlib
import getpass
import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from node_agent.commands import page
from node_agent.errors import NotJoined, NotRunning, SettingsInvalid
from node_agent.link.identity import IdentityStore
from node_agent.local.client import LocalClient, connected
from node_agent.lock import holder
from node_agent.settings import Settings
from orquanta.v1 import node_local_pb2

_NOT_RUNNING: Final = 3
_NOT_CONNECTED: Final = 4
FAULTS: Final = (
    *("xid", "ecc", "row_remap_pending", "row_remap_failed", "gpu_lost", "hang", "thermal"),
    *("nvlink_down", "pcie", "clear", "kmsg"),
)


def status(settings: Settings, options: argparse.Namespace) -> int:
    """Show how the daemon is; exit code 3 if it does not run, 4 if its link is down, 78 if the host has not joined."""
    store = IdentityStore(settings.state_dir)
    identity = store.load() if store.is_joined() else None
    value: dict[str, Any] = {  # Any: it becomes JSON
        "joined": identity is not None,
        "node_id": identity.node_id if identity else "",
        "node_name": identity.node_name if identity else "",
        "certificate_expires_at": identity.certificate.not_after.isoformat() if identity else "",
        "state_dir": str(settings.state_dir),
        "running": False,
        "pid": holder(settings.state_dir),
    }
    if value["pid"] is not None:
        with contextlib.suppress(NotRunning), connected(settings.socket) as daemon:
            value |= json.loads(daemon.status_json()) | {"running": True}
    _write([json.dumps(value, indent=2)] if options.json else page.describe_status(value))
    if identity is None:
        return NotJoined.exit_code
    if not value["running"]:
        return _NOT_RUNNING
    return 0 if (value.get("link") or {}).get("connected") else _NOT_CONNECTED


def conditions(settings: Settings, options: argparse.Namespace) -> int:
    """Show what is wrong now."""
    with connected(settings.socket) as daemon:
        found = daemon.conditions()
    _write(_json_list(found) if options.json else page.describe_conditions(found))
    return 0


def events(settings: Settings, options: argparse.Namespace) -> int:
    """Show health events; follow them if asked."""
    try:
        since = None if options.since is None else page.age(options.since, datetime.now(UTC))
    except ValueError as error:
        raise SettingsInvalid(f"--since: {error}.") from error
    with connected(settings.socket) as daemon:
        for event in daemon.events(since, follow=options.follow):
            _write([_json_line(event) if options.json else page.describe_event(event)])
            sys.stdout.flush()
    return 0


def repairs(settings: Settings, options: argparse.Namespace) -> int:
    """Show the repairs that this host remembers."""
    with connected(settings.socket) as daemon:
        found = daemon.repairs()
    if options.json:
        _write(_json_list(found))
    else:
        _write([line for report in found for line in page.describe_repair(report)] or ["No repair yet."])
    return 0


def acknowledge(settings: Settings, options: argparse.Namespace) -> int:
    """Say that a condition is known: it proposes no repair any more."""
    return _do(
        settings, lambda daemon: f"{daemon.acknowledge(options.condition, getpass.getuser()).id} is acknowledged"
    )


def clear(settings: Settings, options: argparse.Namespace) -> int:
    """End a condition; it comes back if the trouble does."""

    def ask(daemon: LocalClient) -> str:
        daemon.clear(options.condition, getpass.getuser())
        return f"{options.condition} is cleared"

    return _do(settings, ask)


def inject(settings: Settings, options: argparse.Namespace) -> int:
    """Put a fault in, for a game day."""
    fault = node_local_pb2.InjectFaultRequest(
        fault=options.fault,
        gpu=options.gpu or ("" if options.fault == "clear" else "0"),
        value=options.value,
        text=options.text,
        times=options.times,
    )
    return _do(settings, lambda daemon: daemon.inject(fault))


def _do(settings: Settings, ask: Callable[[LocalClient], str]) -> int:
    with connected(settings.socket) as daemon:
        _write([page.printable(ask(daemon))])
    return 0


def _json_list(messages: Iterable[Message]) -> list[str]:
    return [json.dumps([_values(message) for message in messages], indent=2)]


def _json_line(message: Message) -> str:
    return json.dumps(_values(message))


def _values(message: Message) -> dict[str, Any]:
    """Return a message by the contract's own names. Any: it becomes JSON."""
    return MessageToDict(message, preserving_proto_field_name=True)


def _write(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
