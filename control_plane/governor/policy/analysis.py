"""Checks of an expression before it is used: names that exist, and loops that end soon.

An expression is bounded by what it may contain, as an evaluation cannot be interrupted: at most `CHARACTERS_MAX`
characters and `LOOPS_MAX` loops, which go over lists of the input and nothing that the expression made itself, an inner
loop only over a list of the outer one's element; patterns are literal, short and without costly classes.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from control_plane.governor.policy.schema import STRING, Anything, ListOf, MapOf, Record, Type, name_of, variables
from control_plane.governor.policy.tokens import Kind, Token, Unreadable, tokens

CHARACTERS_MAX: Final = 1000
LOOPS_MAX: Final = 4
LOOP_DEPTH_MAX: Final = 2
PATTERN_CHARACTERS_MAX: Final = 100

_LOOPS: Final = frozenset({"all", "exists", "exists_one", "filter"})
_FUNCTIONS: Final = frozenset({"size", "has", "string", "int", "double", "timestamp", "duration"})
_METHODS: Final = frozenset(
    {
        *("contains", "startsWith", "endsWith", "matches", "size"),
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
    }
)
_WORDS: Final = frozenset({"true", "false", "null", "in"})
_OPEN: Final = {"(": ")", "[": "]", "{": "}"}
_COSTLY_PATTERN: Final = re.compile(r"[{]|\\[A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: the input's values that the expression looks at, and what is wrong with it."""

    paths: tuple[str, ...]
    wrong: tuple[str, ...]


@dataclass(slots=True)
class _Scope:
    """A variable of a loop, and how deep in brackets it is known."""

    name: str
    kind: Type
    depth: int


@dataclass(slots=True)
class _Walk:
    words: Sequence[Token]
    depth: int = 0
    loops: int = 0
    scopes: list[_Scope] = field(default_factory=list)
    paths: dict[str, None] = field(default_factory=dict)
    wrong: dict[str, None] = field(default_factory=dict)

    def at(self, index: int) -> Token | None:
        return self.words[index] if 0 <= index < len(self.words) else None

    def mark(self, index: int, text: str) -> bool:
        token = self.at(index)
        return token is not None and token.kind is Kind.MARK and token.text == text

    def name(self, index: int) -> str:
        token = self.at(index)
        return token.text if token is not None and token.kind is Kind.NAME else ""

    def blame(self, text: str) -> None:
        self.wrong[text] = None


def analyse(text: str) -> Found:
    """Return what an expression looks at, and what keeps it from being used."""
    if len(text) > CHARACTERS_MAX:
        return Found((), (f"has {len(text)} characters; at most {CHARACTERS_MAX} are allowed: split the rule",))
    try:
        walk = _Walk(tuple(tokens(text)))
    except Unreadable as error:
        return Found((), (str(error),))
    index = 0
    while index < len(walk.words):
        index = _step(walk, index)
    return Found(tuple(walk.paths), tuple(walk.wrong))


def _step(walk: _Walk, index: int) -> int:
    """Look at one token; return where to go on."""
    token = walk.words[index]
    if token.kind is Kind.MARK:
        if token.text in _OPEN:
            walk.depth += 1
        elif token.text in _OPEN.values():
            walk.depth -= 1
            walk.scopes = [scope for scope in walk.scopes if scope.depth <= walk.depth]
        return index + 1
    if token.kind is not Kind.NAME or token.text in _WORDS:
        return index + 1
    if walk.mark(index - 1, "."):
        return _member(walk, index)
    if walk.mark(index + 1, "("):
        if token.text not in _FUNCTIONS:
            walk.blame(f"there is no function {token.text}(); there are {', '.join(sorted(_FUNCTIONS))}")
        return index + 1
    if walk.mark(index + 1, "{"):
        walk.blame(f"{token.text}{{...}} cannot be made in a rule")
        return index + 1
    return _path(walk, index)


def _member(walk: _Walk, index: int) -> int:
    """A method or field of a value that was computed."""
    name = walk.name(index)
    if index < 2 or (walk.at(index - 2) or walk.words[0]).text in {"(", "[", ",", "&&", "||", "!", "?", ":"}:  # noqa: PLR2004 - the token before the dot
        walk.blame(f".{name} begins with a dot; begin with a variable")
    if not walk.mark(index + 1, "("):
        return index + 1
    if name in _LOOPS:
        walk.blame(f".{name}() goes over a list that the rule made itself; go over one of the input's")
    else:
        _method(walk, name, index)
    return index + 1


