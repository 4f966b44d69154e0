"""What runs jobs elsewhere: an engine of the site behind a client, which a supervisor stands over as over a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from node_agent.jobs.spec import MemberSpec

ORDER_FILE = "order.json"
"""What a client is asked to run; in the member's directory."""


@dataclass(frozen=True, slots=True)
class SiteCommands:
    """Command lines of an engine's client.

    `run` stays until the job has ended, copies its output, keeps `site.json` in the member's directory up to date (see
    supervisor/site_tree.py), and has the engine end the job on SIGTERM. `kill` ends the job at once, whether or not it
    was submitted; `signal` sends it a signal, whose number takes the place of "{signal}".
    """

    run: tuple[str, ...]
    kill: tuple[str, ...]
    signal: tuple[str, ...]
    environment: Mapping[str, str]


class Executor(Protocol):
    """An engine of the site."""

    def order(self, spec: MemberSpec, environment: Mapping[str, str]) -> str:
        """Return what the client is to run, as the content of the order's file."""
        ...

    def commands(self, directory: Path) -> SiteCommands:
        """Return the client's command lines for the member that lives in `directory`."""
        ...
