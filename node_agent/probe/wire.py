"""Between frozen dataclasses and plain lists, so that samples can travel as JSON.

A dataclass becomes the list of its fields in order, an enum its value. Reading back checks every value against the
annotations, because what a probe sends is not to be trusted: a driver may have written over its memory.

From one sample to the next hardly anything of a GPU changes. What is equal to what was read before at the same place is
not read again: the object of then stands for it, so that whoever judges samples may tell by identity what is the same.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

from node_agent.probe.samples import NvlinkSample

_T = TypeVar("_T")
_Read = Callable[[Any], Any]  # Any: from and to whatever the annotation says
_ReadAgain = Callable[[Any, Any, Any], Any]
"""Takes a value, the value before at the same place, and what was read of that."""
_MAXIMUM_TEXT: Final = 500
_MAXIMUM_ITEMS: Final = 4096
_MAXIMUM_KEPT: Final = 32
"""NVLinks of GPUs that are kept as lists: they are most of a sample, and the same for ten samples."""


_PLAIN: Final = frozenset({NoneType, int, float, str, bool})


class BadValue(Exception):
    """A value is not what its place asks for."""


def plain(value: Any) -> Any:
    """Return what JSON can hold of a value. Any: a dataclass of numbers, texts, enums, tuples and dataclasses."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is tuple:
        return _plain_tuple(value)
    if isinstance(value, Enum):
        return value.value
    return [item if type(item) in _PLAIN else plain(item) for item in _values_of(kind)(value)]


def _plain_tuple(value: tuple[Any, ...]) -> list[Any]:
    if not value or type(value[0]) is not NvlinkSample:
        return [plain(item) for item in value]
    kept = _kept.get(id(value))
    if kept is not None and kept[0] is value:
        return kept[1]
    if len(_kept) >= _MAXIMUM_KEPT:
        _kept.clear()
    made = [plain(item) for item in value]
    _kept[id(value)] = value, made
    return made


def rebuild(kind: type[_T], value: Any) -> _T:
    """Return the dataclass that `plain` made `value` from. Any: whatever came.

    Raises:
        BadValue: it does not fit.
    """
    built = _reader(kind)(value)
    if not isinstance(built, kind):
        raise BadValue(f"{kind.__name__} expected")
    return built


_kept: dict[int, tuple[tuple[Any, ...], list[Any]]] = {}
"""By identity of the tuple, which is held so that no other takes its identity."""
_known_names: dict[type[Any], tuple[str, ...]] = {}
_known_values_of: dict[type[Any], Callable[[Any], tuple[Any, ...]]] = {}
_known_readers: dict[Any, _Read] = {}
_known_again: dict[Any, _ReadAgain] = {}
"""Of dataclasses, which are read by their fields."""


def _names(kind: type[Any]) -> tuple[str, ...]:
    names = _known_names.get(kind)
    if names is None:
        names = _known_names[kind] = tuple(field.name for field in fields(kind))
    return names


def _values_of(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what takes the values out of a dataclass, in order."""
    values_of = _known_values_of.get(kind)
    if values_of is None:
        names = _names(kind)
        get = attrgetter(*names)
        values_of = _known_values_of[kind] = get if len(names) > 1 else lambda value: (get(value),)
    return values_of


def _reader(annotation: Any) -> _Read:
    reader = _known_readers.get(annotation)
    if reader is None:
        reader = _known_readers[annotation] = _make_reader(annotation)
    return reader


def _make_reader(annotation: Any) -> _Read:
    if annotation in (int, str, bool, float, NoneType):
        return _SCALARS[annotation]
    if isinstance(annotation, UnionType):
        return _union(annotation)
    if get_origin(annotation) is tuple:
        return _tuple(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _enum(annotation)
    if is_dataclass(annotation) and isinstance(annotation, type):
        return _dataclass(annotation)
    raise TypeError(f"{annotation} cannot travel")


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise BadValue("a whole number expected")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or value != value:  # noqa: PLR0124 - NaN alone differs from itself
        raise BadValue("a number expected")
    return float(value)


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > _MAXIMUM_TEXT:
        raise BadValue(f"a text of at most {_MAXIMUM_TEXT} characters expected")
    return value if value.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in value)


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise BadValue("true or false expected")
    return value


def _nothing(value: Any) -> None:
    if value is not None:
        raise BadValue("nothing expected")


_SCALARS: Final[dict[Any, _Read]] = {int: _integer, float: _number, str: _text, bool: _boolean, NoneType: _nothing}


def _union(annotation: UnionType) -> _Read:
    others = [choice for choice in get_args(annotation) if choice is not NoneType]
    if len(others) != 1:
        raise TypeError(f"{annotation} cannot travel")
    inner = _reader(others[0])
    return lambda value: None if value is None else inner(value)


def _tuple(kinds: tuple[Any, ...]) -> _Read:
    repeated = len(kinds) == 2 and kinds[1] is Ellipsis  # noqa: PLR2004 - tuple[X, ...] has two arguments
    if repeated:
        reader = _reader(kinds[0])
        return _repeated(reader, _known_again.get(kinds[0], lambda value, _before, _kept: reader(value)))
    readers = tuple(map(_reader, kinds))

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise BadValue("a list expected")
        if len(value) != len(readers):
            raise BadValue(f"{len(readers)} values expected")
        return tuple([reader(item) for reader, item in zip(readers, value, strict=True)])

    return read


def _repeated(reader: _Read, again: _ReadAgain) -> _Read:
    last: tuple[list[Any], tuple[Any, ...]] = [], ()  # what was read, and what came of it: GPUs are often alike, too

    def read(value: Any) -> tuple[Any, ...]:
        nonlocal last
        if type(value) is not list or len(value) > _MAXIMUM_ITEMS:
            raise BadValue("a list expected")
        before, kept = last
        if value != before:
            common = [
                was if item == old else again(item, old, was)
                for item, old, was in zip(value, before, kept, strict=False)
            ]
            last = value, (*common, *map(reader, value[len(common) :]))
        return last[1]

    return read


def _enum(kind: type[Enum]) -> _Read:
    def read(value: Any) -> Enum:
        try:
            return kind(value)
        except (ValueError, TypeError) as error:
            raise BadValue(f"no {kind.__name__}") from error

    return read


def _dataclass(kind: type[Any]) -> _Read:
    hints, values_of = get_type_hints(kind), _values_of(kind)
    readers = tuple(_reader(hints[name]) for name in _names(kind))

    def check(value: Any) -> None:
        if type(value) is not list or len(value) != len(readers):
            raise BadValue(f"{kind.__name__} expected")

    def read(value: Any) -> Any:
        check(value)
        return kind(*[reader(item) for reader, item in zip(readers, value, strict=True)])

    def again(value: Any, before: Any, kept: Any) -> Any:
        check(value)
        parts = zip(value, before, values_of(kept), readers, strict=True)
        return kind(*[was if item == old else reader(item) for item, old, was, reader in parts])

    _known_again[kind] = again
    return read
