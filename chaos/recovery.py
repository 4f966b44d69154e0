"""How long it took until things went on after each mischief, told afterwards from books and journals. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from chaos.acts import Deed, Moment
from chaos.ledger import Ledger
from chaos.plan import Kind
from chaos.witness import Account

NOTICED: Final = timedelta(seconds=20)
"""Within which time after its end a mischief has had its effects."""

_ALL: Final = 0.95
"""Share of the hosts that counts as all: some are away for reasons of their own."""

_FROM_ITS_END: Final = frozenset({Kind.DATABASE_KILLED, Kind.DATABASE_STOPPED, Kind.HOSTS_DEAF, Kind.HOSTS_KILLED})
"""What nobody can recover from before it is over: counted from its end, the others from their beginning."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Seconds until another led, a job was placed, a job was accepted, the hosts were linked; None where none was."""

    kind: Kind
    lead: float | None
    placing: float | None
    accepting: float | None
    links: float | None


def recovered(deed: Deed, books: Ledger, said: Account, hosts: int) -> Recovered:
    """Return what came back after one deed."""
    since = deed.undone if deed.kind in _FROM_ITS_END else deed.began
    lead = _first(books.leads, deed.began.utc)
    if lead is not None and lead - deed.undone.utc > NOTICED:
        lead = None
    began_again = since.utc if lead is None else max(lead, since.utc)
    return Recovered(
        deed.kind,
        None if lead is None else _seconds(lead, since.utc),
        _after(books.placements, began_again, since),
        _after(books.submissions, since.utc, since),
        _links_back(said.links, deed, since.monotonic, hosts),
    )


def _first(moments: Sequence[datetime], after: datetime) -> datetime | None:
    place = bisect_left(moments, after)
    return moments[place] if place < len(moments) else None


def _after(moments: Sequence[datetime], after: datetime, since: Moment) -> float | None:
    found = _first(moments, after)
    return None if found is None or found - after > NOTICED else _seconds(found, since.utc)


def _seconds(moment: datetime, since: datetime) -> float:
    return max(0.0, (moment - since).total_seconds())


def _links_back(links: Sequence[tuple[float, str, bool]], deed: Deed, since: float, hosts: int) -> float | None:
    """Return when nearly all hosts were linked again, if there was a time after the deed when they were not."""
    up: set[str] = set()
    most, dipped = deed.undone.monotonic + NOTICED.total_seconds(), False
    for at, node, linked in links:
        (up.add if linked else up.discard)(node)
        enough = len(up) >= _ALL * hosts
        if at <= deed.began.monotonic:
            continue
        if at > most and not dipped:
            return None
        dipped = dipped or not enough
        if dipped and enough and at >= since:
            return at - since
    return None
