"""`orquanta-node`: the command line of the daemon."""

from node_agent import lean  # isort: skip - before everything that it keeps out

import argparse
import asyncio
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from node_agent import logging
from node_agent.commands.parser import add_catalogue, add_commands
from node_agent.errors import AgentError, SettingsInvalid
from node_agent.install import command as install_command
from node_agent.link.identity import IdentityStore
from node_agent.lock import StateLock
from node_agent.memory import start_small
from node_agent.settings import Engine, LogLevel, Settings, join_token, load
from orquanta import __version__

assert lean  # its import is all that is needed of it

_LABEL = re.compile(r"(?P<key>[A-Za-z0-9][A-Za-z0-9._/-]{0,62})=(?P<value>[A-Za-z0-9._/-]{0,63})")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see `orquanta-node --help`."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run_command(options))
    except AgentError as error:
        return _tell(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _tell(error: AgentError) -> int:
    sys.stderr.write(f"orquanta-node: {error}\n")
    return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="orquanta-node", description="The OrQuanta daemon of a GPU host.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    join = commands.add_parser("join", help="make this host a node, with a one-time token")
    join.add_argument("--server", required=True, metavar="HOST:PORT", help="the control plane's port for people")
    join.add_argument("--token", help="the token; read from ORQUANTA_NODE_TOKEN or standard input (-) if not given")
    join.add_argument("--name", default=platform.node(), help="the node's name (default: %(default)s)")
    join.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="a label; repeatable")
    join.add_argument("--force", action="store_true", help="replace the identity that this host has")
    join.add_argument("--run", action="store_true", help="run the daemon afterwards")
    _add_settings(join)
    join.set_defaults(run_command=_join)

    run = commands.add_parser("run", help="run the daemon in the foreground")
    _add_settings(run)
    run.set_defaults(run_command=_run)

    for parser_of_host in add_commands(commands):
        _add_settings(parser_of_host)
        parser_of_host.set_defaults(run_command=_ask)
    add_catalogue(commands)

    install_command.add_commands(commands)

    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run_command=_version)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the settings as flags; without a default, so that file and environment show through."""
    add = parser.add_argument_group("settings").add_argument
    add("--state-dir", type=Path, metavar="DIR", help="identity, jobs and logs of the daemon")
    add("--config", type=Path, metavar="FILE", help="TOML file (default: /etc/orquanta/node.toml)")
    add("--virtual-gpus", metavar="SPEC", help="pretend to have GPUs, for example 8xH100")
    add("--container-engine", choices=[engine.value for engine in Engine], help="what runs images")
    add("--engine-arg", action="append", dest="engine_args", metavar="ARG", help="argument before the engine's command")
    add(
        "--engine-run-arg",
        action="append",
        dest="engine_run_args",
        metavar="ARG",
        help="argument after the engine's run",
    )
    add("--container-network", metavar="NAME", help="network of containers (default: host)")
    add("--run-as", metavar="USER[:GROUP]", help="account of jobs, if the daemon is root (default: its own)")
    add("--address", help="where other members of a gang reach this host")
    add("--log-level", choices=[level.value for level in LogLevel], help="how much to tell")
    add("--log-json", action="store_const", const=True, help="log JSON lines")
    add("--stop-jobs", action="store_const", const=True, help="stop the jobs too when the daemon is stopped")


def _settings(options: argparse.Namespace) -> Settings:
    names = (
        *("state_dir", "config", "virtual_gpus", "container_engine", "engine_args"),
        *("engine_run_args", "container_network", "run_as", "address", "log_level"),
        *("log_json", "stop_jobs"),
    )
    settings = load({name: getattr(options, name) for name in names})
    logging.configure_logging(settings)
    return settings


def _join(options: argparse.Namespace) -> int:
    # Only this command needs the certificate library, which would cost the daemon 8 MB for nothing.
    from node_agent.clock import SystemClock  # noqa: PLC0415 - see above
    from node_agent.link.join import JoinOrder, join  # noqa: PLC0415 - see above
    from node_agent.link.tls import Address  # noqa: PLC0415 - see above
    from node_agent.link.token import JoinToken  # noqa: PLC0415 - see above

    settings = _settings(options)
    order = JoinOrder(
        server=Address.parse(options.server),
        token=JoinToken.parse(_token_text(options.token)),
        node_name=options.name,
        labels=_labels(options.label),
        agent_version=__version__,
        force=options.force,
    )
    with StateLock(settings.state_dir):
        identity = asyncio.run(join(order, IdentityStore(settings.state_dir), clock=SystemClock()))
    sys.stdout.write(f"Joined as node {identity.node_id} ({identity.node_name}); state in {settings.state_dir}\n")
    if options.run:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "node_agent", "run", *_flags_of(options)])  # noqa: S606 - no shell on purpose
    sys.stdout.write("Start the daemon with `orquanta-node run` (or `systemctl start orquanta-node`).\n")
    return 0


def _token_text(given: str | None) -> str:
    if given == "-":
        return sys.stdin.readline()
    text = given or join_token()
    if not text:
        raise SettingsInvalid("No token: give --token, set ORQUANTA_NODE_TOKEN, or pass --token - and pipe it in.")
    return text


def _labels(texts: Sequence[str]) -> dict[str, str]:
    labels = {}
    for text in texts:
        match = _LABEL.fullmatch(text)
        if match is None:
            raise SettingsInvalid(f"{text!r} is not a label: write KEY=VALUE of letters, digits and ._/-.")
        labels[match["key"]] = match["value"]
    return labels


def _flags_of(options: argparse.Namespace) -> list[str]:
    """Return the settings of a `join --run` as flags of `run`."""
    flags: list[str] = []
    for name in (
        "state_dir",
        "config",
        "virtual_gpus",
        "container_engine",
        "container_network",
        "run_as",
        "address",
        "log_level",
    ):
        value = getattr(options, name)
        flags += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    flags += [f"--engine-arg={argument}" for argument in options.engine_args or ()]
    flags += [f"--engine-run-arg={argument}" for argument in options.engine_run_args or ()]
    for name in ("log_json", "stop_jobs"):
        flags += [f"--{name.replace('_', '-')}"] if getattr(options, name) else []
    return flags


def _run(options: argparse.Namespace) -> int:
    start_small()
    from node_agent import daemon  # noqa: PLC0415 - `status` and `version` answer at once without gRPC and NATS

    settings = _settings(options)
    exit_code = 0
    # Else asyncio handles it first, and describes its handler in full, with `inspect`, when the daemon replaces it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        asyncio.run(daemon.run(settings))
    except AgentError as error:
        exit_code = _tell(error)
    # Everything is closed by now. gRPC's own end takes two more seconds, which an upgrade would wait for.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _ask(options: argparse.Namespace) -> int:
    from node_agent.commands import host  # noqa: PLC0415 - only these commands need gRPC at once

    settings = _settings(options)
    ask: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
        "status": host.status,
        "conditions": host.conditions,
        "events": host.events,
        "repairs": host.repairs,
        "ack": host.acknowledge,
        "clear": host.clear,
        "inject": host.inject,
        "scan": _scan,
    }
    return ask[options.ask](settings, options)


def _scan(settings: Settings, options: argparse.Namespace) -> int:
    from node_agent.commands import scan  # noqa: PLC0415 - no other command looks for itself

    return scan.run(settings, options)


def _version(_options: argparse.Namespace) -> int:
    sys.stdout.write(f"orquanta-node {__version__}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
