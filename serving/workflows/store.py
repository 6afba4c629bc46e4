"""Workflows in SQL: a row holds the plan and the state, the folder MEDIA/{id}/ the files."""

import shutil
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, literal, select, tuple_

from infra.catalog import Catalog
from infra.catalog_models import Workflow, utc_now
from infra.errors import InputError, NotFoundError
from serving.happenings import ENDS, announce
from serving.leases import count
from serving.workflows.state import State

LIVE = ("queued", "in_progress")

Change = Callable[[Workflow, State], None]


class WorkflowStore:
    """`owner`, where a method takes it, is the tenant that asks; None is the server itself."""

    def __init__(self, catalog: Catalog, media_dir: Path, ttl_s: float) -> None:
        self._catalog = catalog
        self._ttl = timedelta(seconds=ttl_s)
        self.media_dir = media_dir

    def folder(self, workflow_id: str) -> Path:
        return self.media_dir / workflow_id

    def add(self, row: Workflow) -> tuple[Workflow, bool]:
        """(the row, True), or (that of the same request before, False).

        Raises:
            InputError: its idempotency key was used for a different plan.
        """
        with self._catalog.session() as session:
            self._catalog.lock(session, "workflows")
            earlier = None
            if row.idempotency_key is not None:
                same = Workflow.idempotency_key == row.idempotency_key
                earlier = session.scalars(select(Workflow).where(same)).first()
            if earlier is None:
                session.add(row)
                return row, True
        if earlier.request_hash != row.request_hash:
            raise InputError(
                "This Idempotency-Key was already used for a different plan; use a new key."
            )
        return earlier, False

    def get(self, workflow_id: str, owner: str | None = None) -> Workflow:
        """Raises NotFoundError when there is none, or it is somebody else's."""
        with self._catalog.session(read_only=True) as session:
            row = None if "\0" in workflow_id else session.get(Workflow, workflow_id)
        if row is None or owner not in (None, row.owner):
            raise NotFoundError(f"There is no workflow {workflow_id[:80]!r}.")
        return row

    def page(
        self, owner: str, kind: str | None, *, after: str | None, limit: int
    ) -> tuple[list[Workflow], bool]:
        """(up to `limit` workflows older than `after`, newest first, whether there are more).

        Raises:
            NotFoundError: no workflow `after`.
        """
        query = select(Workflow).where(Workflow.owner == owner)
        if kind is not None:
            query = query.where(Workflow.kind == kind)
        if after is not None:
            last = self.get(after, owner)
            mark = tuple_(literal(last.created_at), literal(last.id))
            query = query.where(tuple_(Workflow.created_at, Workflow.id) < mark)
        query = query.order_by(Workflow.created_at.desc(), Workflow.id.desc()).limit(limit + 1)
        with self._catalog.session(read_only=True) as session:
            rows = list(session.scalars(query))
        return rows[:limit], len(rows) > limit

    def live(self) -> Sequence[Workflow]:
        """Workflows with something left to do, oldest first."""
        query = select(Workflow).where(Workflow.status.in_(LIVE)).order_by(Workflow.created_at)
        with self._catalog.session(read_only=True) as session:
            return list(session.scalars(query))

    def change(self, workflow_id: str, change: Change) -> Workflow:
        """Apply `change` to the row and its state as they are now; nobody else writes meanwhile.
        An end is announced to the owner's webhooks in the same transaction.

        Raises:
            NotFoundError: it was deleted.
        """
        with self._catalog.session() as session:
            row = session.get(Workflow, workflow_id, with_for_update=True)
            if row is None:
                raise NotFoundError(f"There is no workflow {workflow_id[:80]!r}.")
            state, before = State.model_validate(row.state), row.status
            change(row, state)
            if row.status != before and row.status in ENDS:
                announce(session, row.owner, f"workflow.{row.status}", row.id)
            row.state = state.model_dump(mode="json")
            row.updated_at = utc_now()
        return row

    def delete(self, workflow_id: str) -> None:
        """Remove it and its files; the jobs of its shots stay, under /v1/videos.

        Raises:
            NotFoundError: there is none.
        """
        with self._catalog.session() as session:
            gone = count(session, delete(Workflow).where(Workflow.id == workflow_id))
        if not gone:
            raise NotFoundError(f"There is no workflow {workflow_id[:80]!r}.")
        shutil.rmtree(self.folder(workflow_id), ignore_errors=True)

    def expire(self) -> int:
        """Delete what nobody touched for as long as media are kept; returns how many."""
        old = (Workflow.updated_at < utc_now() - self._ttl) & Workflow.status.not_in(LIVE)
        with self._catalog.session(read_only=True) as session:
            ids = list(session.scalars(select(Workflow.id).where(old)))
        for workflow_id in ids:
            self.delete(workflow_id)
        return len(ids)
