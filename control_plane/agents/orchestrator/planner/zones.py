"""Time zones as people name them, computed without a time-zone database.

Offsets and summer-time rules: United States, from the second Sunday of March to the first of
November; European Union, from the last Sunday of March to the last of October.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from enum import Enum, auto
from functools import partial

from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, words


class _Summer(Enum):
    NONE = auto()
    AMERICA = auto()
    EUROPE = auto()


@dataclass(frozen=True, slots=True)
class Zone:
    """A named zone: its offset from UTC in winter, in minutes, and its summer-time rule."""

    offset_minutes: int
    summer: _Summer

    def at(self, local: datetime) -> timezone:
        """Return the fixed offset that holds at a local (naive) time."""
        extra = 60 if _in_summer(self.summer, local.date()) else 0
        return timezone(timedelta(minutes=self.offset_minutes + extra))


_ZONES: Mapping[str, tuple[int, _Summer]] = {
    words("utc|gmt|zulu|z(?= |$|[.,;)])"): (0, _Summer.NONE),
    words("london time|uk time|bst"): (0, _Summer.EUROPE),
    words("pst"): (-480, _Summer.NONE),
    words("pdt"): (-420, _Summer.NONE),
    words("pt|pacific(?: time)?|la time|sf time|california time|san francisco time|seattle time"): (
        -480,
        _Summer.AMERICA,
    ),
    words("mst"): (-420, _Summer.NONE),
    words("mt|mountain(?: time)?"): (-420, _Summer.AMERICA),
    words("cst"): (-360, _Summer.NONE),
    words("ct|central(?: time)|chicago time"): (-360, _Summer.AMERICA),
    words("est"): (-300, _Summer.NONE),
    words("edt"): (-240, _Summer.NONE),
    words("et|eastern(?: time)?|new york time|ny time|nyc time|boston time"): (-300, _Summer.AMERICA),
    words("cet|mez"): (60, _Summer.EUROPE),
    words("cest|mesz"): (120, _Summer.NONE),
    words(
        "berlin time|paris time|madrid time|rome time|amsterdam time|zurich time|stockholm time|"
        "german time|french time|"
        "europe/[a-z]{4,12}|hora de madrid|hora peninsular|heure de paris|ora di roma|deutscher zeit|"
        "berliner zeit"
    ): (60, _Summer.EUROPE),
    words("jst|tokyo time|japan time", "日本時間|日本时间"): (540, _Summer.NONE),
    words("kst|seoul time"): (540, _Summer.NONE),
    words("beijing time|china time|shanghai time|china standard time", "北京时间|中国时间"): (480, _Summer.NONE),
    words("sgt|singapore time|hkt"): (480, _Summer.NONE),
    words("ist|india time"): (330, _Summer.NONE),
    words("brt|hora de brasilia|horario de brasilia|sao paulo time"): (-180, _Summer.NONE),
}
_OFFSET = re.compile(r"(?<![a-z0-9])(?:utc|gmt) ?([+-])(\d{1,2})(?::?(\d\d))?(?![0-9])")
_CLOCK_OFFSET = re.compile(r"(?<=:\d\d)([+-])(\d\d):?(\d\d)?(?![\d:])")
_MAX_OFFSET_HOURS = 14


def recognise_zones(shadow: Shadow) -> None:
    """Replace names of time zones by marks with `Zone` values."""
    shadow.replace_all(_OFFSET, Kind.ZONE, _offset_zone)
    shadow.replace_all(_CLOCK_OFFSET, Kind.ZONE, _offset_zone)
    for pattern, (offset, summer) in _ZONES.items():
        shadow.replace_all(re.compile(pattern), Kind.ZONE, partial(_named_zone, Zone(offset, summer)))


def localise(local: datetime, zone: Zone | None, default: tzinfo) -> datetime:
    """Return a naive local time as aware UTC."""
    return local.replace(tzinfo=zone.at(local) if zone else default).astimezone(UTC)


def to_local(moment: datetime, zone: Zone | None, default: tzinfo) -> datetime:
    """Return an aware time as the naive local one."""
    if zone is None:
        return moment.astimezone(default).replace(tzinfo=None)
    guess = moment.astimezone(timezone(timedelta(minutes=zone.offset_minutes))).replace(tzinfo=None)
    return moment.astimezone(zone.at(guess)).replace(tzinfo=None)


def _named_zone(zone: Zone, _: re.Match[str]) -> Zone:
    return zone


def _offset_zone(match: re.Match[str]) -> Zone | None:
    hours, minutes = int(match.group(2)), int(match.group(3) or 0)
    if hours > _MAX_OFFSET_HOURS:
        return None
    sign = -1 if match.group(1) == "-" else 1
    return Zone(sign * (hours * 60 + minutes), _Summer.NONE)


def _in_summer(rule: _Summer, day: date) -> bool:
    if rule is _Summer.AMERICA:
        return _sunday(day.year, 3, 8) <= day < _sunday(day.year, 11, 1)
    if rule is _Summer.EUROPE:
        return _sunday(day.year, 3, 25) <= day < _sunday(day.year, 10, 25)
    return False


def _sunday(year: int, month: int, first_day: int) -> date:
    """Return the first Sunday on or after a day of a month."""
    day = date(year, month, first_day)
    return day + timedelta(days=(6 - day.weekday()) % 7)
