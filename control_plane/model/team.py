"""Teams: who shares the fleet, and what each is entitled to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Team:
    """A team. `path` is for example "research/nlp": a team in the team `research`.

    `weight` counts among the teams beside it when what is left over is shared out. `guaranteed_gpus` it gets back from
    borrowers whenever it needs them; `max_gpus` it may hold at most, None for no limit. Both include the teams in it.
    """

    path: str
    weight: float = 1.0
    guaranteed_gpus: int = 0
    max_gpus: int | None = None


def levels(path: str) -> tuple[str, ...]:
    """Return the team and every team that it is in, from the top: "a/b" gives "a" and "a/b", no team gives none."""
    words = path.split("/") if path else []
    return tuple("/".join(words[: depth + 1]) for depth in range(len(words)))
