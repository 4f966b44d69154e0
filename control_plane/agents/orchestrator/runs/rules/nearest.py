"""Names that somebody may have meant who wrote one that nobody bears."""

import difflib
from collections.abc import Iterable

from control_plane.agents.orchestrator.runs.moves import Call
from control_plane.agents.orchestrator.runs.view import RunView

_NAMES_MAX = 3
_LISTED_MAX = 100
_ALIKE = 0.5


def nearest_nodes(view: RunView, name: str) -> Call | str:
    """Return the call that lists hosts, or a sentence that offers the nearest names and tells how to list them."""
    arguments = {"limit": _LISTED_MAX}
    found = view.look("list_nodes", arguments)
    if found is None:
        return Call("list_nodes", arguments, f"nobody knows {name}: see which names there are")
    return _offer(name, (one.get("name") for one in found.data.get("nodes", ()) if isinstance(one, dict)), "node")


def nearest_jobs(view: RunView, name: str) -> Call | str:
    """Return the same for the person's own jobs."""
    arguments = {"user": "me", "limit": _LISTED_MAX}
    found = view.look("list_jobs", arguments)
    if found is None:
        return Call("list_jobs", arguments, f"nobody knows {name}: see which names there are")
    jobs = [one for one in found.data.get("jobs", ()) if isinstance(one, dict)]
    return _offer(name, [str(one.get(key, "")) for key in ("name", "id") for one in jobs], "job")


def _offer(name: str, known: Iterable[object], noun: str) -> str:
    by_lower = {str(one).lower(): str(one) for one in known if one}
    near = difflib.get_close_matches(name.lower(), by_lower, n=_NAMES_MAX, cutoff=_ALIKE)
    meant = f" Did you mean {' or '.join(by_lower[one] for one in near)}?" if near else ""
    return f"{meant} List {'your jobs' if noun == 'job' else 'hosts'} with: orquanta {noun} list"
