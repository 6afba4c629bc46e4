"""Films read on all nodes of a Ray cluster, one on each core; `ingest.node_reader` reads them."""

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.errors import InfrastructureError
from infra.ray_files import LostError, node_id, receive, send
from infra.ray_jobs import connect
from infra.settings import Settings
from ingest.film import FilmResult
from ingest.node_reader import NodeReader, Reading
from ingest.reading import Readers, Task
from ingest.recipe import IngestRecipe
from ingest.sandbox import FileState, changed, file_state

RESTARTS = 3  # of a reader whose process or machine was lost
STILL_S = 5.0


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A film that a reader was asked for."""

    task: Task
    state: FileState
    is_sent: bool = False
    """Whether the film was sent along: its node does not see it."""
    losses: int = 0
    """How often its clips were lost on their way."""


class RayReaders(Readers):
    """A reader for every core of the cluster; each is given its next film when it is free.

    So no more films are on their way than there are cores: what is read waits until we take it.
    """

    def __init__(
        self,
        recipe: IngestRecipe,
        spool: Path,
        settings: Settings,
        still: Callable[[], None],
    ) -> None:
        self._recipe, self._spool, self._settings = recipe, spool, settings
        self._still = still
        self._ray: Any = None
        self._readers: list[Any] = []

    def read(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, FilmResult]]:
        self._start(len(tasks))
        # A reader that waits for a core is given nothing: others may be done before it starts.
        running: dict[Any, tuple[Any, _Asked | None]] = {
            reader.wait.remote(): (reader, None) for reader in self._readers
        }
        waiting, left = deque(tasks), len(tasks)
        while left:
            ready, _ = self._ray.wait(list(running), num_returns=1, timeout=STILL_S)
            if not ready:
                self._still()
                continue
            reader, asked = running.pop(ready[0])
            answer = self._answer(ready[0])
            taken = self._take(asked, answer) if asked else None
            if isinstance(taken, _Asked):
                running[self._ask(reader, taken)] = (reader, taken)
                continue
            if waiting:
                task = waiting.popleft()
                new = _Asked(task=task, state=file_state(task.path))
                running[self._ask(reader, new)] = (reader, new)
            if asked and taken:
                left -= 1
                yield asked.task, taken

    def close(self) -> None:
        for reader in self._readers:
            self._ray.kill(reader)
        self._readers = []

    def _start(self, films: int) -> None:
        """See that there are as many readers as so many films can keep busy."""
        if not films:
            return
        self._ray = self._ray or connect(self._settings, keep_sigterm=True)
        remote = self._ray.remote(num_cpus=1, max_restarts=RESTARTS, max_task_retries=RESTARTS)(
            NodeReader
        )
        cores = int(self._ray.cluster_resources().get("CPU", 1))
        missing = min(cores, films) - len(self._readers)
        self._readers += [remote.remote(self._spool, node_id()) for _ in range(missing)]

    def _ask(self, reader: Any, asked: _Asked) -> Any:
        task, pieces = asked.task, None
        if asked.is_sent:
            with suppress(OSError):  # gone just now, which we see when the reader answers
                pieces = send(task.path)
        return reader.read.remote(task.path, asked.state, task.source(), self._recipe, pieces)

    def _answer(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise InfrastructureError(
                f"a process that reads films was lost {RESTARTS + 1} times; the last time: {error}"
            ) from error

    def _take(self, asked: _Asked, answer: Reading) -> FilmResult | _Asked:
        """The film's result, its clips in files on this node; or what to ask for next."""
        result = answer.result
        if result is None and not asked.is_sent:
            return replace(asked, is_sent=True)
        if result is None or file_state(asked.task.path) != asked.state:
            return changed(asked.task.source(), self._recipe)
        if not answer.clips:
            return result
        result.folder = Path(tempfile.mkdtemp(prefix="film-", dir=self._spool))
        try:
            for clip_id, pieces in answer.clips.items():
                receive(pieces, result.folder / clip_id)
        except LostError as error:
            result.forget_files()
            if asked.losses == RESTARTS:
                raise InfrastructureError(
                    f"the clips of {asked.task.path} were lost {RESTARTS + 1} times on their way "
                    f"from another node; the last time: {error}"
                ) from error
            return replace(asked, losses=asked.losses + 1)
        return result
