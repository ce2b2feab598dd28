"""Validate request bodies by SDK classes that describe themselves by attribute maps.

Each class knows its fields' names on the wire ("properties.osType") and types, which are required, and which
are read-only; the values of an enumeration are found by the class that its docstring names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from azure_stand_in.wire import ArmError

_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "iso-8601": (str,),
    "duration": (str,),
}
_DOTS = re.compile(r"(?<!\\)\.")


def check(body: Any, models: ModuleType, kind: str) -> None:
    """Raise an ArmError that lists everything wrong with a body of class `kind`."""
    if found := list(_complaints(body, models, kind, "")):
        text = "The request content was invalid: " + "; ".join(one.lstrip(".") for one in found) + "."
        raise ArmError(400, "InvalidRequestContent", text)


def _complaints(value: Any, models: ModuleType, kind: str, place: str) -> Iterator[str]:
    if kind.startswith("["):
        if not isinstance(value, list):
            yield f"{place}: {value!r} is not an array"
            return
        for number, item in enumerate(value):
            yield from _complaints(item, models, kind[1:-1], f"{place}[{number}]")
    elif kind.startswith("{"):
        if not isinstance(value, Mapping):
            yield f"{place}: {value!r} is not an object"
            return
        for name, item in value.items():
            yield from _complaints(item, models, kind[1:-1], f"{place}.{name}")
    elif kind in _PLAIN:
        if not isinstance(value, _PLAIN[kind]) or (isinstance(value, bool) and kind != "bool"):
            yield f"{place}: {value!r} is not {kind}"
    elif hasattr(models, kind):
        yield from _object(value, models, getattr(models, kind), place)


def _object(value: Any, models: ModuleType, kind: Any, place: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{place}: {value!r} is not an object"
        return
    for name, subtypes in kind.__dict__.get("_subtype_map", {}).items():
        if value.get(name) not in subtypes:
            yield f"{place}.{name}: {value.get(name)!r} is none of {', '.join(subtypes)}"
            return
        yield from _object(value, models, getattr(models, subtypes[value[name]]), place)
        return
    known = {tuple(_DOTS.split(one["key"])): name for name, one in kind._attribute_map.items()}
    parents = {path[:-1] for path in known if len(path) > 1}
    for path, content in _flat(value, parents, ()):
        name = known.get(path, "")
        where = f"{place}.{'.'.join(path)}"
        rule = kind._validation.get(name, {}) if hasattr(kind, "_validation") else {}
        if not name:
            yield f"{where}: could not find member '{path[-1]}' on object of type '{kind.__name__}'"
        elif content is not None and rule.get("readonly"):
            yield f"{where}: is read-only"
        elif content is not None:
            yield from _complaints(content, models, kind._attribute_map[name]["type"], where)
            yield from _limits(content, rule, where)
            yield from _word(content, models, kind, name, where)
    for path, name in known.items():
        rule = getattr(kind, "_validation", {}).get(name, {})
        if rule.get("required") and not rule.get("readonly") and _at(value, path) is None:
            yield f"{place}.{'.'.join(path)}: the field is required"


def _limits(value: Any, rule: Mapping[str, Any], place: str) -> Iterator[str]:
    low, high = rule.get("minimum"), rule.get("maximum")
    if (low is not None and value < low) or (high is not None and value > high):
        yield f"{place}: {value} is not from {low} to {high}"


def _word(value: Any, models: ModuleType, kind: Any, name: str, place: str) -> Iterator[str]:
    found = re.search(rf":vartype {name}: str or\s+~[\w.]+\.(\w+)", kind.__doc__ or "")
    if found and hasattr(models, found[1]):
        words = [str(one.value) for one in getattr(models, found[1])]
        if str(value).lower() not in [word.lower() for word in words]:
            yield f"{place}: {value!r} is none of {', '.join(words)}"


def _flat(value: Mapping[str, Any], parents: set[Any], above: tuple[str, ...]) -> Iterator[Any]:
    for name, content in value.items():
        path = (*above, name)
        if path in parents and isinstance(content, Mapping):
            yield from _flat(content, parents, path)
        else:
            yield path, content


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
