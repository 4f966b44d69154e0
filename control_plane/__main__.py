"""`orquanta-server`: runs the control plane."""

from control_plane import swift_start  # isort: skip - before everything that it is to speed up

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence

from control_plane.errors import OrQuantaError
from control_plane.logging import configure_logging
from control_plane.server import ControlPlane, Serving
from control_plane.setting_sources import SettingsError
from control_plane.settings import Settings, add_settings_arguments, settings_from

swift_start.loaded()

_EXIT_FAILED = 1
_EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the control plane until SIGINT or SIGTERM; return the process's exit status."""
    arguments = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    try:
        settings = settings_from(arguments)
    except SettingsError as error:
        sys.stderr.write(f"orquanta-server: {error}\n")
        return _EXIT_USAGE
    if arguments.command == "config":
        sys.stdout.write(_show(settings, as_json=arguments.json))
        return 0
    configure_logging(settings.log_level, settings.log_format)
    try:
        asyncio.run(_serve(settings))
    except OrQuantaError as error:
        sys.stderr.write(f"orquanta-server: {error}\n")
        return _EXIT_FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orquanta-server",
        allow_abbrev=False,
        description="Runs the OrQuanta control plane: gRPC for people and hosts, an embedded NATS, the agents.",
        epilog="Every setting can also come from a TOML file (--config) or from an ORQUANTA_* variable; flags win.",
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=["run", "config"],
        default="run",
        help="run (the default), or config: print every setting and where its value came from",
    )
    parser.add_argument("--json", action="store_true", help="with config: print JSON")
    add_settings_arguments(parser)
    return parser


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await ControlPlane(settings).run(stop, _tell)


def _tell(serving: Serving) -> None:
    lines = [f"OrQuanta serves people on {serving.people_server} and hosts on {serving.nodes_server}."]
    login = f"orquanta login --server {serving.people_server} --ca {serving.ca_certificate_file}"
    if serving.first_admin is not None:
        lines.append(f"An administrator was made: {serving.first_admin.email}")
        if serving.first_admin.made_password is not None:
            lines.append(f"Password, shown only this once: {serving.first_admin.made_password}")
        login += f" --email {serving.first_admin.email}"
    lines.append(f"Log in with: {login}")
    if serving.nats_issuer is not None:
        lines.append(f"Issuer for the auth callout of your NATS servers: {serving.nats_issuer}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _show(settings: Settings, *, as_json: bool) -> str:
    sources = settings.sources()
    if as_json:
        rows = [
            {"name": one.name, "value": one.value, "origin": one.origin.value, "place": one.place} for one in sources
        ]
        return json.dumps(rows, indent=2) + "\n"
    width = max(len(one.name) for one in sources)
    value = max(len(one.value) for one in sources)
    return "".join(
        f"{one.name:<{width}}  {one.value:<{value}}  {one.origin.value} {one.place}".rstrip() + "\n" for one in sources
    )


if __name__ == "__main__":
    sys.exit(main())
