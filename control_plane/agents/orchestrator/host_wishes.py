"""Goals that are nothing but "drain HOST" and the like: what people do to hosts that is no repair."""

import re
from dataclasses import dataclass
from enum import Enum

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_NAMES = rf"(?P<names>{_NAME}(?:\s*(?:,|&|\band\b|,\s*and\b)\s*(?:node\s+|host\s+)?{_NAME}){{0,15}}?)"
_LEAD = r"\A\s*(?:(?:please|pls|can you|could you|hey|hi|now),?\s+)*"
_NOUN = r"(?:(?:the\s+)?(?:nodes?|hosts?|machines?|servers?|workers?|box)\s+)?"
_TAIL = (
    r"(?:[\s.!,]*(?:please|pls|now|asap|right away|immediately|today|tonight))?"
    r"(?:,?\s+(?:for|because|since|as|so that|until|it)\b[^\n]{0,200})?[\s.!]*\Z"
)


class HostWish(Enum):
    """What is to be done to a host; the value is the command of `orquanta node`."""

    DRAIN = "drain"
    CORDON = "cordon"
    UNCORDON = "uncordon"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class HostCommand:
    """What a goal asks for, of which hosts, and where the words for either stand."""

    wish: HostWish
    names: tuple[str, ...]
    verb_span: tuple[int, int]
    names_span: tuple[int, int]

    @property
    def of_hosts_alone(self) -> bool:
        """Whether such a thing is done to nothing but hosts: what it names is a host, or a mistake."""
        return self.wish in (HostWish.DRAIN, HostWish.CORDON, HostWish.UNCORDON)


def _alone(before: str, after: str = "") -> re.Pattern[str]:
    return re.compile(rf"{_LEAD}{before}\s+{_NOUN}{_NAMES}{after}{_TAIL}", re.IGNORECASE)


_FORMS = (
    (HostWish.DRAIN, _alone(r"(?P<verb>drain|evacuate)")),
    (HostWish.DRAIN, _alone(r"(?P<verb>take)", r"\s+out of (?:service|rotation|production)")),
    (HostWish.CORDON, _alone(r"(?P<verb>cordon(?: off)?|fence off)")),
    (HostWish.UNCORDON, _alone(r"(?P<verb>un-?cordon)")),
    (HostWish.RELEASE, _alone(r"(?P<verb>release|un-?drain|un-?quarantine)")),
    (HostWish.RELEASE, _alone(r"(?P<verb>put)", r"\s+back in(?:to)? (?:service|rotation)")),
)
_COMMON = (
    "a all an and any cluster everybody everyone everything fleet gpu gpus host hosts it its jobs me memory mine my "
    "machine machines node nodes our pool queue server servers that the them these this those whole worker workers your"
)
_NO_NAMES = frozenset(_COMMON.split())
_AFTER_NAME = re.compile(
    r"\s(?:and|then|&)\s+(?:repair|fix|reset|reboot|restart|heal|verify|test|replace)\b", re.IGNORECASE
)


def read_host_command(text: str) -> HostCommand | None:
    """Return what a goal asks to be done to hosts, if that is all that it asks for; a repair beside it is more."""
    if _AFTER_NAME.search(text):
        return None
    for wish, pattern in _FORMS:
        match = pattern.match(text)
        if match is None:
            continue
        names = tuple(
            name.rstrip(".-_")
            for name in re.findall(_NAME, match["names"])
            if name.lower() not in ("and", "node", "host")
        )
        if names and not _NO_NAMES.intersection(name.lower() for name in names):
            return HostCommand(wish, names, match.span("verb"), match.span("names"))
    return None
