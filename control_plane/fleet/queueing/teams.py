"""The tree of teams and users: what each holds, its share, its guarantee and its limits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from control_plane.fleet.placement.room import Claim, Host
from control_plane.fleet.queueing.model import WaitingJob
from control_plane.model.ids import UserId
from control_plane.model.job import ResourceRequest
from control_plane.model.team import Team


@dataclass(frozen=True, slots=True)
class Amount:
    """So much of everything, in whole numbers: sums come out the same in any order."""

    gpu_milli: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0

    def part_of(self, whole: "Amount") -> float:
        """Return the largest part of GPUs, CPU or memory that this is of the whole: the dominant share."""
        return max(
            self.gpu_milli / whole.gpu_milli if whole.gpu_milli else 0.0,
            self.cpu_milli / whole.cpu_milli if whole.cpu_milli else 0.0,
            self.memory_bytes / whole.memory_bytes if whole.memory_bytes else 0.0,
        )


def asked_gpu_milli(resources: ResourceRequest) -> int:
    """Return the GPUs that a job asks for, in thousandths."""
    return resources.gpu_milli or 1000 * resources.gpu_count


def asked_amount(resources: ResourceRequest) -> Amount:
    """Return what a job will hold; its CPU and memory are for each host, of which there is one unless it says more."""
    hosts = max(1, resources.node_count)
    return Amount(asked_gpu_milli(resources), resources.cpu_milli * hosts, resources.memory_bytes * hosts)


def held_amount(claim: Claim) -> Amount:
    """Return what a claim holds."""
    hosts, resources = len(claim.placements), claim.resources
    return Amount(round(1000 * claim.gpus), resources.cpu_milli * hosts, resources.memory_bytes * hosts)


def fleet_amount(hosts: Iterable[Host]) -> Amount:
    """Return what open hosts have in all. A MIG device counts as a GPU, as it does where it is held."""
    taken = [host for host in hosts if host.open]
    return Amount(
        sum(1000 * len(host.slots) for host in taken),
        sum(host.cpu_milli for host in taken),
        sum(host.memory_bytes for host in taken),
    )


@dataclass(eq=False, slots=True)
class Party:
    """Somebody who has a share: a team, the jobs that are directly a team's own, or a user in a team.

    `guaranteed_milli` is at least what is guaranteed to the teams in it.
    """

    name: str
    parent: "Party | None" = None
    weight: float = 1.0
    guaranteed_milli: int = 0
    max_milli: int | None = None
    gpu_milli: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0
    children: "dict[str, Party]" = field(default_factory=dict)

    def child(self, key: str, name: str) -> "Party":
        """Return the party of this key in it, a plain one if it was not there."""
        found = self.children.get(key)
        if found is None:
            found = self.children[key] = Party(name, self)
        return found

    def chain(self) -> "Iterator[Party]":
        """Yield itself and everybody it is in, outwards."""
        party: Party | None = self
        while party is not None:
            yield party
            party = party.parent

    @property
    def held(self) -> Amount:
        """What it holds."""
        return Amount(self.gpu_milli, self.cpu_milli, self.memory_bytes)

    @property
    def below_guarantee(self) -> bool:
        """Whether it holds less than it is entitled to."""
        return self.gpu_milli < self.guaranteed_milli


_OWN = ""  # beside the teams in a team: the jobs that are directly its own


class Parties:
    """Everybody who has a share of the fleet. Follows what is held by `charge` and `refund`."""

    def __init__(self, teams: Sequence[Team], fleet: Amount) -> None:
        self.fleet = fleet
        self.root = Party("")
        self._leaves: dict[tuple[str, UserId], Party] = {}
        self._held_by_user: dict[UserId, int] = {}
        self._charged: set[tuple[str, UserId]] = set()
        for team in sorted(teams, key=lambda one: one.path):
            party = self.team(team.path)
            party.weight, party.guaranteed_milli = team.weight, 1000 * team.guaranteed_gpus
            party.max_milli = None if team.max_gpus is None else 1000 * team.max_gpus
        _raise_guarantees(self.root)

    def team(self, path: str) -> Party:
        """Return the party of a team; the one of no team holds everybody."""
        party = self.root
        for depth, word in enumerate(parts := [part for part in path.split("/") if part], start=1):
            party = party.child(word, "/".join(parts[:depth]))
        return party

    def without_team(self) -> Party:
        """Return the party of the jobs that have no team."""
        return self.own("")

    def user(self, team: str, user_id: UserId) -> Party:
        """Return the party of a user in a team."""
        leaf = self._leaves.get((team, user_id))
        if leaf is None:
            leaf = self._leaves[team, user_id] = self.own(team).child(user_id, team)
        return leaf

    def own(self, team: str) -> Party:
        """Return the party of the jobs that are directly a team's own; in it are its users."""
        return self.team(team).child(_OWN, team)

    def charge(self, team: str, user_id: UserId, amount: Amount, sign: int = 1) -> None:
        """Count what a user of a team took; with the sign -1, what was given back."""
        self._charged.add((team, user_id))
        for party in self.user(team, user_id).chain():
            party.gpu_milli += sign * amount.gpu_milli
            party.cpu_milli += sign * amount.cpu_milli
            party.memory_bytes += sign * amount.memory_bytes
        self._held_by_user[user_id] = self._held_by_user.get(user_id, 0) + sign * amount.gpu_milli

    def charged_users(self) -> set[tuple[str, UserId]]:
        """Return the users, by team, who were charged or given back since this was last asked."""
        charged, self._charged = self._charged, set()
        return charged

    def held_by(self, user_id: UserId) -> int:
        """Return the GPUs that a user holds in all teams, in thousandths."""
        return self._held_by_user.get(user_id, 0)

    def share(self, party: Party) -> float:
        """Return the dominant share by weight; of the GPUs held alone as long as nothing is known of the fleet."""
        whole, share = self.fleet, 0.0
        if whole.gpu_milli:
            share = party.gpu_milli / whole.gpu_milli
        if whole.cpu_milli:
            share = max(share, party.cpu_milli / whole.cpu_milli)
        if whole.memory_bytes:
            share = max(share, party.memory_bytes / whole.memory_bytes)
        if not (whole.gpu_milli or whole.cpu_milli or whole.memory_bytes):
            share = party.gpu_milli / 1000
        return share / party.weight

    def over_limit(
        self, job: WaitingJob, user_limits: Mapping[UserId, int], freed: Sequence[Claim] = ()
    ) -> "Party | UserId | None":
        """Return whose limit keeps the job from starting once `freed` is given back: a team, the user, or nobody."""
        wanted = asked_gpu_milli(job.resources)
        if not wanted:
            return None
        limit = user_limits.get(job.user_id)
        if limit is not None:
            given = sum(round(1000 * one.gpus) for one in freed if one.user_id == job.user_id)
            if self.held_by(job.user_id) - given + wanted > 1000 * limit:
                return job.user_id
        for party in self.team(job.team).chain():
            if party.max_milli is not None and wanted + party.gpu_milli > party.max_milli:
                given = sum(round(1000 * one.gpus) for one in freed if within(one.team, party.name))
                if party.gpu_milli - given + wanted > party.max_milli:
                    return party
        return None

    def limits_over(self, job: WaitingJob, user_limits: Mapping[UserId, int]) -> "tuple[Party | UserId, ...]":
        """Return all whose limits keep the job from starting: its user, its team, the teams around that."""
        wanted = asked_gpu_milli(job.resources)
        if not wanted:
            return ()
        limit = user_limits.get(job.user_id)
        user = () if limit is None or self.held_by(job.user_id) + wanted <= 1000 * limit else (job.user_id,)
        teams = self.team(job.team).chain()
        return (*user, *(one for one in teams if one.max_milli is not None and wanted + one.gpu_milli > one.max_milli))


def within(team: str, outer: str) -> bool:
    """Return whether a team is the outer one or in it."""
    return not outer or team == outer or team.startswith(f"{outer}/")


def _raise_guarantees(party: Party) -> int:
    """Let every team be entitled to at least what is guaranteed to the teams in it; return what this one is."""
    inner = sum(_raise_guarantees(child) for child in party.children.values())
    party.guaranteed_milli = max(party.guaranteed_milli, inner)
    return party.guaranteed_milli
