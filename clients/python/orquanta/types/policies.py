"""Policies: rules in files that the governor asks about every proposed action, beside its built-in ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orquanta.types.actions import Action, ApprovalNeed


class PolicyRuling(StrEnum):
    """What a rule says."""

    UNKNOWN = "unknown"
    ALLOW = "allow"
    DRY_RUN_ONLY = "dry_run_only"
    REQUIRE_APPROVAL = "require_approval"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A file of policies or of tests: its name, such as "spending.yaml", and its text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One rule. `file` is "built-in" for those that no file can remove; their `when` is in words."""

    id: str
    file: str
    when: str
    then: PolicyRuling
    message: str
    approvals: ApprovalNeed | None = None


@dataclass(frozen=True, slots=True)
class PolicySet:
    """The policies in force. `error` says why the newest files are not, if they are wrong."""

    version: str
    rules: tuple[PolicyRule, ...]
    loaded_at: datetime | None
    error: str
    folder: str


@dataclass(frozen=True, slots=True)
class PolicyFault:
    """Something wrong with a file, at a line from 1; 0 if it is about the file as a whole."""

    file: str
    line: int
    rule_id: str
    text: str


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """What is wrong with files, and the version that they would have if nothing is."""

    faults: tuple[PolicyFault, ...]
    version: str


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What one rule said about one action, and the values that its condition looked at."""

    rule_id: str
    file: str
    matched: bool
    ruling: PolicyRuling
    text: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolicyTestResult:
    """How one test went; `verdicts` are those of the rules that spoke."""

    file: str
    name: str
    passed: bool
    expected: PolicyRuling
    got: PolicyRuling
    verdicts: tuple[RuleVerdict, ...]


@dataclass(frozen=True, slots=True)
class PolicyTests:
    """How tests went; with `faults`, none was run."""

    results: tuple[PolicyTestResult, ...]
    faults: tuple[PolicyFault, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong and every test passed."""
        return not self.faults and all(result.passed for result in self.results)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What every rule says about a recorded action as things are now, built-in ones first."""

    action: Action
    ruling: PolicyRuling
    verdicts: tuple[RuleVerdict, ...]
    input_json: str
    version: str


@dataclass(frozen=True, slots=True)
class ReplayDifference:
    """An action that other policies would have judged otherwise. Its arguments are left out."""

    action: Action
    before: PolicyRuling
    after: PolicyRuling
    verdicts: tuple[RuleVerdict, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """How many past actions were judged again, and which would have been judged otherwise."""

    actions: int
    differences: tuple[ReplayDifference, ...]
