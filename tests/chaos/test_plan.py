"""What is drawn before anything starts, and what is told of it afterwards."""

from datetime import UTC, datetime, timedelta

from chaos.acts import Deed, Moment
from chaos.ledger import Ledger
from chaos.plan import Kind, draw, faults
from chaos.recovery import recovered
from chaos.report import recoveries, table
from chaos.witness import Account

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def moment(seconds: float) -> Moment:
    return Moment(100.0 + seconds, NOON + timedelta(seconds=seconds))


def test_the_same_seed_draws_the_same_mischief_and_another_one_another() -> None:
    assert draw(7, 600) == draw(7, 600)
    assert draw(7, 600) != draw(8, 600)
    assert faults(7, 600, 200) == faults(7, 600, 200)


def test_each_kind_comes_before_any_comes_again_however_short_the_run() -> None:
    for seconds in (25, 600):
        assert {one.kind for one in draw(7, seconds)[: len(Kind)]} == set(Kind)
        assert [one.at_seconds for one in draw(7, seconds)] == sorted(one.at_seconds for one in draw(7, seconds))


def test_recovery_is_counted_from_the_kill_and_from_when_the_database_is_back() -> None:
    books, said = Ledger(), Account()
    books.leads = [NOON - timedelta(seconds=60), NOON + timedelta(seconds=3)]
    books.placements = [NOON + timedelta(seconds=one) for one in (1, 3.5)]
    books.submissions = [NOON + timedelta(seconds=one) for one in (0.5, 5.5)]
    said.links = [(90.0, "n-1", True), (101.0, "n-1", False), (104.0, "n-1", True)]
    killed = recovered(Deed(Kind.LEADER_KILLED, moment(0), moment(2)), books, said, 1)
    assert (killed.lead, killed.placing, killed.accepting, killed.links) == (3.0, 3.5, 0.5, 4.0)
    away = recovered(Deed(Kind.DATABASE_KILLED, moment(0), moment(5)), books, said, 1)
    assert (away.placing, away.accepting) == (None, 0.5)
    told = recoveries([killed, away])
    assert told[Kind.LEADER_KILLED.value]["another leads"] == {"count": 1, "p50_s": 3.0, "max_s": 3.0}
    assert "3.5 / 3.5" in table(told)
