"""What the endpoints of workflows do: accept a plan, estimate it, show how far it is."""

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.catalog_models import Workflow
from infra.errors import NotFoundError
from serving.access import Caller
from serving.service import Service
from serving.uploads import data_url_bytes, save_image
from serving.wire import ApiError, not_found
from serving.workflows.assembly import font_paths
from serving.workflows.deliverable import KINDS, Deliverable, find_kind
from serving.workflows.plan import Plan, PlanError, Shot, check_shots, read_plan
from serving.workflows.shot_jobs import job_of
from serving.workflows.state import ShotState, State, new_state
from serving.workflows.store import WorkflowStore

FONT_MAGIC = (b"\0\1\0\0", b"OTTO", b"true", b"ttcf")


def kind_of(kind: str) -> Deliverable:
    """Raises ApiError when there is no such kind."""
    found = find_kind(kind)
    if found is None:
        raise not_found(
            f"There is no workflow {kind[:40]!r}; there are {', '.join(KINDS)}.", "kind"
        )
    return found


def plan_error(error: PlanError) -> ApiError:
    return ApiError(f"{error}.", param=error.field or None, code="invalid_plan")


def read(deliverable: Deliverable, values: dict[str, Any]) -> tuple[Plan, Sequence[Shot]]:
    """The plan and its shots.

    Raises:
        ApiError: the plan is wrong; `param` is the field's path.
    """
    try:
        plan = read_plan(deliverable.plan_model, values)
        shots = deliverable.shots(plan)
        check_shots(plan, shots)
    except PlanError as error:
        raise plan_error(error) from error
    return plan, shots


async def save_assets(plan: Plan, folder: Path) -> dict[str, dict[str, str]]:
    """Put the plan's pictures and fonts into `folder`: the fields that stand for them in the
    stored plan, with their SHA-256 by name.

    Raises:
        ApiError: one of them is no picture or font.
    """
    digests: dict[str, str] = {}
    target = folder / "assets"
    target.mkdir()
    for name, url in plan.assets.items():
        param = f"assets.{name}"
        stored = await save_image(data_url_bytes(url, param), folder, param, alpha=True)
        path = (folder / stored).replace(target / f"{name}.png")
        digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    fonts = save_fonts(plan, folder)
    return ({"assets": digests} if digests else {}) | ({"fonts": fonts} if fonts else {})


def save_fonts(plan: Plan, folder: Path) -> dict[str, str]:
    """Put the plan's fonts into `folder`/fonts, unopened; their SHA-256 by name.

    Raises:
        ApiError: one of them does not begin as a font does.
    """
    digests = {}
    for name, url in plan.fonts.items():
        param = f"fonts.{name}"
        data = data_url_bytes(url, param)
        if not data.startswith(FONT_MAGIC):
            raise ApiError(f"{param} is no TrueType or OpenType font.", param=param)
        path = font_paths(plan, folder)[name]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
    return digests


def new_row(
    kind: str, caller: Caller, values: dict[str, Any], plan: Plan, shots: Sequence[Shot],
    stood_for: dict[str, dict[str, str]], key: str | None,
) -> Workflow:  # fmt: skip
    """The row of a new workflow; `values` is the plan as it was sent, `stood_for` what
    `save_assets` returned."""
    stored = values | stood_for
    content = json.dumps([kind, caller.tenant, stored], sort_keys=True)
    return Workflow(
        id=f"wf_{time.time_ns() // 1_000_000:012x}{uuid.uuid4().hex[:16]}",
        kind=kind,
        owner=caller.tenant,
        quota_device_s=caller.quota_device_s,
        title=plan.title,
        plan=stored,
        state=new_state(plan, shots).model_dump(mode="json"),
        request_hash=hashlib.sha256(content.encode()).hexdigest(),
        idempotency_key=key
        and hashlib.sha256(json.dumps([kind, caller.tenant, key]).encode()).hexdigest(),
    )


