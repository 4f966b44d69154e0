"""What runs jobs elsewhere: an engine of the site behind a client, which a supervisor stands over as over a job."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from node_agent.jobs.spec import MemberKey, MemberSpec

ORDER_FILE = "order.json"
"""What a client is asked to run; in the member's directory."""


class EngineAwayError(Exception):
    """The engine could not be asked; the text says why and what to do."""


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

    def end(self, key: MemberKey) -> bool:
        """End at once all that runs under the member's name; say whether the engine has taken that. Blocks."""
        ...

    def unended(self) -> Collection[MemberKey]:
        """Return the members of this host's for which there are jobs that have not ended; nobody else's. Blocks.

        Raises EngineAwayError.
        """
        ...
