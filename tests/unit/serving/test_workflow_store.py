"""Workflows in SQL; `tests/system/test_on_postgres.py` runs this on PostgreSQL, too."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from infra.catalog import Catalog
from infra.catalog_models import WebhookDelivery, WebhookEndpoint, Workflow, utc_now
from infra.errors import InputError, NotFoundError
from serving.jobs import JobStore
from serving.workflows.state import File, State
from serving.workflows.store import WorkflowStore


@pytest.fixture
def workflows(catalog: Catalog, tmp_path: Path) -> WorkflowStore:
    return WorkflowStore(catalog, tmp_path / "media", ttl_s=3600)


def row(number: int = 1, **fields: Any) -> Workflow:
    known: dict[str, Any] = {
        "id": f"wf_{number}", "kind": "game", "owner": "film", "title": "a", "plan": {},
        "state": State().model_dump(mode="json"), "request_hash": "h",
        "created_at": utc_now() + timedelta(seconds=number),
    }  # fmt: skip
    return Workflow(**(known | fields))


def test_the_same_request_is_one_workflow(workflows: WorkflowStore) -> None:
    first, created = workflows.add(row(idempotency_key="k"))
    assert created
    again, created = workflows.add(row(2, idempotency_key="k"))
    assert (again.id, created) == (first.id, False)
    with pytest.raises(InputError, match="different plan"):
        workflows.add(row(3, idempotency_key="k", request_hash="other"))


def test_workflows_of_others_do_not_exist(workflows: WorkflowStore) -> None:
    for number in (1, 2, 3):
        workflows.add(row(number))
    workflows.add(row(4, owner="games"))
    workflows.add(row(5, kind="storyboard"))
    assert workflows.get("wf_4").owner == "games"
    for wanted in ("wf_4", "wf_9", "\0"):
        with pytest.raises(NotFoundError):
            workflows.get(wanted, "film")
    page, more = workflows.page("film", "game", after=None, limit=2)
    assert ([found.id for found in page], more) == (["wf_3", "wf_2"], True)
    page, more = workflows.page("film", "game", after="wf_2", limit=2)
    assert ([found.id for found in page], more) == (["wf_1"], False)
    with pytest.raises(NotFoundError):
        workflows.page("film", None, after="wf_4", limit=2)


def test_the_end_of_a_workflow_is_announced_to_its_owner(
    workflows: WorkflowStore, catalog: Catalog
) -> None:
    with catalog.session() as session:
        for owner, wanted in (("film", "workflow.completed"), ("games", "workflow.completed"),
                              ("film", "workflow.failed")):  # fmt: skip
            session.add(WebhookEndpoint(
                id=f"we_{owner}_{wanted}", url="https://a.example", name="n", secret="whsec_",
                owner=owner, event_types=[wanted],
            ))  # fmt: skip
    workflows.add(row())

    def become(status: str) -> list[tuple[str, str]]:
        workflows.change("wf_1", lambda row, _: setattr(row, "status", status))
        with catalog.session(read_only=True) as session:
            rows = session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id))
            bodies = [(row.endpoint_id, json.loads(row.body)) for row in rows]
        assert all(body["data"] == {"id": "wf_1"} for _, body in bodies)
        return [(endpoint, body["type"]) for endpoint, body in bodies]

    done = ("we_film_workflow.completed", "workflow.completed")
    failed = ("we_film_workflow.failed", "workflow.failed")
    assert become("in_progress") == become("awaiting_review") == []
    assert become("completed") == become("completed") == become("in_progress") == [done]
    assert become("failed") == [done, failed]


def test_changes_are_kept_and_a_failed_one_is_not(workflows: WorkflowStore) -> None:
    workflows.add(row())

    def add_file(found: Workflow, state: State) -> None:
        found.status = "completed"
        state.files.append(File(name="a", media_type="text/plain", bytes=1, sha256="0"))

    def fail(found: Workflow, state: State) -> None:
        add_file(found, state)
        raise ValueError

    assert [found.id for found in workflows.live()] == ["wf_1"]
    workflows.change("wf_1", add_file)
    with pytest.raises(ValueError):
        workflows.change("wf_1", fail)
    assert len(State.model_validate(workflows.get("wf_1").state).files) == 1
    assert workflows.live() == []
    with pytest.raises(NotFoundError):
        workflows.change("wf_9", add_file)


def test_what_nobody_touched_expires_with_its_files(
    workflows: WorkflowStore, store: JobStore, catalog: Catalog
) -> None:
    for number, status in ((1, "completed"), (2, "in_progress"), (3, "completed")):
        workflows.add(row(number, status=status))
        workflows.folder(f"wf_{number}").mkdir(parents=True)
    with catalog.session() as session:
        for number in (1, 2):
            session.get_one(Workflow, f"wf_{number}").updated_at = utc_now() - timedelta(hours=2)
    assert workflows.expire() == 1
    assert not workflows.folder("wf_1").exists() and workflows.folder("wf_2").exists()
    assert store.remove_orphans() == 0
    with pytest.raises(NotFoundError):
        workflows.delete("wf_1")
