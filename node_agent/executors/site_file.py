"""What a client tells its supervisor of a job elsewhere; read by jobs/supervisor/site_tree.py."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

_NAME = "site.json"


@dataclass(frozen=True, slots=True)
class SiteState:
    """Where a job is. `state` is waiting, running or ended; `outcome` is a member's outcome, once it has ended.

    `ran_seconds` is for how long it has run, by the engine's clock, when it was first seen to run and once it has
    ended; None if the engine does not tell.
    """

    state: str
    message: str = ""
    engine_id: str = ""
    outcome: str = ""
    exit_code: int | None = None
    signal: int | None = None
    ran_seconds: float | None = None


class SiteFile:
    """The file in a member's directory; replaced whole, and only when something has changed."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NAME
        self._written: SiteState | None = None

    def write(self, state: SiteState) -> None:
        """Tell the supervisor. Raises OSError."""
        if state == self._written:
            return
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(state)))
        draft.replace(self._path)
        self._written = state

    def engine_id(self) -> str:
        """Return what the engine calls the job, as was told last; empty if that is not known."""
        try:
            found = json.loads(self._path.read_text())
            return str(found["engine_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""
