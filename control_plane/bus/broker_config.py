"""Settings of the embedded broker and the nats-server configuration they become."""

import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from control_plane.bus.subjects import (
    ALL_LOGS,
    ALL_TELEMETRY,
    CONTROL_ACCOUNT,
    CONTROL_USER,
    FLEET_ACCOUNT,
)

SYSTEM_ACCOUNT: Final = "ORQ_SYSTEM"
KICK_SUBJECTS: Final = "$SYS.REQ.SERVER.*.KICK"

_MIB: Final = 1 << 20


class Sync(Enum):
    """When the broker forces acknowledged messages to disk; the value is nats-server's `sync_interval`.

    A killed broker loses nothing either way, for each message is handed to the kernel before it is
    acknowledged. EVERY_SECOND may lose the last second if the machine itself loses power. EVERY_MESSAGE loses
    nothing then either, and costs a disk flush for each message.
    """

    EVERY_SECOND = "1s"
    EVERY_MESSAGE = "always"


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """How to run the embedded broker.

    directory: for its data, configuration and log; private to it. port 0: any free one, kept when the broker
    is restarted. binary: the nats-server to run; None finds the one that was installed with us.
    """

    directory: Path
    certificate_file: Path
    key_file: Path
    ca_file: Path
    issuer_public_key: str
    control_password: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    binary: Path | None = None
    max_payload_bytes: int = _MIB
    max_store_bytes: int = 4096 * _MIB
    sync: Sync = Sync.EVERY_SECOND
    log_max_bytes: int = 10 * _MIB  # of each of three files
    start_timeout_seconds: float = 30.0


def render(config: BrokerConfig, *, port: int, monitor_path: str) -> bytes:
    """Return the configuration file. nats-server reads JSON; -1 as a port means any free one."""
    text = json.dumps(
        {
            "server_name": "orquanta",
            "host": config.host,
            "port": port,
            # Loopback only, and under a path that nobody can guess: it needs no password.
            "http": "127.0.0.1:-1",
            "http_base_path": monitor_path,
            "ports_file_dir": str(config.directory),
            "log_file": str(config.directory / "nats-server.log"),
            "logfile_size_limit": config.log_max_bytes,
            "logfile_max_num": 3,
            "max_payload": config.max_payload_bytes,
            "ping_interval": "15s",
            "ping_max": 2,
            "tls": {
                "cert_file": str(config.certificate_file),
                "key_file": str(config.key_file),
                "ca_file": str(config.ca_file),
                "verify": True,
                "handshake_first": True,  # nothing is said in plain text, so nothing can be stripped of TLS
                "timeout": 5,
            },
            "jetstream": {
                "store_dir": str(config.directory / "store"),
                "max_file_store": config.max_store_bytes,
                "max_memory_store": 64 * _MIB,
                "sync_interval": config.sync.value,
            },
            **security(config.issuer_public_key, config.control_password),
        },
        ensure_ascii=False,
        indent=1,
    )
    return text.encode()


def security(issuer_public_key: str, control_password: str) -> dict[str, Any]:
    """Return the accounts and the authorisation: the part that an external broker needs as well."""
    return {
        "system_account": SYSTEM_ACCOUNT,
        "authorization": {
            "timeout": 5,
            "auth_callout": {
                "issuer": issuer_public_key,
                "account": CONTROL_ACCOUNT,
                "auth_users": [CONTROL_USER],
            },
        },
        "accounts": {
            CONTROL_ACCOUNT: {
                "jetstream": "enabled",
                "users": [{"user": CONTROL_USER, "password": control_password}],
                "exports": [{"service": ALL_LOGS}],
                "imports": [
                    {"stream": {"account": FLEET_ACCOUNT, "subject": ALL_TELEMETRY}},
                    {"service": {"account": SYSTEM_ACCOUNT, "subject": KICK_SUBJECTS}},
                ],
            },
            FLEET_ACCOUNT: {
                "exports": [{"stream": ALL_TELEMETRY, "accounts": [CONTROL_ACCOUNT]}],
                "imports": [
                    {"service": {"account": CONTROL_ACCOUNT, "subject": ALL_LOGS}},
                ],
            },
            SYSTEM_ACCOUNT: {"exports": [{"service": KICK_SUBJECTS, "accounts": [CONTROL_ACCOUNT]}]},
        },
    }
