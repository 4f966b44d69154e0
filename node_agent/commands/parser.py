"""The arguments of the commands that look at this host or ask its daemon."""

import argparse
import sys
from collections.abc import Callable
from typing import Final

from node_agent.probe.catalogue.write import write_csv, write_json, write_table

_FAULTS: Final = (
    *("xid", "ecc", "row_remap_pending", "row_remap_failed", "gpu_lost", "hang", "thermal"),
    *("nvlink_down", "pcie", "clear", "kmsg"),
)
_Add = Callable[[str, str], argparse.ArgumentParser]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> list[argparse.ArgumentParser]:
    """Add the commands; each names its function by `ask` and takes the daemon's settings. Return their parsers."""
    made: list[argparse.ArgumentParser] = []

    def add(name: str, text: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        parser.set_defaults(ask=name)
        made.append(parser)
        return parser

    _add_looks(add)
    _add_words(add)
    return made


def _add_looks(add: _Add) -> None:
    scan = add("scan", "look at this host once, with or without a daemon; exit code 0 well, 1 warnings, 2 not healthy")
    status = add("status", "show the state of this host's daemon")
    conditions = add("conditions", "show what is wrong now")
    events = add("events", "show health events, oldest first")
    events.add_argument("--since", metavar="AGE", help="only those of the last 30s, 5m, 2h or 7d")
    events.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    repairs = add("repairs", "show what was repaired here, newest first")
    for parser in (scan, status, conditions, events, repairs):
        parser.add_argument("--json", action="store_true", help="print JSON")


def _add_words(add: _Add) -> None:
    acknowledge = add("ack", "say that you know a condition: it asks for no repair any more")
    acknowledge.add_argument("condition", help="its id, as `conditions` shows it")
    clear = add("clear", "end a condition; it comes back if the trouble does")
    clear.add_argument("condition", help="its id, as `conditions` shows it")
    inject = add("inject", "put a fault into a virtual GPU, or a line into the kernel log, for a game day")
    inject.add_argument("fault", choices=_FAULTS)
    inject.add_argument("--gpu", default="", help="index or UUID (default: 0; for clear, all)")
    inject.add_argument(
        "--value",
        type=int,
        default=0,
        help="the XID, the count of errors, the temperature, the link, or the seconds of a hang",
    )
    inject.add_argument("--text", default="", help="the line, for kmsg")
    inject.add_argument("--times", type=int, default=1, help="how often (default: %(default)s)")


def add_catalogue(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `catalogue`, which needs neither settings nor a daemon."""
    parser = commands.add_parser("catalogue", help="print the catalogue of XIDs, with the vendor's immediate actions")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: %(default)s")
    parser.add_argument("--sxid", action="store_true", help="SXids, of NVSwitches, instead")
    parser.set_defaults(run_command=_catalogue)


def _catalogue(options: argparse.Namespace) -> int:
    write = {"table": write_table, "csv": write_csv, "json": write_json}[options.format]
    write(sys.stdout, sxids=options.sxid)
    return 0
