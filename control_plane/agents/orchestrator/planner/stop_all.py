"""Goals that would stop everything: what to do instead, for oneself and for operators."""

import re

HOW = (
    "To cancel all jobs of your own, say: cancel all my jobs. Operators stop every effect in the fleet at once with: "
    "orquanta action stop-all --reason '...'"
)
_VERB = (
    r"(?:stop|halt|kill|cancel|terminate|abort|end|freeze|pause|shut ?down|shut off|turn off|switch off|take down|"
    r"power off|shut|turn)"
)
_ALL = (
    r"(?:everything|it all|all of it|(?:absolutely )?(?:all|every|everyone's|everybody's)(?: of)?(?: the| our)?"
    r"(?: [a-z]{4,12}){0,2}? (?:jobs?|work|workloads?|runs?|trainings?|goals?|tasks?|gpus?|hosts?|nodes?|machines?|"
    r"effects|actions|agents)|"
    r"the (?:whole |entire )?(?:fleet|cluster|platform|system))"
)
_STOPS_ALL = re.compile(
    rf"[ \n]*(?:(?:please|pls|now|ok|okay|can you|could you|quick|quickly|help|emergency)[ ,:!-]*)*{_VERB} {_ALL}"
    r"(?: (?:down|off|on|in|across|of|the|whole|entire|this|our|fleet|cluster|platform|please|pls|now|right now|"
    r"immediately|at once|asap|today|everywhere|running|instantly))*[ .!\n]*|"
    r"[ \n]*(?:emergency stop|e-stop|big red button|(?:hit |press |engage |pull )?(?:the )?kill ?switch)"
    r"(?: please| now)?[ .!\n]*"
)


def stops_all(text: str) -> bool:
    """Whether a folded goal says nothing but that everything, or everybody's, is to be stopped."""
    return _STOPS_ALL.fullmatch(text) is not None
