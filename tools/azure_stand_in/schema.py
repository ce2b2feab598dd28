"""Validate request bodies by the SDK's classes of Azure's published interface.

Each class knows its fields' names on the wire, their types, and which are required or read-only.
Enumerations there are open ("Known values are"); the service refuses other values, and so does this.
"""

from __future__ import annotations

import datetime
import enum
import functools
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from azure.ai.ml._restclient.arm_ml_service._utils.model_base import Model

_WRITES = {"create", "update"}
_PLAIN: dict[Any, tuple[type, ...]] = {
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (int, float),
    datetime.datetime: (str,),
    datetime.timedelta: (str,),
    datetime.date: (str,),
}


@functools.cache
def fields(kind: type[Model]) -> dict[str, tuple[Any, bool, bool]]:
    """Return by name on the wire: the field's type, whether it may be sent, and whether it is required."""
    known = kind({})._attr_to_rest_field
    package = sys.modules[kind.__module__.rpartition(".")[0]]
    names = {**vars(sys.modules[kind.__module__]), "_models": package}
    hints = typing.get_type_hints(kind, globalns=names)
    found = {}
    for attribute, field in known.items():
        visible = set(field._visibility or _WRITES)
        hint = hints[attribute]
        sent = bool(visible & _WRITES)
        found[str(field._rest_name)] = (hint, sent, sent and not _optional(hint))
    return found


def complaints(value: Any, kind: Any, place: str = "", answer: bool = False) -> Iterator[str]:
    """Yield what is wrong with a JSON value of class `kind`. A response may hold all fields and nulls."""
    options = _options(kind)
    if value is None:
        if not answer and not _optional(kind):
            yield f"{place}: a value is required"
        return
    if any(option is Any or option is object for option in options):
        return
    enums = [option for option in options if isinstance(option, type) and issubclass(option, enum.Enum)]
    if enums or any(typing.get_origin(option) is typing.Literal for option in options):
        yield from _word(value, options, place)
        return
    (option,) = options
    if typing.get_origin(option) is list:
        yield from _list(value, option, place, answer)
    elif typing.get_origin(option) in (dict, Mapping):
        yield from _dict(value, option, place, answer)
    elif _is_model(option):
        yield from _object(value, option, place, answer)
    elif option in _PLAIN:
        wrong = isinstance(value, bool) and option is not bool
        if wrong or not isinstance(value, _PLAIN[option]):
            yield f"{place}: {value!r} is not {option.__name__}"


def _object(value: Any, kind: type[Model], place: str, answer: bool) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{place}: {value!r} is not an object"
        return
    while mapping := kind.__dict__.get("__mapping__"):
        name = next(
            str(one._rest_name) for one in kind({})._attr_to_rest_field.values() if one._is_discriminator
        )
        if value.get(name) not in mapping:
            yield f"{place}.{name}: {value.get(name)!r} is none of {', '.join(map(str, mapping))}"
            return
        kind = mapping[value[name]]
    known = fields(kind)
    for name, content in value.items():
        if name not in known:
            yield f"{place}.{name}: could not find member '{name}' on object of type '{kind.__name__}'"
        elif answer or known[name][1] or content is None:
            yield from complaints(content, known[name][0], f"{place}.{name}", answer)
        else:
            yield f"{place}.{name}: is read-only"
    if not answer:
        yield from (
            f"{place}.{name}: the field is required"
            for name, (_, _, required) in known.items()
            if required and name not in value
        )


def _list(value: Any, kind: Any, place: str, answer: bool) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{place}: {value!r} is not an array"
        return
    for number, item in enumerate(value):
        yield from complaints(item, typing.get_args(kind)[0], f"{place}[{number}]", answer)


def _dict(value: Any, kind: Any, place: str, answer: bool) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{place}: {value!r} is not an object"
        return
    for name, item in value.items():
        # A null removes an entry. A number among texts is accepted as text: the SDK sends one.
        number = typing.get_args(kind)[1] is str and isinstance(item, int | float)
        if item is not None and not number:
            yield from complaints(item, typing.get_args(kind)[1], f"{place}.{name}", answer)


def _word(value: Any, options: tuple[Any, ...], place: str) -> Iterator[str]:
    words = []
    for option in options:
        if typing.get_origin(option) is typing.Literal:
            words += [getattr(word, "value", word) for word in typing.get_args(option)]
        elif isinstance(option, type) and issubclass(option, enum.Enum):
            words += [word.value for word in option]
    if str(value).lower() not in {str(word).lower() for word in words}:
        yield f"{place}: {value!r} is none of {', '.join(map(str, words))}"


def _options(kind: Any) -> tuple[Any, ...]:
    """Return the alternatives of a type without None; `str | Enum` is the Enum."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        some = tuple(one for one in typing.get_args(kind) if one is not type(None))
        words = tuple(one for one in some if isinstance(one, type) and issubclass(one, enum.Enum))
        return words or some
    return (kind,)


def _is_model(kind: Any) -> bool:
    """Return whether this is a model class; each of the SDK's clients has its own base class."""
    return isinstance(kind, type) and any(base.__name__ == "Model" for base in kind.__mro__[1:])


def _optional(kind: Any) -> bool:
    return kind is Any or type(None) in typing.get_args(kind)
