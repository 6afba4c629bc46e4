"""The recipe that footage is read with: the defaults, or what HOME/recipes/ingest.json changes."""

from collections.abc import Mapping
from pathlib import Path

from infra.errors import InputError
from infra.job_files import read_json, write_json
from infra.recipes import read_recipe
from infra.settings import Settings
from ingest.recipe import IngestRecipe


def path_of(settings: Settings) -> Path:
    """Where `reel calibrate` writes and every refresh looks."""
    return settings.home / "recipes" / "ingest.json"


def load(settings: Settings) -> IngestRecipe:
    """The recipe of this home.

    Raises:
        InputError: the file holds no recipe; the message names it, and what is wrong.
    """
    path = path_of(settings)
    return read_recipe(IngestRecipe, path) if path.exists() else IngestRecipe()


def save(settings: Settings, shots: Mapping[str, float], path: Path) -> None:
    """Write this home's changes to the defaults, and these values for shots, into `path`.

    Raises:
        InputError: the folder cannot be written to.
    """
    changes = read_json(path_of(settings)) or {}
    changes["shots"] = {**changes.get("shots", {}), **shots}
    try:
        write_json(path, changes)
    except OSError as error:
        raise InputError(f"cannot write the recipe to {path}: {error.strerror}") from error
