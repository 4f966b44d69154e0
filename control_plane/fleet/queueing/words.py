"""The words in which the queue speaks of limits and times."""

from datetime import datetime


def clock(at: datetime, now: datetime) -> str:
    """Return a time of day in UTC, with the day if it is another one."""
    return f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M} UTC"


def gpus(milli: int) -> str:
    """Return GPUs, parts as parts."""
    return f"{milli / 1000:g}"