def accept(store: WorkflowStore, row: Workflow, folder: Path) -> Workflow:
    """Keep the row and its folder, or find the same request's earlier workflow."""
    target = store.folder(row.id)
    folder.replace(target)
    created = False
    try:
        row, created = store.add(row)
    finally:
        if not created:
            shutil.rmtree(target, ignore_errors=True)
    return row


def estimate(
    service: Service, deliverable: Deliverable, plan: Plan, shots: Sequence[Shot]
) -> dict[str, Any]:
    """What all takes cost; device time is None while no job of a kind has ended yet."""
    state = new_state(plan, shots)
    jobs = [
        job_of(service, plan, shot, take) for shot in shots for take in state.shot(shot.id).takes
    ]
    costs, queued_s = service.store.look(
        lambda session: (
            [service.admission.estimate_s(session, job) for job in jobs],
            service.admission.queued_s(session),
        )
    )
    known = [cost for cost in costs if cost is not None]
    device_s = sum(known) if len(known) == len(costs) else None
    budget_s = plan.budget_device_s
    return {
        "object": "estimate",
        "kind": deliverable.kind,
        "x_model_version": service.model.version,
        "shots": len(shots),
        "generations": len(jobs),
        **deliverable.counts(plan),
        "device_seconds": None if device_s is None else round(device_s, 3),
        "queued_device_seconds": round(queued_s, 3),
        "eta_s": None if device_s is None else round(queued_s + device_s, 3),
        "budget_device_s": budget_s,
        "within_budget": None if device_s is None or budget_s is None else device_s <= budget_s,
    }


def check_budget(found: dict[str, Any]) -> None:
    """Raises ApiError when the estimate is above the plan's budget."""
    if found["within_budget"] is False:
        raise ApiError(
            f"The plan's {found['generations']} generations take about "
            f"{found['device_seconds']:g} s of device time, more than its budget of "
            f"{found['budget_device_s']:g} s; ask for fewer shots, takes or seconds.",
            param="budget_device_s",
            code="over_budget",
        )


def find(store: WorkflowStore, caller: Caller, workflow_id: str) -> Workflow:
    """The caller's workflow; raises ApiError when there is none."""
    try:
        return store.get(workflow_id, caller.tenant)
    except NotFoundError as error:
        raise not_found(str(error), "workflow_id") from error


def shown(row: Workflow) -> dict[str, Any]:
    """The workflow object."""
    state = State.model_validate(row.state)
    error = None
    if row.status == "failed":
        error = {"code": row.error_code, "message": row.error_message}
    return {
        "id": row.id,
        "object": "workflow",
        "kind": row.kind,
        "title": row.title,
        "status": row.status,
        "progress": 100 if row.status == "completed" else min(state.progress, 99),
        "created_at": int(row.created_at.timestamp()),
        "updated_at": int(row.updated_at.timestamp()),
        "revision": state.revision,
        "built_revision": state.built,
        "waiting_for": state.waiting or None,
        "approved_by": state.approved_by or None,
        "error": error,
        "shots": [_shot(state, shot) for shot in state.shots],
        "files": [
            {**file.model_dump(), "url": f"/v1/workflows/{row.id}/files/{file.name}"}
            for file in state.files
        ],
        "metrics": state.metrics,
        "notes": state.notes,
    }


def _shot(state: State, shot: ShotState) -> dict[str, Any]:
    return {
        "id": shot.id,
        "seconds": shot.seconds,
        "parent": shot.parent,
        "chosen": shot.chosen,
        "continuity_is_stale": state.is_stale(shot),
        "takes": [
            {
                "take": take.number,
                "status": take.status,
                "progress": 100 if take.status == "completed" else take.progress,
                "prompt": take.prompt,
                "seed": take.seed,
                "video_id": take.job_id or None,
                "model_version": take.model_version or None,
                "parent": take.parent,
                "sha256": take.sha256 or None,
                "error": take.error or None,
            }
            for take in shot.takes
        ],
    }
