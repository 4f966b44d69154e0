"""The report of game days: what had to hold, how long each phase of each incident took, how much was out of service."""

from collections.abc import Sequence

from orquanta.cli.formats import words
from orquanta.cli.output import Output
from orquanta.gameday.play import Course, GameDay

_COURSE_COLUMNS = ("incident", "node", "state", "detect", "cordon", "drain", "repair", "verify", "total", "repairs")


def print_report(output: Output, days: Sequence[GameDay]) -> None:
    """Print the report, as JSON if that is asked for."""
    if output.as_json:
        output.document({"held": all(day.held for day in days), "game_days": days})
        return
    for day in days:
        _print_day(output, day)
    played = [day for day in days if not day.skipped]
    held = sum(day.held for day in played)
    skipped = f", {len(days) - len(played)} not played" if len(played) < len(days) else ""
    output.say(f"\n{held} of {len(played)} game days held{skipped}.")


def _print_day(output: Output, day: GameDay) -> None:
    verdict = "not played" if day.skipped else "held" if day.held else "NOT HELD"
    output.say(f"\n{day.scenario}: {verdict} - {day.title}")
    if day.skipped:
        output.say(f"  {day.skipped}")
        return
    rows = [
        ("yes" if one.held else "NO", f"{one.at_seconds:.1f} s", one.what + (f": {one.detail}" if one.detail else ""))
        for one in day.findings
    ]
    output.table(("held", "after", "what had to hold"), rows, empty="  Nothing had to hold.")
    if day.courses:
        output.say()
        output.table(_COURSE_COLUMNS, [_row(course) for course in day.courses], empty="")
    output.say(f"Most out of service at once: {day.most_out}. It took {day.seconds:.0f} s.")


def _row(course: Course) -> tuple[str, ...]:
    timings = course.timings
    phases = (
        timings.detect_seconds,
        timings.cordon_seconds,
        timings.drain_seconds,
        timings.repair_seconds,
        timings.verify_seconds,
        timings.total_seconds,
    )
    return (
        course.incident_id,
        course.node,
        words(course.state),
        *("-" if seconds is None else f"{seconds:.3f} s" for seconds in phases),
        ", ".join(words(one) for one in course.repairs) or "-",
    )