def _method(walk: _Walk, name: str, index: int) -> None:
    if name not in _METHODS:
        hint = "" if name != "map" else "; use all, exists, exists_one or filter"
        walk.blame(f"there is no method .{name}(){hint or '; there are ' + ', '.join(sorted(_METHODS | _LOOPS))}")
    if name != "matches":
        return
    pattern = walk.at(index + 2)
    if pattern is None or pattern.kind is not Kind.STRING or not walk.mark(index + 3, ")"):
        walk.blame(".matches() takes one literal pattern")
    elif len(pattern.text) > PATTERN_CHARACTERS_MAX or _COSTLY_PATTERN.search(pattern.text.replace("\\\\", "\\")):
        walk.blame(
            f"the pattern {pattern.text} is not allowed: at most {PATTERN_CHARACTERS_MAX} characters, no {{n,m}}, and "
            "[0-9] instead of \\d"
        )


def _path(walk: _Walk, index: int) -> int:
    """Follow a variable through its fields to what stands behind them; return where to go on."""
    root = walk.name(index)
    scope = next((one for one in reversed(walk.scopes) if one.name == root), None)
    kind = scope.kind if scope is not None else variables().fields.get(root)
    if kind is None:
        walk.blame(f"there is no variable {root}{_instead(root, variables())}")
        return index + 1
    parts = [root]
    while walk.mark(index + 1, ".") and walk.name(index + 2):
        name = walk.name(index + 2)
        if walk.mark(index + 3, "("):
            _note(walk, scope, parts)
            if name in _LOOPS:
                return _loop(walk, index + 2, kind, parts, from_scope=scope is not None)
            _method(walk, name, index + 2)
            return index + 3
        following = _field(kind, name)
        if following is None:
            walk.blame(f"{'.'.join(parts)} ({name_of(kind)}) has no field {name}{_instead(name, kind)}")
            return index + 3
        kind, index = following, index + 2
        parts.append(name)
    _note(walk, scope, parts)
    return index + 1


def _note(walk: _Walk, scope: _Scope | None, parts: Sequence[str]) -> None:
    if scope is None:
        walk.paths[".".join(parts)] = None


def _field(kind: Type, name: str) -> Type | None:
    match kind:
        case Record(fields):
            return fields.get(name)
        case MapOf(value):
            return value
        case Anything():
            return kind
        case _:
            return None


def _loop(walk: _Walk, index: int, kind: Type, parts: Sequence[str], *, from_scope: bool) -> int:
    """Enter a loop; `index` is at its name. Return where its body starts."""
    name, path = walk.name(index), ".".join(parts)
    walk.loops += 1
    inside = len(walk.scopes)
    if walk.loops > LOOPS_MAX:
        walk.blame(f"has more than {LOOPS_MAX} loops (all, exists, exists_one, filter): split the rule")
    if inside >= LOOP_DEPTH_MAX or (inside and not from_scope):
        walk.blame(f"{path}.{name}() is inside another loop; an inner loop goes over a list of the outer one's element")
    variable = walk.name(index + 2)
    if not variable or not walk.mark(index + 3, ","):
        walk.blame(f"{path}.{name}() takes a name and a condition, for example {path}.{name}(x, x != '')")
        return index + 1
    if variable in variables().fields or any(scope.name == variable for scope in walk.scopes):
        walk.blame(f"{path}.{name}() calls its element {variable}, which is the name of another variable")
    match kind:
        case ListOf(element):
            walk.scopes.append(_Scope(variable, element, walk.depth + 1))
        case MapOf():
            walk.scopes.append(_Scope(variable, STRING, walk.depth + 1))
        case Anything():
            walk.scopes.append(_Scope(variable, kind, walk.depth + 1))
        case _:
            walk.blame(f"{path} is a {name_of(kind)}, not a list")
            walk.scopes.append(_Scope(variable, Anything(), walk.depth + 1))
    walk.depth += 1
    return index + 4


def _instead(name: str, kind: Type) -> str:
    if not isinstance(kind, Record):
        return ""
    close = difflib.get_close_matches(name, kind.fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(kind.fields)}"
