"""Money: Decimal US dollars in code, whole millionths of a dollar in the database and on the wire."""

from decimal import ROUND_HALF_UP, Decimal

_MICROS = Decimal(1_000_000)


def to_micros(usd: Decimal) -> int:
    """Return whole millionths of a dollar, halves rounded up."""
    return int((usd * _MICROS).to_integral_value(ROUND_HALF_UP))


def from_micros(micros: int) -> Decimal:
    """Return dollars."""
    return Decimal(micros) / _MICROS


def optional_to_micros(usd: Decimal | None) -> int | None:
    """Return whole millionths of a dollar, or None."""
    return None if usd is None else to_micros(usd)


def optional_from_micros(micros: int | None) -> Decimal | None:
    """Return dollars, or None."""
    return None if micros is None else from_micros(micros)


def format_usd(usd: Decimal) -> str:
    """Return dollars for a person: `$12.34`, and as many places as a small amount needs."""
    if usd == 0 or abs(usd) >= Decimal("0.01"):
        return f"${usd:,.2f}"
    return f"${usd:.6f}".rstrip("0")
