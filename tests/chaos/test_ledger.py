"""What books must show in the end, each of it told by its id."""

from collections import Counter

from chaos.ledger import Ledger, violations


def books() -> Ledger:
    made = Ledger()
    made.jobs = {"j-1": ("succeeded", 2, 30, 0)}
    made.attempts = {("j-1", 1): ("ended", 10, 1), ("j-1", 2): ("ended", 20, 1)}
    made.outcomes = Counter({"j-1": 1})
    made.people = {"a@x": (30, 0, 30)}
    return made


def test_books_that_balance_are_fine() -> None:
    assert violations(books(), {"r-1": "j-1"}) == []


def test_a_retry_that_made_a_second_job_is_told() -> None:
    assert "j-1 is in the books, and nobody was told of it" in violations(books(), {})
    assert "2 requests were answered with 1 jobs" in violations(books(), {"r-1": "j-1", "r-2": "j-1"})
    assert "j-9 was acknowledged, and is not in the books" in violations(books(), {"r-1": "j-9"})


def test_each_account_that_does_not_add_up_is_told() -> None:
    made = books()
    made.jobs["j-1"] = ("running", 2, 31, 5)
    made.attempts["j-1", 2] = ("stopping", 20, 1)
    made.outcomes["j-1"] = 2
    made.people["a@x"] = (30, 5, 31)
    made.left = ["GPU-1 is held by a-1 of j-1"]
    assert violations(made, {"r-1": "j-1"}) == [
        "j-1 attempt 2 is stopping",
        "j-1 is running, and nobody cancelled it",
        "j-1 has 2 outcomes in the audit",
        "j-1 has 5 micro-dollars reserved",
        "j-1 costs 31 micro-dollars, its attempts 30",
        "a@x has 5 micro-dollars reserved",
        "a@x has spent 30 micro-dollars, and the jobs cost 31",
        "GPU-1 is held by a-1 of j-1",
    ]
