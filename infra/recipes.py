"""Recipes: frozen keyword-only dataclasses that hold the science of a step, and their hashes."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from infra.errors import InputError

R = TypeVar("R")


def to_dict(recipe: Any) -> dict[str, Any]:
    """Plain JSON-able dict of a recipe; nested recipes become nested dicts."""
    return dataclasses.asdict(recipe)


def from_dict(cls: type[R], values: dict[str, Any]) -> R:
    """Build recipe `cls` from a dict (nested dicts become nested recipes, lists become tuples).

    Raises:
        InputError: an unknown field, naming it and the fields that exist.
    """
    hints = get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(
            f"recipe {cls.__name__} has no field {', '.join(map(repr, unknown))}; "
            f"its fields are {', '.join(sorted(known))}"
        )
    return cls(**{name: _coerce(hints[name], value, name) for name, value in values.items()})


def read_recipe(cls: type[R], path: Path) -> R:
    """The recipe in a JSON file; what the file does not say stays at its default.

    Raises:
        InputError: not a JSON object, an unknown field, or a value of another type.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise InputError("it has to hold one JSON object")
        return from_dict(cls, values)
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{path} is no {cls.__name__}: {error}; mend or remove it") from error


def change_recipe(recipe: R, path: Path) -> R:
    """The recipe with the values that a JSON file changes, at any depth.

    Raises:
        InputError: not a JSON object, an unknown field, or a value of another type.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise InputError("it has to hold one JSON object")
        return from_dict(type(recipe), _merged(to_dict(recipe), values))
    except (OSError, ValueError, InputError) as error:
        name = type(recipe).__name__
        raise InputError(f"{path} changes no {name}: {error}; mend or remove it") from error


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = {
        name: _merged(values[name], change)
        if isinstance(change, dict) and isinstance(values.get(name), dict)
        else change
        for name, change in changes.items()
    }
    return {**values, **both}


def _coerce(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return from_dict(hint, value)
    if dataclasses.is_dataclass(hint):
        raise InputError(f"{name} is {value!r}; it has to be an object of values")
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        item = get_args(hint)[0]
        return tuple(_coerce(item, entry, name) for entry in value)
    if get_origin(hint) is Literal and value not in get_args(hint):
        choices = ", ".join(map(repr, get_args(hint)))
        raise InputError(f"{name} is {value!r}; it has to be one of {choices}")
    wanted = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}.get(hint)
    if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool)):
        raise InputError(f"{name} is {value!r}; it has to be of type {hint.__name__}")
    return value


def fingerprint(recipe: Any) -> str:
    """16 hex digits that name a recipe: a hash of its class name and all of its values."""
    body = {"recipe": type(recipe).__name__, **to_dict(recipe)}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
