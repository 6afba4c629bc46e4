"""Runs the assembly of workflows in child processes, one at a time."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.catalog_models import Workflow
from infra.errors import NotFoundError
from infra.job_files import read_json, write_json
from infra.settings import Settings
from serving.workflows.state import State
from serving.workflows.store import WorkflowStore

MAX_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class _Child:
    work: tuple[str, int]  # id and revision
    process: subprocess.Popen[bytes]
    begun: float


class Assembler:
    """A child process keeps the gateway quick while films are cut, whatever happens in it."""

    def __init__(self, store: WorkflowStore, settings: Settings) -> None:
        self._store = store
        # What the child needs to sign what it makes.
        self._signing = settings.model_dump(
            mode="json", include={"home", "provenance_key", "provenance_certificate"}
        )
        self._child: _Child | None = None
        self._late: set[tuple[str, int]] = set()

    def outcome(
        self, row: Workflow, state: State, order: Callable[[], dict[str, Any]]
    ) -> dict[str, Any] | str | None:
        """What was made; why it cannot be; or None while it is under way or has to wait."""
        folder, mine = self._store.folder(row.id), (row.id, state.revision)
        child = self._child
        if child is not None and child.process.poll() is None:
            is_late = time.monotonic() - child.begun > MAX_S
            if is_late:
                self._late.add(child.work)
            elif child.work[0] != row.id or child.work == mine:
                return None
            self.stop()  # too slow, or of takes that are chosen no more
        elif child is not None and child.work == mine:
            self._child = None
            if status := child.process.returncode:
                return _last_words(folder) if status == 2 else f"assembling ended with {status}"
        if mine in self._late:
            self._late.remove(mine)
            return f"assembling took longer than {MAX_S / 60:.0f} minutes"
        made = read_json(folder / f"made-{state.revision}.json")
        if made is None:
            self._start(row.id, folder, state.revision, order())
        return made

    def _start(self, workflow_id: str, folder: Path, revision: int, order: dict[str, Any]) -> None:
        if not folder.is_dir():
            raise NotFoundError(f"{workflow_id} was deleted")
        write_json(folder / "order.json", order | {"revision": revision, "signing": self._signing})
        with (folder / "assembly.log").open("wb") as log:
            process = subprocess.Popen(
                ["nice", sys.executable, "-m", "serving.workflows.assembly", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self._child = _Child(work=(workflow_id, revision), process=process, begun=time.monotonic())

    def sweep(self) -> None:
        """End what is being made for a workflow that was deleted."""
        if self._child is not None:
            try:
                self._store.get(self._child.work[0])
            except NotFoundError:
                self.forget(self._child.work[0])

    def forget(self, workflow_id: str) -> None:
        """The workflow is gone, and with it what was being made for it, and what that left."""
        if self._child is not None and self._child.work[0] == workflow_id:
            self.stop()
        shutil.rmtree(self._store.folder(workflow_id), ignore_errors=True)

    def clean(self, workflow_id: str, revision: int) -> None:
        """Remove what earlier revisions left."""
        folder = self._store.folder(workflow_id)
        for path in (*folder.glob("files-*"), *folder.glob("bundle-*.zip"), *folder.glob("made-*")):
            if path.stem.rpartition("-")[2] != str(revision):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def stop(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._child.process.kill()
            self._child.process.wait()
            self._child = None


def _last_words(folder: Path) -> str:
    log = (folder / "assembly.log").read_text(errors="replace").strip()
    return log.splitlines()[-1] if log else "assembling failed"
