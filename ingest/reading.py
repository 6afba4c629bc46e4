"""Films read in this process's sandbox, or in many on Ray; results come as they are ready.

with open_readers("ray", recipe, spool, settings) as readers:
    for task, result in readers.read(tasks): …
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import InfrastructureError, InputError
from infra.ray_jobs import connect
from infra.settings import Settings
from ingest.film import FilmResult, Row
from ingest.found import Found
from ingest.recipe import IngestRecipe
from ingest.sandbox import Sandbox

RESTARTS = 3  # of a sandbox whose process or machine was lost


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
    parallel: str, recipe: IngestRecipe, spool: Path, settings: Settings
) -> Iterator[Readers]:
    """The readers called `parallel`, "inline" or "ray"; clips wait below the spool folder.

    Raises:
        InputError: there are no such readers.
    """
    if parallel not in ("ray", "inline"):
        raise InputError(f"parallel is {parallel!r}; use 'ray' or 'inline'")
    readers: Readers = (
        _InlineReaders(recipe, spool)
        if parallel == "inline"
        else _RayReaders(recipe, spool, settings)
    )
    try:
        yield readers
    finally:
        readers.close()


class _InlineReaders(Readers):
    """One film after the other, in one sandbox."""

    def __init__(self, recipe: IngestRecipe, spool: Path) -> None:
        self._recipe = recipe
        self._sandbox = Sandbox(spool)

    def read(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, FilmResult]]:
        for task in tasks:
            yield task, self._sandbox.read(task.path, task.source(), self._recipe)

    def close(self) -> None:
        self._sandbox.close()


class _RayReaders(Readers):
    """A sandbox for every core of the cluster; each is given its next film when it is free.

    All nodes must see the footage and the spool folder under the same paths.
    """

    def __init__(self, recipe: IngestRecipe, spool: Path, settings: Settings) -> None:
        self._recipe, self._spool, self._settings = recipe, spool, settings
        self._ray: Any = None
        self._sandboxes: list[Any] = []

    def read(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, FilmResult]]:
        self._start(len(tasks))
        # A sandbox that waits for a core is given nothing: others may be done before it starts.
        running: dict[Any, tuple[Any, Task | None]] = {
            sandbox.__ray_ready__.remote(): (sandbox, None) for sandbox in self._sandboxes
        }
        waiting, left = deque(tasks), len(tasks)
        while left:
            ready, _ = self._ray.wait(list(running), num_returns=1)
            sandbox, done = running.pop(ready[0])
            result = self._result(ready[0])
            if waiting:
                task = waiting.popleft()
                reference = sandbox.read.remote(task.path, task.source(), self._recipe)
                running[reference] = (sandbox, task)
            if done is not None:
                left -= 1
                yield done, result

    def close(self) -> None:
        for sandbox in self._sandboxes:
            self._ray.kill(sandbox)
        self._sandboxes = []

    def _start(self, films: int) -> None:
        """See that there are as many sandboxes as so many films can keep busy."""
        if not films:
            return
        self._ray = self._ray or connect(self._settings)
        remote = self._ray.remote(num_cpus=1, max_restarts=RESTARTS, max_task_retries=RESTARTS)(
            Sandbox
        )
        cores = int(self._ray.cluster_resources().get("CPU", 1))
        missing = min(cores, films) - len(self._sandboxes)
        self._sandboxes += [remote.remote(self._spool) for _ in range(missing)]

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise InfrastructureError(
                f"a process that reads films was lost {RESTARTS + 1} times; the last time: {error}"
            ) from error
