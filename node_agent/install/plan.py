"""What an installation changes, decided before anything is changed."""

import re
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import Final

UNIT: Final = Path("etc/systemd/system/orquanta-node.service")
CONFIG: Final = Path("etc/orquanta/node.toml")
SERVICE: Final = "orquanta-node.service"
JOBS_ACCOUNT: Final = "orquanta-jobs"
_SAFE_PATH: Final = re.compile(r"/[A-Za-z0-9._/+-]{0,200}")


class Kind(Enum):
    """What a step does."""

    WRITE = "write"
    REMOVE = "remove"
    REMOVE_TREE = "remove with everything in it"
    COMMAND = "run"


@dataclass(frozen=True, slots=True)
class Step:
    """One change. `path` is below the root; `command` is looked up in the fixed table of `apply`."""

    kind: Kind
    why: str
    path: Path | None = None
    content: str = ""
    mode: int = 0o644
    keep: bool = False
    """Leave the file alone if it is there."""
    command: tuple[str, ...] = ()
    may_fail: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where to install. `root` is "/" but for images and tests; `live` is true if the host's systemd is meant."""

    root: Path
    executable: Path
    state_dir: Path
    run_as: str
    live: bool


def unit_text(target: Target) -> str:
    """Return the systemd unit. Raises ValueError for a path that cannot stand in one."""
    return _filled("unit.service", target)


def install_plan(target: Target, *, start: bool) -> tuple[Step, ...]:
    """Return the steps of an installation or an upgrade: both write the unit and leave the settings alone."""
    steps = [
        Step(Kind.WRITE, "the service", UNIT, unit_text(target)),
        Step(Kind.WRITE, "the settings", CONFIG, _filled("node.toml", target), keep=True),
    ]
    if target.live:
        account = ("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", JOBS_ACCOUNT)
        if target.run_as == JOBS_ACCOUNT:
            steps.insert(0, Step(Kind.COMMAND, "an account for jobs", command=account, may_fail=True))
        steps.append(Step(Kind.COMMAND, "systemd reads the unit", command=("systemctl", "daemon-reload")))
        steps.append(Step(Kind.COMMAND, "start at boot", command=("systemctl", "enable", SERVICE)))
        if start:
            # Restarting a daemon leaves its jobs alone: the next one takes them back.
            steps.append(Step(Kind.COMMAND, "start now", command=("systemctl", "restart", SERVICE)))
    return tuple(steps)


def uninstall_plan(target: Target, *, purge: bool) -> tuple[Step, ...]:
    """Return the steps of a removal; with `purge`, settings, identity and the logs of jobs go too."""
    steps = []
    if target.live:
        stop = ("systemctl", "disable", "--now", SERVICE)
        steps.append(Step(Kind.COMMAND, "stop the daemon, and never start it again", command=stop, may_fail=True))
    steps.append(Step(Kind.REMOVE, "the service", UNIT))
    if purge:
        steps.append(Step(Kind.REMOVE, "the settings", CONFIG))
        steps.append(Step(Kind.REMOVE_TREE, "identity, spool and logs", Path(*target.state_dir.parts[1:])))
    if target.live:
        steps.append(Step(Kind.COMMAND, "systemd forgets the unit", command=("systemctl", "daemon-reload")))
    return tuple(steps)


def _filled(name: str, target: Target) -> str:
    for path in (target.executable, target.state_dir):
        if not _SAFE_PATH.fullmatch(str(path)) or ".." in path.parts:
            raise ValueError(f"{str(path)!r} cannot stand in a unit: use an absolute path of letters, digits and ._/+-")
    text = resources.files("node_agent.install").joinpath(name).read_text()
    text = text.replace("@EXECUTABLE@", str(target.executable)).replace("@STATE_DIR@", str(target.state_dir))
    return text.replace("@RUN_AS@", target.run_as)
