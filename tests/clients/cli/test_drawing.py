"""Live views on a terminal."""

import pytest

from orquanta.cli.drawing import LiveTable


def test_what_others_have_named_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveTable() as live:
        live.update(lambda: ["head\x1b]0;owned\x07"], ("name", "state"), lambda: [("a\x1b[2J\nb", "running")])
    shown = capsys.readouterr().out
    assert "head" in shown
    assert "\x1b]0;" not in shown
    assert "\x1b[2J" not in shown
    assert "�" in shown
