"""Reading a text: every recogniser in its order, from characters to a shadow of marks."""

from control_plane.agents.orchestrator.planner.dates import recognise_dates
from control_plane.agents.orchestrator.planner.durations import (
    recognise_compound_durations,
    recognise_durations,
    recognise_hours_minutes,
    recognise_memory,
)
from control_plane.agents.orchestrator.planner.gpu import recognise_gpus
from control_plane.agents.orchestrator.planner.literals import recognise_literals, recognise_names
from control_plane.agents.orchestrator.planner.money import recognise_money
from control_plane.agents.orchestrator.planner.places import recognise_places
from control_plane.agents.orchestrator.planner.quantities import recognise_numbers
from control_plane.agents.orchestrator.planner.shadow import Shadow
from control_plane.agents.orchestrator.planner.spelling import correct_spelling
from control_plane.agents.orchestrator.planner.spoken import (
    apply_corrections,
    recognise_rough_numbers,
    recognise_spoken_gpus,
    recognise_times,
)
from control_plane.agents.orchestrator.planner.zones import recognise_zones


def read(text: str) -> Shadow:
    """Return the shadow of a text. Raises `InvalidArgument` when nobody can have written it.

    The order matters: what is quoted is set aside first, names with digits in them next, and
    numbers come before the units that give them meaning.
    """
    shadow = Shadow.of(text)
    recognise_literals(shadow)
    correct_spelling(shadow)
    recognise_places(shadow)
    recognise_gpus(shadow)
    recognise_spoken_gpus(shadow)
    recognise_compound_durations(shadow)
    recognise_names(shadow)
    recognise_zones(shadow)
    recognise_dates(shadow)
    recognise_hours_minutes(shadow)
    recognise_rough_numbers(shadow)
    recognise_numbers(shadow)
    apply_corrections(shadow)
    recognise_times(shadow)
    recognise_money(shadow)
    recognise_memory(shadow)
    recognise_durations(shadow)
    return shadow
