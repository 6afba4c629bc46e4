"""Reads films on whatever node of the cluster Ray starts it; `ingest.reading` is the other side.

Nodes need to share no disk. A film that this node does not see is asked for and comes in pieces;
on another node than the job's, clips wait in a folder of this node's and go back in pieces.
"""

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.ray_files import node_id, receive, send
from ingest.film import FilmResult, Row
from ingest.recipe import IngestRecipe
from ingest.sandbox import FileState, Sandbox, file_state
from ingest.spool import open_spool


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What became of one request: no result when this node does not see the film."""

    result: FilmResult | None = None
    clips: dict[str, list[Any]] = field(default_factory=dict)
    """The pieces of each clip that has bytes, when they do not lie in the job's own folder."""


class NodeReader:
    """A sandbox, and the way of films and clips to it and from it; made to be a Ray actor."""

    def __init__(self, spool: Path, job_node: str) -> None:
        self._is_home = node_id() == job_node
        self._stack = ExitStack()  # what a killed reader leaves, the next one here removes
        if not self._is_home:
            own = Path(tempfile.gettempdir()) / f"reel-{os.getuid()}"
            own.mkdir(mode=0o700, exist_ok=True)
            spool = self._stack.enter_context(open_spool(own / str(os.getpid())))
        self._spool = spool
        self._sandbox = Sandbox(spool)

    def wait(self) -> None:
        """Returns as soon as this reader has its core."""

    def read(
        self,
        path: Path,
        state: FileState,
        source: Row,
        recipe: IngestRecipe,
        pieces: list[Any] | None,
    ) -> Reading:
        """Read the film at `path`, or the one that the pieces make up; see `Sandbox.read`.

        `state` is the file's as the job sees it: what looks different here is another file.
        """
        if pieces is not None:
            with tempfile.TemporaryDirectory(prefix="copy-", dir=self._spool) as folder:
                copy = Path(folder) / "film"
                receive(pieces, copy)
                return self._reading(self._sandbox.read(copy, source, recipe))
        if file_state(path) != state:
            return Reading()
        return self._reading(self._sandbox.read(path, source, recipe))

    def _reading(self, result: FilmResult) -> Reading:
        if self._is_home:
            return Reading(result=result)
        clips = {clip_id: send(file) for clip_id, file in result.clip_files.items()}
        result.forget_files()
        result.folder = None
        return Reading(result=result, clips=clips)
