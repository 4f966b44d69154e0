"""Reads policy files and files of tests: YAML with a line for each value, no duplicates, no references."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import yaml

from control_plane.governor.policy.model import FILE_BYTES_MAX, Fault, PolicyFile

_DEPTH_MAX: Final = 16
_PIECES_MAX: Final = 40_000
_TAG: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset({"str", "int", "float", "bool", "null", "timestamp", "seq", "map"})
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.ya?ml")
_SHOWN: Final = 60
# libyaml's parser where PyYAML was built with it; both read the same language and only ever make plain values.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value: its text, whether it is a string, and its line."""

    text: str
    tag: str
    line: int

    def plain(self) -> str | int | float | bool | None:
        """Return the value as YAML means it; what is none of these types stays text."""
        match self.tag:
            case "null":
                return None
            case "bool":
                return self.text.lower() in {"true", "yes", "on"}
            case "int" | "float":
                return _number(self.text)
            case _:
                return self.text


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple["Value", ...]
    line: int


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping, and the line of each key."""

    entries: Mapping[str, "Value"]
    lines: Mapping[str, int]
    line: int


Value = Scalar | Items | Entries


class Unusable(Exception):
    """A file cannot be used; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


def read(file: PolicyFile) -> Entries:
    """Return what a file holds. Raises Unusable."""
    if not _NAME.fullmatch(file.name):
        raise _unusable(file, 0, "a file is named like spending.yaml: letters, digits, '-', '_', '.' and .yaml")
    if len(file.text.encode(errors="replace")) > FILE_BYTES_MAX:
        raise _unusable(file, 0, f"is larger than {FILE_BYTES_MAX // 1024} KiB; split it")
    try:
        _refuse_deep(file)
        root = yaml.compose(file.text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 0
        raise _unusable(file, line, f"is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _unusable(file, 0, f"is not YAML: {str(error).splitlines()[0] if str(error) else 'too deep'}") from None
    if root is None:
        return Entries({}, {}, 0)
    found = _Reader(file).value(root)
    if not isinstance(found, Entries):
        raise _unusable(file, found.line, "should hold names and values, for example rules: with a list below it")
    return found


def _refuse_deep(file: PolicyFile) -> None:
    """Look at the file piece by piece first: libyaml makes values by recursion, and deep ones end the process."""
    depth = 0
    for pieces, event in enumerate(yaml.parse(file.text, Loader=_LOADER)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        line = 0 if event.start_mark is None else event.start_mark.line + 1
        if depth > _DEPTH_MAX or pieces > _PIECES_MAX:
            raise _unusable(file, line, f"is deeper than {_DEPTH_MAX} levels or has over {_PIECES_MAX} values")
        if isinstance(event, yaml.AliasEvent):
            raise _unusable(file, line, "uses an anchor (&, *); write the value out")


def _unusable(file: PolicyFile, line: int, text: str) -> Unusable:
    return Unusable(Fault(printable(file.name), line, "", printable(text)))


def printable(text: str) -> str:
    """Return hostile text on one line, as far as it is shown."""
    return "".join(character if character.isprintable() else "?" for character in text[:500])


class _Reader:
    """Turns YAML's nodes into values, and refuses what a policy file does not need."""

    def __init__(self, file: PolicyFile) -> None:
        self._file = file

    def value(self, node: yaml.Node) -> Value:
        line = node.start_mark.line + 1
        if str(node.tag).removeprefix(_TAG) not in _TAGS:
            raise _unusable(self._file, line, f"uses the tag {node.tag}; write a plain value")
        if isinstance(node, yaml.SequenceNode):
            return Items(tuple(self.value(item) for item in node.value), line)
        if isinstance(node, yaml.MappingNode):
            return self._entries(node, line)
        return Scalar(str(node.value), str(node.tag).removeprefix(_TAG), line)

    def _entries(self, node: yaml.MappingNode, line: int) -> Entries:
        entries: dict[str, Value] = {}
        lines: dict[str, int] = {}
        for key, item in self._pairs(node):
            if key.value in entries:
                at = key.start_mark.line + 1
                raise _unusable(
                    self._file, at, f"{str(key.value)[:_SHOWN]} is there twice, first in line {lines[key.value]}"
                )
            entries[key.value] = self.value(item)
            lines[key.value] = key.start_mark.line + 1
        return Entries(entries, lines, line)

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                raise _unusable(self._file, key.start_mark.line + 1, "a name should be plain text")
            yield key, item
