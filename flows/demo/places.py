"""Where the demo lives: its own home for rendered films, the user's for the user's footage."""

import os
from dataclasses import dataclass
from pathlib import Path

from infra.errors import InputError, NotFoundError
from infra.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Places:
    """The settings that the demo runs with, and its folders.

    folder: report.json, report.html and outputs/ go here.
    footage: the films. Rendered ones are in `world`/footage, with their truth in `world`.
    """

    settings: Settings
    folder: Path
    footage: Path
    world: Path | None

    @classmethod
    def of(cls, footage: Path | None) -> "Places":
        """Rendered films have a home of their own below the user's, so that they never mix with a
        user's lake; the user's footage goes into the user's own.

        Raises:
            NotFoundError, InputError: the footage folder is missing, or holds no film.
        """
        users = Settings()
        folder = users.home / "demo"
        if footage is not None:
            return cls(settings=users, folder=folder, footage=_checked(footage), world=None)
        own = Settings(home=folder, lake_uri="", catalog_url="", mlflow_store="", media_dir=Path())
        world = folder / "world"
        return cls(settings=own, folder=folder, footage=world / "footage", world=world)

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    def enter(self) -> None:
        """Put the settings where this process's libraries and its children look for them.

        Before Prefect and MLflow are imported: they read their environment then.
        """
        os.environ.update(self.settings.process_env())


def _checked(footage: Path) -> Path:
    from ingest.sources import find_films

    folder = footage.expanduser().absolute()
    if not folder.exists():
        raise NotFoundError(f"there is no folder {folder}; name one that holds films")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder that holds films")
    find_films(str(folder))
    return folder


def near(path: Path) -> str:
    """`path` as a person in this folder would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
