"""The text after `--virtual-gpus`: which GPUs this host pretends to have.

    SPEC   = GROUP { "+" GROUP } [ ":" OPTION { "," OPTION } ]
    GROUP  = COUNT "x" MODEL { "/" MIG }  8xH100, 4xA100-80GB
    MIG    = [ COUNT "x" ] PROFILE      divides each GPU of the group: 2xH100/3g.40gb/4x1g.10gb
    OPTION = "seed=" NUMBER             another set of UUIDs and serial numbers for the same host

Examples: `8xH100`, `2xH100+2xL4`, `8xH100:seed=7`, `4xH100+1xH100/7x1g.10gb`.
"""

import re
from dataclasses import dataclass
from typing import Final

from node_agent.virtual.catalogue import find_model, known_words
from node_agent.virtual.gpu_model import GpuModel

MAXIMUM_GPUS: Final = 16
"""The bound on virtual GPUs per host: the largest HGX hosts have 16."""
MAXIMUM_SEED: Final = 2**31 - 1
_MAXIMUM_LENGTH: Final = 200
_GROUP: Final = re.compile(r"(?P<count>[0-9]+)[xX](?P<model>.+)", re.ASCII)
_MIG: Final = re.compile(r"(?:(?P<count>[1-7])[xX])?(?P<profile>[1-7]g\.[0-9]{1,3}gb)", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,10}", re.ASCII)


class BadSpec(ValueError):
    """The text does not describe virtual GPUs; the message says which part and what to write."""


@dataclass(frozen=True, slots=True)
class GpuGroup:
    """Some GPUs of one model; with `mig`, each is divided into devices of these profiles."""

    count: int
    model: GpuModel
    mig: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join((f"{self.count}x{self.model.key}", *self.mig))


@dataclass(frozen=True, slots=True)
class VirtualSpec:
    """The GPUs of one host, in index order, and the seed of their identities."""

    groups: tuple[GpuGroup, ...]
    seed: int = 0

    @property
    def models(self) -> tuple[GpuModel, ...]:
        """One model per GPU, in index order."""
        return tuple(group.model for group in self.groups for _ in range(group.count))

    @property
    def partitions(self) -> tuple[tuple[str, ...], ...]:
        """The MIG profiles of each GPU, in index order; none for a GPU that is whole."""
        return tuple(group.mig for group in self.groups for _ in range(group.count))

    def __str__(self) -> str:
        text = "+".join(map(str, self.groups))
        return f"{text}:seed={self.seed}" if self.seed else text


def parse_spec(text: str) -> VirtualSpec:
    """Read a specification such as `2xH100+2xL4:seed=7`.

    Raises:
        BadSpec: the text is empty, malformed, names an unknown model or asks for more than 16 GPUs.
    """
    if len(text) > _MAXIMUM_LENGTH:
        raise BadSpec(f"the virtual GPU specification is longer than {_MAXIMUM_LENGTH} characters")
    body, colon, options = text.strip().partition(":")
    if not body:
        raise BadSpec("no virtual GPUs named: write COUNTxMODEL, for example 8xH100")
    groups = tuple(_parse_group(part.strip()) for part in body.split("+"))
    total = sum(group.count for group in groups)
    if total > MAXIMUM_GPUS:
        raise BadSpec(f"{total} virtual GPUs asked for, at most {MAXIMUM_GPUS} fit one host")
    return VirtualSpec(groups, _parse_seed(options) if colon else 0)


def _parse_group(part: str) -> GpuGroup:
    match = _GROUP.fullmatch(part)
    if match is None:
        raise BadSpec(f"cannot read {part!r}: write COUNTxMODEL, for example 8xH100")
    digits = match["count"].lstrip("0")
    if not digits:
        raise BadSpec(f"{part!r} asks for no GPU: the count goes from 1 to {MAXIMUM_GPUS}")
    # The length is looked at first, so that a count of many digits is never turned into a number.
    if len(digits) > len(str(MAXIMUM_GPUS)) or int(digits) > MAXIMUM_GPUS:
        raise BadSpec(f"{part!r} asks for more than {MAXIMUM_GPUS} GPUs, the most that fit one host")
    name, *parts = match["model"].split("/")
    model = find_model(name)
    if model is None:
        raise BadSpec(f"unknown GPU model {name!r}: use one of {', '.join(known_words())}")
    return GpuGroup(int(digits), model, tuple(profile for part in parts for profile in _parse_mig(part)))


def _parse_mig(part: str) -> tuple[str, ...]:
    match = _MIG.fullmatch(part)
    if match is None:
        raise BadSpec(f"cannot read the MIG device {part!r}: write PROFILE or COUNTxPROFILE, for example 7x1g.10gb")
    return (match["profile"],) * int(match["count"] or 1)


def _parse_seed(options: str) -> int:
    seed: int | None = None
    for option in options.split(","):
        key, equals, value = option.strip().partition("=")
        if key != "seed" or not equals:
            raise BadSpec(f"unknown option {option.strip()!r}: the only option is seed=NUMBER")
        if seed is not None:
            raise BadSpec("seed is given twice: give it once")
        if _NUMBER.fullmatch(value) is None or int(value) > MAXIMUM_SEED:
            raise BadSpec(f"seed must be a whole number from 0 to {MAXIMUM_SEED}, not {value!r}")
        seed = int(value)
    return seed or 0
