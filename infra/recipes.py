"""Recipes: frozen keyword-only dataclasses that hold the science of a step, and their hashes."""

import dataclasses
import hashlib
import json
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

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
    return cls(**{name: _coerce(hints[name], value) for name, value in values.items()})


def _coerce(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return from_dict(hint, value)
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        item = get_args(hint)[0]
        return tuple(_coerce(item, entry) for entry in value)
    return value


def fingerprint(recipe: Any) -> str:
    """16 hex digits that name a recipe: a hash of its class name and all of its values."""
    body = {"recipe": type(recipe).__name__, **to_dict(recipe)}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
