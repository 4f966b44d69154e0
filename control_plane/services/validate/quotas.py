"""What names of teams and their quotas must be."""

import re
from typing import Final

from control_plane.model.team import Team
from control_plane.services.validate.fields import Fields, shown
from orquanta.v1 import quota_pb2

DEPTH_MAX: Final = 4
WEIGHT_MIN: Final = 0.001
WEIGHT_MAX: Final = 1_000.0
GPUS_MAX: Final = 1_000_000

_WORD: Final = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_PATH: Final = re.compile(rf"{_WORD}(/{_WORD}){{0,{DEPTH_MAX - 1}}}")


def team_path(fields: Fields, path: str, value: str) -> str:
    """Check the path of a team."""
    if not _PATH.fullmatch(value):
        fields.wrong(
            path,
            f"{shown(value)} is not a team: use words of letters, digits, '-', '_' or '.', joined by '/', at most "
            f"{DEPTH_MAX} deep, for example research/nlp",
            "TEAM_INVALID",
        )
    return value


def entitled(fields: Fields, request: quota_pb2.SetQuotaRequest, known: Team | None) -> Team:
    """Check what a team is to be entitled to, and return it with all that stays as it was."""
    before = known or Team(request.team)
    weight = request.weight if request.HasField("weight") else before.weight
    if not WEIGHT_MIN <= weight <= WEIGHT_MAX:
        fields.wrong(
            "weight", f"is {weight:g}; it must be from {WEIGHT_MIN:g} to {WEIGHT_MAX:g}", "NUMBER_OUT_OF_RANGE"
        )
    guaranteed = (
        fields.integer("guaranteed_gpus", request.guaranteed_gpus, least=0, most=GPUS_MAX)
        if request.HasField("guaranteed_gpus")
        else before.guaranteed_gpus
    )
    most = before.max_gpus
    if request.HasField("max_gpus"):
        most = fields.integer("max_gpus", request.max_gpus, least=0, most=GPUS_MAX)
        if request.clear_max_gpus:
            fields.wrong("clear_max_gpus", "takes the limit away, and max_gpus sets one; give one of them", "AMBIGUOUS")
    elif request.clear_max_gpus:
        most = None
    if most is not None and guaranteed > most:
        fields.wrong(
            "guaranteed_gpus", f"is {guaranteed}, more than the {most} GPUs that the team may hold", "QUOTA_INVALID"
        )
    return Team(request.team, weight, guaranteed, most)
