"""Values as people read them on a terminal."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_DASH = "-"


def clean(text: str) -> str:
    """Text from elsewhere without control characters, which could drive the terminal; lines are kept."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text.expandtabs(4))


def one_line(text: str, width: int = 0) -> str:
    """Text on one line, cut to a width if one is given."""
    line = " ".join(clean(text).split())
    return line if not width or len(line) <= width else line[: width - 1] + "…"


def trouble(error: Exception) -> str:
    """What went wrong with a file, without the number and the path that an OSError puts around it."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def counted(count: int, one: str, many: str = "") -> str:
    """`1 file`, `3 files`, `2 memories`."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def short(text: str, width: int = 100) -> str:
    """What fits into a table: the first sentence, cut to a width. Whole texts are for commands that show one thing."""
    line = one_line(text)
    end = line.find(". ")
    return one_line(line[: end + 1] if 0 <= end < width else line, width)


def money(amount: Decimal | None) -> str:
    """US dollars: cents from a dollar up, four digits below, so that a short job is not free."""
    if amount is None:
        return _DASH
    step = Decimal("0.01") if amount == 0 or abs(amount) >= 1 else Decimal("0.0001")
    sign = "-" if amount < 0 else ""
    return f"{sign}${abs(amount).quantize(step, rounding=ROUND_HALF_UP):,f}"


def span(seconds: float) -> str:
    """A duration with its two largest units: `42s`, `3m 05s`, `2h 10m`, `4d 3h`."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def precise(seconds: float | None) -> str:
    """A duration that may be short: `12 ms`, `4.2s`, `3m 05s`."""
    if seconds is None:
        return _DASH
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    return f"{seconds:.1f}s" if seconds < _MINUTE else span(seconds)


def elapsed(begin: datetime | None, end: datetime | None) -> str:
    """How long something has taken, or took."""
    if begin is None:
        return _DASH
    return span(((end or now()) - begin).total_seconds())


def relative(moment: datetime | None) -> str:
    """`3m 05s ago`, `in 2h 10m`."""
    if moment is None:
        return _DASH
    seconds = (now() - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def moment(when: datetime | None) -> str:
    """A time in the local zone, and how long ago that is."""
    if when is None:
        return _DASH
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S %Z} ({relative(when)})"


def clock(when: datetime | None) -> str:
    """A time in the local zone, to the second, for columns of times: `05-04 03:12:09`."""
    return _DASH if when is None else f"{when.astimezone():%m-%d %H:%M:%S}"


def size(count: int) -> str:
    """Bytes in binary units."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:  # noqa: PLR2004 - the step of binary units
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"  # noqa: PLR2004


def gpus(count: int, types: tuple[str, ...]) -> str:
    """`2 x H100`, `1 x A100|H100`, `8 GPUs`, `CPU`."""
    if count == 0:
        return "CPU"
    if types:
        return f"{count} x {'|'.join(types)}"
    return f"{count} GPU" + ("s" if count > 1 else "")


def words(name: str) -> str:
    """An enum value as words: `needs_input` reads `needs input`."""
    return name.replace("_", " ")


def or_dash(text: str) -> str:
    """The text, or a dash where there is none."""
    return text or _DASH


def now() -> datetime:
    """The time against which relative times are told."""
    return datetime.now(tz=UTC)
