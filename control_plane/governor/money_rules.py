"""Built-in rules about accounts, GPUs and money. Pure."""

from decimal import Decimal

from control_plane.governor.ruling import Facts, Ruling, Verdict
from control_plane.model.action import LaunchJobs, PlaceJob
from control_plane.model.money import format_usd


def account(facts: Facts) -> Verdict | None:
    """Jobs are launched for an account, and one that is enabled."""
    if not isinstance(facts.effect, LaunchJobs):
        return None
    if facts.user is None:
        return Verdict(Ruling.DENY, "NO_USER", "jobs are launched on behalf of an account, and there is none")
    if facts.user.disabled:
        return Verdict(Ruling.DENY, "USER_DISABLED", f"the account of {facts.user.email} is disabled")
    return None


def gpu_limit(facts: Facts) -> Verdict | None:
    """An account holds at most as many GPUs as it may."""
    if facts.user is None:
        return None
    limit = facts.limits.max_gpus_per_user if facts.user.max_gpus is None else facts.user.max_gpus
    if facts.largest_gpus > limit:
        return Verdict(
            Ruling.DENY,
            "GPU_LIMIT",
            f"a job asks for {facts.largest_gpus:g} GPUs, but {facts.user.email} may hold at most {limit} at once; "
            "ask for fewer, or an admin can raise it with: orquanta user update",
        )
    if facts.wanted_gpus and facts.held_gpus + facts.wanted_gpus > limit:
        return Verdict(
            Ruling.DENY,
            "GPU_LIMIT",
            f"{facts.user.email} holds {facts.held_gpus:g} of at most {limit} GPUs; {facts.wanted_gpus:g} more do not "
            "fit",
        )
    return None


def team_quota(facts: Facts) -> Verdict | None:
    """A team, with the teams in it, holds at most as many GPUs as it may."""
    for team in facts.teams:
        if facts.largest_gpus > team.max_gpus:
            return Verdict(
                Ruling.DENY,
                "TEAM_QUOTA",
                f"a job asks for {facts.largest_gpus:g} GPUs, but team {team.path} may hold at most {team.max_gpus} at "
                "once; ask for fewer, or an admin can raise it with: orquanta quota set",
            )
        if facts.wanted_gpus and team.held_gpus + facts.wanted_gpus > team.max_gpus:
            return Verdict(
                Ruling.DENY,
                "TEAM_QUOTA",
                f"team {team.path} holds {team.held_gpus:g} of at most {team.max_gpus} GPUs; {facts.wanted_gpus:g} "
                "more do not fit",
            )
    return None


def user_budget(facts: Facts) -> Verdict | None:
    """What is spent is within the budget of the account."""
    spends = isinstance(facts.effect, LaunchJobs) or (isinstance(facts.effect, PlaceJob) and facts.estimate_usd > 0)
    if not spends or facts.user is None:
        return None
    user = facts.user
    estimate = format_usd(facts.estimate_usd)
    if user.budget_usd is None:
        return Verdict(Ruling.ALLOW, "USER_BUDGET", f"at most {estimate}; {user.email} has no budget limit")
    left = user.budget_usd - user.spent_usd - user.reserved_usd
    if facts.estimate_usd > left:
        return Verdict(
            Ruling.DENY,
            "USER_BUDGET",
            f"may cost {estimate}, but {user.email} has {format_usd(max(left, Decimal(0)))} left of "
            f"{format_usd(user.budget_usd)}; shorten the time limit, use fewer GPUs, or ask an admin for more",
        )
    return Verdict(
        Ruling.ALLOW, "USER_BUDGET", f"at most {estimate} of the {format_usd(left)} that {user.email} has left"
    )


def goal_budget(facts: Facts) -> Verdict | None:
    """What is spent is within the goal's budget."""
    effect = facts.effect
    if not isinstance(effect, LaunchJobs) or effect.budget_usd is None:
        return None
    total = facts.goal_committed_usd + facts.estimate_usd
    if total > effect.budget_usd:
        return Verdict(
            Ruling.DENY,
            "GOAL_BUDGET",
            f"may cost {format_usd(total)}, more than the goal's budget of {format_usd(effect.budget_usd)}; "
            'shorten the time limit (for example "for 2 hours"), use fewer or cheaper GPUs, or raise the budget',
        )
    return Verdict(
        Ruling.ALLOW,
        "GOAL_BUDGET",
        f"at most {format_usd(total)} of the goal's budget of {format_usd(effect.budget_usd)}",
    )


def approval(facts: Facts) -> Verdict | None:
    """A launch above the setting is the decision of a second person."""
    if not isinstance(facts.effect, LaunchJobs) or facts.estimate_usd <= facts.limits.approval_above_usd:
        return None
    return Verdict(
        Ruling.REQUIRE_APPROVAL,
        "APPROVAL",
        f"may cost {format_usd(facts.estimate_usd)}, which is above {format_usd(facts.limits.approval_above_usd)}; "
        "an operator other than the requester must approve it",
    )
