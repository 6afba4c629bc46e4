"""Films read in this process's sandbox, or in many on Ray; results come as they are ready.

with open_readers("ray", recipe, spool, settings) as readers:
    for task, result in readers.read(tasks): …
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.errors import InputError
from infra.settings import Settings
from ingest.film import FilmResult, Row
from ingest.found import Found
from ingest.recipe import IngestRecipe
from ingest.sandbox import Sandbox


@dataclass(frozen=True, kw_only=True)
class Task:
    """One content to read, once, however many files hold it."""

    source_id: str
    films: Sequence[Found]

    @property
    def path(self) -> Path:
        """Where the film lies on this machine."""
        path = self.films[0].path
        assert path is not None, "a task's films lie on this machine"
        return path

    def source(self) -> Row:
        """What is known of the film before it is read."""
        return {**self.films[0].facts(), "source_id": self.source_id}


class Readers(ABC):
    """Reads films; what takes long to start stays until `close`."""

    @abstractmethod
    def read(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, FilmResult]]:
        """Each film's result, in the order in which they are ready; see `Sandbox.read`."""

    @abstractmethod
    def close(self) -> None:
        """End what is still being read."""


@contextmanager
def open_readers(
    parallel: str,
    recipe: IngestRecipe,
    spool: Path,
    settings: Settings,
    still: Callable[[], None] = lambda: None,
) -> Iterator[Readers]:
    """The readers called `parallel`, "inline" or "ray"; clips wait below the spool folder.

    While films take long, those on Ray call `still` now and then; it may raise to end the run.

    Raises:
        InputError: there are no such readers.
    """
    if parallel not in ("ray", "inline"):
        raise InputError(f"parallel is {parallel!r}; use 'ray' or 'inline'")
    readers: Readers = InlineReaders(recipe, spool)
    if parallel == "ray":
        from ingest.cluster import RayReaders

        readers = RayReaders(recipe, spool, settings, still)
    try:
        yield readers
    finally:
        readers.close()


class InlineReaders(Readers):
    """One film after the other, in one sandbox."""

    def __init__(self, recipe: IngestRecipe, spool: Path) -> None:
        self._recipe = recipe
        self._sandbox = Sandbox(spool)

    def read(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, FilmResult]]:
        for task in tasks:
            yield task, self._sandbox.read(task.path, task.source(), self._recipe)

    def close(self) -> None:
        self._sandbox.close()
