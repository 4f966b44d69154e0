"""What all rules together say about a proposal as things are now, and which approvals it needs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from control_plane.fleet.prices import PriceTable
from control_plane.governor import rules
from control_plane.governor.facts import gather
from control_plane.governor.needs import DEFAULT_NEED, NOBODY, combined
from control_plane.governor.policy import judging
from control_plane.governor.policy.expression import Values
from control_plane.governor.policy.inputs import PolicyInput
from control_plane.governor.policy.model import Outcome, PolicySet
from control_plane.governor.policy_input import policy_input
from control_plane.governor.ruling import POLICY, Facts, Limits, Ruling, Verdict, ruling
from control_plane.model.action import Proposal
from control_plane.model.approval import ApprovalNeed
from control_plane.model.effects import effect_to_json
from control_plane.store.database import Tx


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was said. `need` is what the rules that ask for approval ask for together, None if none does.

    `input_json` is what the rules of files were shown, without the action's arguments, and `file_ruling` the strictest
    that they said.
    """

    verdicts: tuple[Verdict, ...]
    estimate_usd: Decimal
    need: ApprovalNeed | None = None
    policy_version: str = ""
    input_json: str = ""
    file_ruling: Ruling = Ruling.ALLOW

    @property
    def ruling(self) -> Ruling:
        """The strictest ruling of all."""
        return ruling(self.verdicts)

    @property
    def dry_run_only(self) -> bool:
        """Whether it is recorded but not carried out, whoever approves: then nobody is asked to."""
        said = [verdict.ruling for verdict in self.verdicts]
        return Ruling.DRY_RUN_ONLY in said and Ruling.DENY not in said


Judge = Callable[[Tx, Proposal], Judgement]
"""Judges a proposal as things are now, as if nobody had approved it."""


@dataclass(frozen=True, slots=True)
class Examined:
    """The same, rule by rule: the facts, what the rules of files could look at, and what each of them said.

    `shown` is None if it could not be gathered.
    """

    judgement: Judgement
    facts: Facts
    shown: PolicyInput | None
    outcomes: tuple[Outcome, ...]

    @property
    def document(self) -> dict[str, object]:
        """What the rules of files could look at, as JSON values."""
        return {} if self.shown is None else self.shown.document()


def examine(
    tx: Tx,
    proposal: Proposal,
    *,
    limits: Limits,
    prices: PriceTable,
    policies: PolicySet,
    frozen_json: str = "",
    kept: bool = True,
) -> Examined:
    """Ask every rule about a proposal: the built-in ones, then those of the files. The strictest counts.

    `frozen_json` is the frozen effect, if it is known already. Unless it is `kept`, nothing is gathered of what rules
    of files would be shown where there is none.
    """
    facts = gather(tx, proposal, limits=limits, prices=prices, freezes=policies.freezes)
    verdicts = list(rules.judge(facts))
    shown: PolicyInput | None = None
    input_json = ""
    outcomes: tuple[Outcome, ...] = ()
    try:
        if kept or policies.rules:
            shown = policy_input(tx, proposal, facts, frozen_json or effect_to_json(proposal.effect))
        if shown is not None and kept:
            input_json = shown.kept_json()
        if shown is not None and policies.rules:
            outcomes = judging.ask(policies, Values(shown.document()))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        failed = f"the values for the rules of files could not be gathered: {type(error).__name__}"
        verdicts.append(Verdict(Ruling.DENY, "POLICY_FAILED", failed))
    verdicts.extend(_verdicts(outcomes))
    need = _need(verdicts)
    if need is not None and NOBODY in need.allowed:
        verdicts.append(
            Verdict(Ruling.DENY, POLICY, "the rules that ask for approval leave nobody who may approve; change them")
        )
    judgement = Judgement(
        tuple(verdicts),
        facts.estimate_usd,
        need,
        policies.version,
        input_json,
        judging.strictest(outcomes),
    )
    return Examined(judgement, facts, shown, outcomes)


def as_denial(judgement: Judgement) -> Judgement:
    """Return a judgement in which "dry run only" stands as what it comes to for one who has approved: no."""
    if not judgement.dry_run_only:
        return judgement
    return replace(
        judgement,
        verdicts=tuple(
            replace(verdict, ruling=Ruling.DENY) if verdict.ruling is Ruling.DRY_RUN_ONLY else verdict
            for verdict in judgement.verdicts
        ),
    )


def _verdicts(outcomes: Iterable[Outcome]) -> Iterable[Verdict]:
    for outcome in outcomes:
        if outcome.matched:
            text = f"{outcome.text} (rule {outcome.rule_id} of {outcome.file})"
            yield Verdict(outcome.ruling, POLICY, text, outcome.need, outcome.rule_id, outcome.file)


def _need(verdicts: Iterable[Verdict]) -> ApprovalNeed | None:
    return combined(verdict.need or DEFAULT_NEED for verdict in verdicts if verdict.ruling is Ruling.REQUIRE_APPROVAL)
