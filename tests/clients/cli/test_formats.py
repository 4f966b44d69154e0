"""Values as people and scripts read them."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from orquanta.cli.documents import dump, to_document
from orquanta.cli.formats import clean, gpus, money, one_line, short, size, span
from orquanta.cli.output import plain_table
from orquanta.types import JobSpec, ResourceRequest


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("0.000049", "$0.0000"),
        ("0.01234", "$0.0123"),
        ("1", "$1.00"),
        ("1234.565", "$1,234.57"),
        ("-2.5", "-$2.50"),
    ],
)
def test_money_has_cents_from_a_dollar_up_and_four_digits_below(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0s"), (42.9, "42s"), (185, "3m 05s"), (7800, "2h 10m"), (356_400, "4d 3h")]
)
def test_span_shows_its_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_size_and_gpus_read_well() -> None:
    assert [size(512), size(80 * 1024**3), size(1536)] == ["512 B", "80 GiB", "1.5 KiB"]
    assert [gpus(0, ()), gpus(1, ()), gpus(8, ()), gpus(2, ("H100", "A100"))] == [
        "CPU",
        "1 GPU",
        "8 GPUs",
        "2 x H100|A100",
    ]


def test_control_characters_are_made_visible_and_lines_kept() -> None:
    assert clean("a\x1b[2Jb\nc\td\r") == "a�[2Jb\nc   d�"
    assert one_line("a\n  b\n" + "c" * 50, 10) == "a b cccccc…"[:9] + "…"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("No job waits.\nEvidence: jobs", "No job waits."),
        ("cost so far $0.000053 and on", "cost so far $0.000053 and on"),
        ("a" * 120, "a" * 99 + "…"),
        ("a" * 120 + ". b", "a" * 99 + "…"),
        ("", ""),
    ],
    ids=["sentence", "point", "long", "long-sentence", "empty"],
)
def test_tables_show_the_first_sentence_or_a_hundred_characters(text: str, shown: str) -> None:
    assert short(text) == shown


def test_table_aligns_and_leaves_no_trailing_blanks() -> None:
    assert plain_table(("id", "why"), [("j-1", ""), ("j-22", "waits")]) == ["ID    WHY", "j-1", "j-22  waits"]


def test_documents_use_text_for_money_and_rfc_3339_in_utc_for_times() -> None:
    moment = datetime(2026, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    value = {
        "at": moment,
        "usd": Decimal("1E-6"),
        "spec": JobSpec("demo", resources=ResourceRequest(gpu_types=("H100",))),
    }
    document = json.loads(dump(value))
    assert (document["at"], document["usd"]) == ("2026-03-01T12:00:00Z", "0.000001")
    assert document["spec"]["priority"] == "normal"
    assert document["spec"]["resources"]["gpu_types"] == ["H100"]


def test_type_without_a_json_form_is_an_error_not_a_guess() -> None:
    with pytest.raises(TypeError, match="bytes"):
        to_document({"data": b"x"})
    assert to_document(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"
