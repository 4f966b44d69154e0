"""Slips of the fingers are set right, and only those."""

import pytest

from control_plane.agents.orchestrator.planner.reading import read
from tests.control_plane.agents.orchestrator.planner.planning import plan


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("plaese trian it", "please train it"),
        ("cancle it untill noon", "cancel it until "),
        ("Mittwochabend", "mittwoch abend"),
        ("depoly the endopint", "deploy the endpoint"),
    ],
)
def test_a_slip_is_read_as_the_word_that_was_meant(written: str, meant: str) -> None:
    expected = read(meant).text

    assert read(written).text.startswith(expected)


@pytest.mark.parametrize("text", ["drain the trail", "the brains of the star", "minutos horas heures"])
def test_words_that_exist_are_left_alone(text: str) -> None:
    assert read(text).text == text


def test_quoted_words_and_commands_are_left_alone() -> None:
    made = plan("run `python trian.py --bugdet 3` on 2 L4")

    assert made.jobs[0].command == "python trian.py --bugdet 3"


def test_evidence_shows_the_word_as_it_was_written() -> None:
    made = plan("trian on 8 H100 for 4 hors")
    shown = {evidence.field: evidence.text for evidence in made.evidence}

    assert made.jobs[0].max_seconds == 4 * 3600
    assert "4 hors" in shown.values()
    assert "trian" in shown.values()
