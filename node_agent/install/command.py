"""`orquanta-node install` and `uninstall`."""

import argparse
import sys
from pathlib import Path

from node_agent.errors import SettingsInvalid
from node_agent.install.apply import apply
from node_agent.install.plan import JOBS_ACCOUNT, SERVICE, Target, install_plan, uninstall_plan, unit_text

_STATE_DIR = Path("/var/lib/orquanta-node")
_SYSTEMD = Path("/run/systemd/system")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands."""
    install = commands.add_parser("install", help="set the daemon up as a systemd service, or upgrade it")
    _add_target(install)
    install.add_argument(
        "--run-as", default=JOBS_ACCOUNT, metavar="USER", help="account of jobs (default: %(default)s)"
    )
    install.add_argument("--no-start", action="store_true", help="do not start the service now")
    install.add_argument("--print-unit", action="store_true", help="only print the systemd unit")
    install.set_defaults(run_command=_install)

    uninstall = commands.add_parser("uninstall", help="stop the service and take it away")
    _add_target(uninstall)
    uninstall.add_argument("--purge", action="store_true", help="remove settings, identity, spool and logs too")
    uninstall.set_defaults(run_command=_uninstall, run_as=JOBS_ACCOUNT)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="install into an image instead")
    parser.add_argument("--state-dir", type=Path, default=_STATE_DIR, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def _target(options: argparse.Namespace) -> Target:
    root = options.root.resolve()
    live = root == Path("/")
    only_says = options.dry_run or getattr(options, "print_unit", False)
    if live and not _SYSTEMD.is_dir() and not only_says:
        raise SettingsInvalid(
            "This host does not run systemd. Start `orquanta-node run` from your own service manager, or give --root."
        )
    executable = Path(sys.argv[0]).absolute() if Path(sys.argv[0]).name == "orquanta-node" else None
    return Target(
        root=root,
        executable=executable or Path(sys.executable).parent / "orquanta-node",
        state_dir=options.state_dir,
        run_as=options.run_as,
        live=live,
    )


def _install(options: argparse.Namespace) -> int:
    try:
        target = _target(options)
        if options.print_unit:
            sys.stdout.write(unit_text(target))
            return 0
        joined = (target.root / Path(*target.state_dir.parts[1:]) / "identity" / "current").exists()
        steps = install_plan(target, start=joined and not options.no_start)
    except ValueError as error:
        raise SettingsInvalid(f"{error}.") from error
    apply(steps, target.root, dry_run=options.dry_run, say=_say)
    if not joined and not options.dry_run:
        _say("Next: orquanta-node join --server HOST:PORT --token -   then   systemctl start " + SERVICE)
    return 0


def _uninstall(options: argparse.Namespace) -> int:
    target = _target(options)
    if options.purge and len(target.state_dir.parts) < 3:  # noqa: PLR2004 - "/", a directory, and one below it
        raise SettingsInvalid(f"{target.state_dir} is not the daemon's own directory; nothing was removed.")
    apply(uninstall_plan(target, purge=options.purge), target.root, dry_run=options.dry_run, say=_say)
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
