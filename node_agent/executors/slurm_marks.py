"""How a job of Slurm says whose it is: in its comment, which stays when a job gives itself another name.

Sources: sbatch(1) and squeue(1) of Slurm 22.05.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final

from node_agent.jobs.spec import MemberKey

_OPTION: Final = "--comment="
_MARK: Final = re.compile(r"(?:^|\s)orquanta/(?P<node>[^/\s]{1,63})/(?P<key>\S{1,80})$")
_ENDING: Final = "COMPLETING"

LIST: Final = ("squeue", "--noheader", f"--user={os.geteuid()}", "--format=%i|%T|%k")
"""Slurm's jobs of this daemon's user that have not ended: id, state, comment."""
LIST_NAMES: Final = (*LIST[:-1], "--format=%i|%j|%k")
"""The same jobs: id, name, comment."""


def own_mark(node_id: str, key: MemberKey) -> str:
    """Return the mark of a member's job; empty if there is no host to tell."""
    return f"orquanta/{node_id}/{key}" if node_id else ""


def find(text: str, name: str, own: str) -> str:
    """Return the id of the last job that LIST_NAMES prints under a member's name, or with its mark; or nothing."""
    found = ""
    for line in text.splitlines():
        number, called, comment = [*line.split("|", 2), "", ""][:3]
        marked = own and f" {comment.strip()}".endswith(f" {own}")
        if number.isdigit() and (called == name or marked):
            found = number
    return found


def mark(arguments: Sequence[str], node_id: str, key: MemberKey) -> list[str]:
    """Return arguments of sbatch by which the job bears the host's mark, behind a comment that the site wants."""
    if not node_id:
        return list(arguments)
    own, comment, others = own_mark(node_id, key), "", list[str]()
    following = iter(arguments)
    for one in following:
        if one == _OPTION.removesuffix("="):  # its value is the next argument
            comment = next(following, "")
        elif one.startswith(_OPTION):
            comment = one.removeprefix(_OPTION)
        else:
            others.append(one)
    return [*others, f"{_OPTION}{f'{comment} {own}' if comment else own}"]


def read_marks(text: str, node_id: str) -> Mapping[MemberKey, Sequence[str]]:
    """Return what LIST prints as ids of jobs, by the member whose mark of this host they bear."""
    found: dict[MemberKey, list[str]] = {}
    for line in text.splitlines():
        number, state, comment = [*line.split("|", 2), "", ""][:3]
        match = _MARK.search(comment.strip())
        if match is None or match["node"] != node_id or state == _ENDING or not number.isdigit():
            continue
        key = MemberKey.parse(match["key"])
        if key is not None:
            found.setdefault(key, []).append(number)
    return found
