"""Questions about one job or host by its name: which name a question gives, where nothing bears it. Pure."""

import re
from dataclasses import dataclass

_NAME = r"['\"`]?(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,62})['\"`]?"
_JOB = r"(?:(?:my|the|our)\s+)?(?:job|run|task|training|experiment|goal)\s+(?:called\s+|named\s+|id\s+)?"
_NODE = r"(?:(?:my|the|our)\s+)?(?:node|host|machine|server|worker|box)\s+(?:called\s+|named\s+)?"
_NOW = r"(?:\s+(?:doing|going|getting on|now|today|right now|yet|so far|at the moment))*"
_END = rf"{_NOW}[\s.?!]*\Z"
_HOW = (
    r"\b(?:how(?:'s|\s+is|\s+are|\s+was|\s+did)|what(?:'s|\s+is)\s+(?:wrong|up|going on|happening)\s+(?:with|on)|"
    r"what\s+happened\s+(?:to|with|on)|(?:the\s+)?(?:status|state|progress|health)\s+of|show(?:\s+me)?|describe|"
    r"tell\s+me\s+about|check(?:\s+on)?|where\s+is|is|has|did)\s+"
)
_FAILED = (
    r"(?:fail(?:ed|ing|s)?|crash(?:ed|ing)?|die[ds]?|stop(?:ped)?|end(?:ed)?|break|broke|hang(?:ing)?|stall(?:ed)?)"
)
_STATE = (
    r"(?:healthy|unhealthy|ok|okay|fine|well|up|down|alive|dead|running|done|finished|ready|idle|busy|free|stuck|queued|"
    r"waiting|still\s+\w+|working|online|offline|broken|cancell?ed|sick|slow|complete(?:d)?|succeed(?:ed)?|over|drained|cordoned)"
)
_WHY = r"\bwhy\s+(?:did|has|does|is|was|have|had)\s+"


@dataclass(frozen=True, slots=True)
class AskedName:
    """A name that a question is about. `job` and `node` say what it can be."""

    name: str
    job: bool
    node: bool


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_FORMS = (
    (_form(rf"{_WHY}{_JOB}{_NAME}\s+(?:not\s+)?(?:{_FAILED}|{_STATE})\b"), True, False),
    (_form(rf"{_HOW}{_JOB}{_NAME}(?:\s+{_STATE}|\s+{_FAILED})?{_END}"), True, False),
    (_form(rf"{_WHY}{_NODE}{_NAME}\s+(?:not\s+)?(?:{_FAILED}|{_STATE})\b"), False, True),
    (_form(rf"{_HOW}{_NODE}{_NAME}(?:\s+{_STATE}|\s+{_FAILED})?{_END}"), False, True),
    (_form(rf"{_WHY}{_NAME}\s+(?:not\s+)?(?:{_FAILED}|{_STATE})\b"), True, True),
    (_form(rf"\b(?:how(?:'s|\s+is)|what(?:'s|\s+is)\s+wrong\s+with|what\s+happened\s+to|(?:status|state|progress)\s+of)\s+"
           rf"{_NAME}{_END}"), True, True),
    (_form(rf"\A\s*is\s+{_NAME}\s+{_STATE}{_END}"), True, True),
)  # fmt: skip
_HOW_IT_IS = _form(rf"{_FAILED}|{_STATE}|doing|going|cancel(?:l?ed)?|started?|finish|begun")
_NO_NAMES = frozenset(
    """
    a all an any anything both cluster clusters each everybody everyone everything failed failing fleet gpu gpus h100
    he her hers his host hosts i it its job jobs last latest machine machines me mine model models more most my newest
    no node nodes none nothing of oldest on one ones or our pool queue queued queues run running runs scheduling
    server servers she so some somebody someone something stuck task tasks that the their them there these they
    thing things this those time times to training trainings us was we what which who work you your and is did has are
    with in for not now going status state health a100 h200 b200 l4 l40s v100 t4 weather
    """.split()  # noqa: SIM905 - a block of words reads better than a list of literals
)


def read_asked_name(text: str) -> AskedName | None:
    """Return the name that a question is about and nothing else, or None."""
    for pattern, job, node in _FORMS:
        match = pattern.search(text)
        name = "" if match is None else match["name"].rstrip(".-_")
        if name and name.lower() not in _NO_NAMES and not _HOW_IT_IS.fullmatch(name):
            return AskedName(name, job, node)
    return None
