"""Every `orquanta ...` in the documents names a command that exists, with options that it takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from orquanta.cli.app import app

Command = TyperCommand | TyperGroup
ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "infra").rglob("*.md"))]
_FENCED = re.compile(r"^ *```\w*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^(?:\w*\$ +)?(?:[A-Z_]+=\S+ +)?(orquanta .*)$", re.MULTILINE)
_NUMBER = re.compile(r"-\d+")
_VALUE = re.compile(r"[A-Z]+|.*[/=:].*")  # of an option that stands before the command
_INLINE = re.compile(r"`(orquanta [^`]*)`")
_ENDS = {"|", ">", ">>", "&&", ";", "||", "2>", "<", "--", "...", "…"}


@pytest.fixture(scope="module")
def commands() -> Command:
    return get_command(app)  # type: ignore[return-value] # its own copy of click names the type


def documented(text: str) -> Iterator[list[str]]:
    """The words of each command, up to a pipe, a comment or what a job runs."""
    blocks = [block.replace("\\\n", " ") for block in _FENCED.findall(text)]
    for line in [line for block in blocks for line in _LINE.findall(block)] + _INLINE.findall(_FENCED.sub("", text)):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # a quotation that goes on elsewhere
            continue
        end = next((at for at, word in enumerate(words) if word in _ENDS), len(words))
        yield words[1:end]


def wrong(command: Command, words: list[str]) -> str:
    """What is wrong with a command; an empty text if nothing is."""
    path, known = "orquanta", _options(command)
    for word in words:
        if word.startswith("-") and not _NUMBER.fullmatch(word):
            name = word.partition("=")[0]
            if name not in known and not command.ignore_unknown_options:
                return f"{path} has no option {name}"
        elif isinstance(command, TyperGroup) and not _VALUE.fullmatch(word):
            alternatives = word.split("|")  # `action approve|reject|undo`
            missing = [one for one in alternatives if one not in command.commands]
            if missing:
                return f"{path} has no command {missing[0]}"
            if len(alternatives) > 1:
                return ""
            command = command.commands[word]  # type: ignore[assignment] # likewise
            path, known = f"{path} {word}", known | _options(command)
    return ""


def _options(command: Command) -> set[str]:
    named = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    return {*named, "--help", "-h", "--install-completion"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_the_documents_exist(commands: Command, document: Path) -> None:
    found = documented(document.read_text())
    troubles = [(" ".join(words), why) for words in found if (why := wrong(commands, words))]
    assert troubles == []


def test_what_does_not_exist_is_found(commands: Command) -> None:
    text = "```sh\nann$ orquanta job sumbit x\norquanta queue --wach   # follow it\n```\n`orquanta node show --jsno`"
    assert [wrong(commands, words) for words in documented(text)] == [
        "orquanta job has no command sumbit",
        "orquanta queue has no option --wach",
        "orquanta node show has no option --jsno",
    ]
