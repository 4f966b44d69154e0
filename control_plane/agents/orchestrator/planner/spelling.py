"""Spelling: slips of the fingers in the words that the grammar turns on, set right before it is applied.

A slip is a pair of swapped letters, one letter left out, one letter twice, or, behind a number, one
wrong letter in a unit. Words that exist are never changed, and nothing that was quoted is looked at.
"""

import re
from collections.abc import Iterator, Mapping

from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark

_WORDS = """
train training retrain retraining pretrain pretraining finetune finetuning tuning benchmark benchmarking inference
evaluate evaluation deploy deployment transcribe transcode render embed generate tokenize tokenise preprocess
launch start serve cancel terminate restart reboot repair replace drain resume scale shrink increase reduce
budget dollars dollar euros pounds maximum minimum hours minutes seconds weeks until before within tomorrow tonight
overnight deadline monday tuesday wednesday thursday friday saturday sunday morning evening afternoon
preemptible interruptible instances interrupted priority urgent region provider replicas image container command
please without between against another approval approvals policy policies guardrails governor auditing disable bypass
ignore override delete destroy checkpoints checkpoint database credentials passwords password secrets exfiltrate
cluster endpoint workers machines anything cheapest running production everything
"""
_UNITS = ("hours", "hour", "minutes", "minute", "seconds", "days", "weeks", "dollars", "euros", "pounds", "bucks")
_EXISTING = frozenset(
    """
    trains trail trails brain brains drains trained retrained retrains finetuned star stars sart tart serves sere
    cancels cancer restarts reboots replaced replaces resumed resumes scales scaled sale shrinks increased increases
    reduced reduces budgets dollar euro pound hour minute second week regions provide provides providers images
    contain containers commands command priories approve approves polices police policed audited disabled disables
    ignored ignores overrides deleted deletes destroyed destroys checkpointed databases clusters endpoints worker
    machine machined clustered anythings runnings ruining products secret secretes password launches launched starts
    starting served server servers staring deployed deploys evaluated evaluates embeds imbed generated generates
    renders rendered tokens benchmarked benchmarks lunch retain retaining repar dolar darin anther
    """.split()  # noqa: SIM905 - a block of words reads better than a list of literals
)
_REAL_BEHIND_NUMBERS = frozenset(
    """
    minutos minuten minuti minuto secondes secondi secondo dollari dollaro dass dogs dans dads does docs dies dates
    data books backs bunks ducks houses horses points rounds weeds reeks peeks weeps daily tours pours fours
    """.split()  # noqa: SIM905 - a block of words reads better than a list of literals
)
_MIN_CHARS, _MIN_CHARS_LEFT_OUT = 5, 6
_WORD = re.compile(r"(?<![a-z0-9_./@:\\-])[a-z]{4,16}(?![a-z0-9_@/]|[.:][a-z0-9])")
_UNIT_WORD = re.compile(rf"(?<=[0-9{mark(Kind.NUMBER)[1:-1]}] )[a-z]{{3,8}}(?![a-z0-9])")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_JOINED_DAY = re.compile(
    r"(?<![a-z])(montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonntag)"
    r"(?=(?:s?)(?:abend|nachmittag|vormittag|mittag|morgen|fruh|nacht)(?![a-z]))"
)


def _slips(word: str) -> Iterator[str]:
    for at in range(len(word) - 1):
        yield word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    for at in range(1, len(word) + 1):
        yield word[:at] + word[at - 1] + word[at:]
    if len(word) >= _MIN_CHARS_LEFT_OUT:
        for at in range(1, len(word) - 1):
            yield word[:at] + word[at + 1 :]


def _table() -> Mapping[str, str]:
    known = set(_WORDS.split())
    found: dict[str, str] = {}
    for word in sorted(known):
        for slip in _slips(word):
            if slip not in known and slip not in _EXISTING and len(slip) >= _MIN_CHARS:
                found.setdefault(slip, word)
    return found


def _unit_table() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for word in _UNITS:
        wrong = {word[:at] + letter + word[at + 1 :] for at in range(1, len(word)) for letter in _LETTERS}
        left_out = {word[:at] + word[at + 1 :] for at in range(1, len(word) - 1)}
        added = {word[:at] + letter + word[at:] for at in range(1, len(word)) for letter in "aeiou"}
        for slip in sorted(wrong | left_out | added | set(_slips(word))):
            if slip not in _UNITS and slip not in _REAL_BEHIND_NUMBERS:
                found.setdefault(slip, word)
    return found


_TABLE = _table()
_UNIT_TABLE = _unit_table()


def correct_spelling(shadow: Shadow) -> None:
    """Set slips of the fingers right; a corrected word leads back to the word as it was written."""
    for pattern, table in ((_WORD, _TABLE), (_UNIT_WORD, _UNIT_TABLE)):
        for match in reversed(list(pattern.finditer(shadow.text))):
            meant = table.get(match.group())
            if meant is not None:
                _rewrite(shadow, match.start(), match.end(), meant)
    for match in reversed(list(_JOINED_DAY.finditer(shadow.text))):
        _rewrite(shadow, match.end() - 1, match.end(), match.group()[-1] + " ")


def _rewrite(shadow: Shadow, start: int, end: int, meant: str) -> None:
    written = shadow.span(start, end)
    shadow.text = shadow.text[:start] + meant + shadow.text[end:]
    shadow.spans = [*shadow.spans[:start], *([written] * len(meant)), *shadow.spans[end:]]
