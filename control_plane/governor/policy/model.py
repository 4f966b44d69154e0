"""Rules, sets of rules, what is wrong with files, and what rules have said."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from control_plane.governor.policy.expression import Expression
from control_plane.governor.ruling import Ruling
from control_plane.model.approval import ApprovalNeed
from control_plane.model.freeze import Freeze

FILES_MAX: Final = 64
FILE_BYTES_MAX: Final = 256 * 1024
SET_BYTES_MAX: Final = 512 * 1024
RULES_MAX: Final = 256
FREEZES_MAX: Final = 64
MESSAGE_CHARACTERS_MAX: Final = 500
FAULTS_MAX: Final = 100

BUILT_IN: Final = "built-in"
"""Stands where the file of a rule is named, for those that are in no file."""


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A file's name and text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something wrong with a file, at a line from 1; 0 if it is about the file as a whole."""

    file: str
    line: int
    rule_id: str
    text: str


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule of a file, ready to be asked. `need` is what it asks for if it asks for approval."""

    id: str
    file: str
    line: int
    when: Expression
    then: Ruling
    need: ApprovalNeed | None
    message: str


@dataclass(frozen=True, slots=True)
class PolicySet:
    """The rules of all files together. `version` is the SHA-256 of the files, in hex."""

    version: str
    files: tuple[PolicyFile, ...] = ()
    rules: tuple[PolicyRule, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    loaded_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one rule said about one input. `values_json` are the values that its condition looked at."""

    rule_id: str
    file: str
    matched: bool
    ruling: Ruling
    text: str
    values_json: str = "{}"
    need: ApprovalNeed | None = field(default=None)
    failed: bool = False
