"""/v1/workflows: plans in, deliverables out; see `serving.workflows.plan` for the plans."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from infra.catalog_models import Workflow
from infra.errors import NotFoundError
from serving.access import caller_of
from serving.fields import Prompt, Seed, validate
from serving.forms import json_body, json_schema
from serving.service import Service
from serving.uploads import staging
from serving.wire import ApiError, not_found
from serving.workflows import service as workflows
from serving.workflows.dry_run import dry_run
from serving.workflows.plan import Line, PlanError, Shot, read_plan
from serving.workflows.posting import check_pictures, check_takes, check_words
from serving.workflows.runner import Runner
from serving.workflows.state import State, choose, retake
from serving.workflows.store import Change, WorkflowStore


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RetakeFields(_Body):
    """`cascade` also remakes the shots that continue from this one."""

    seed: Seed | None = None
    prompt: Prompt | None = None
    cascade: bool = False


class ChooseFields(_Body):
    take: Annotated[int, Field(ge=1, le=1000)]


class ApproveFields(_Body):
    reviewer: Annotated[Line, Field(min_length=1, max_length=200)]


PLAN = {"requestBody": {"required": True, "content": {"application/json": {"schema": {
    "type": "object", "required": ["title"], "properties": {"title": {"type": "string"}},
}}}}}  # fmt: skip


def workflow_routes(service: Service, store: WorkflowStore, runner: Runner) -> APIRouter:
    router = APIRouter(prefix="/v1/workflows", tags=["workflows"])
    _making(router, service, store, runner)
    _looking(router, store)
    _changing(router, service, store, runner)
    return router


def _making(router: APIRouter, service: Service, store: WorkflowStore, runner: Runner) -> None:
    @router.post("/{kind}/estimate", openapi_extra=PLAN)
    async def estimate_workflow(kind: str, request: Request) -> JSONResponse:
        """What the same plan would cost; nothing is made."""
        deliverable = await run_in_threadpool(workflows.kind_of, kind)
        values = await json_body(request)
        plan, shots = await run_in_threadpool(workflows.read, deliverable, values)
        check_takes(service, plan, shots)
        found = await run_in_threadpool(workflows.estimate, service, deliverable, plan, shots)
        return JSONResponse(found)

    @router.post("/{kind}", status_code=201, openapi_extra=PLAN)
    async def create_workflow(kind: str, request: Request) -> JSONResponse:
        """Begin to make a plan's deliverable. `Idempotency-Key` finds an earlier request's."""
        deliverable = await run_in_threadpool(workflows.kind_of, kind)
        values = await json_body(request)
        plan, shots = await run_in_threadpool(workflows.read, deliverable, values)
        check_takes(service, plan, shots)
        cost = await run_in_threadpool(workflows.estimate, service, deliverable, plan, shots)
        workflows.check_budget(cost)
        await run_in_threadpool(check_words, service.policy, values, plan, shots)
        with staging(store.media_dir) as folder:
            stood_for = await workflows.save_assets(plan, folder)
            await run_in_threadpool(check_pictures, service.policy, plan, folder)
            try:
                await dry_run(deliverable, plan, values | stood_for, folder)
            except PlanError as error:
                raise workflows.plan_error(error) from error
            key = request.headers.get("idempotency-key")
            caller = caller_of(request)
            row = workflows.new_row(kind, caller, values, plan, shots, stood_for, key)
            row = await run_in_threadpool(workflows.accept, store, row, folder)
        runner.notify()
        return JSONResponse(workflows.shown(row), 201)


def _looking(router: APIRouter, store: WorkflowStore) -> None:
    @router.get("")
    def list_workflows(
        request: Request,
        kind: str | None = None,
        after: str | None = None,
        limit: int = Query(20, ge=1, le=100),
    ) -> dict[str, Any]:
        if kind is not None:
            workflows.kind_of(kind)
        try:
            tenant = caller_of(request).tenant
            rows, has_more = store.page(tenant, kind, after=after, limit=limit)
        except NotFoundError as error:
            raise ApiError(f"after: {error}", param="after") from error
        return {
            "object": "list",
            "data": [workflows.shown(row) for row in rows],
            "first_id": rows[0].id if rows else None,
            "last_id": rows[-1].id if rows else None,
            "has_more": has_more,
        }

    @router.get("/{workflow_id}")
    def retrieve_workflow(workflow_id: str, request: Request) -> dict[str, Any]:
        return workflows.shown(workflows.find(store, caller_of(request), workflow_id))

    @router.get("/{workflow_id}/files/{name:path}")
    def download_file(workflow_id: str, name: str, request: Request) -> FileResponse:
        row = workflows.find(store, caller_of(request), workflow_id)
        state = State.model_validate(row.state)
        # Only names that the assembly wrote down lead to a file.
        file = next((file for file in state.files if file.name == name), None)
        path = store.folder(row.id) / f"files-{state.built}" / (file.name if file else "")
        if file is None or not path.is_file():
            raise not_found(f"Workflow {row.id!r} has no file {name[:80]!r}.", "name")
        headers = {"x-content-type-options": "nosniff"}
        return FileResponse(path, media_type=file.media_type, filename=path.name, headers=headers)

    @router.get("/{workflow_id}/bundle")
    def download_bundle(workflow_id: str, request: Request) -> FileResponse:
        """All files, all takes and the manifest, as a zip."""
        row = workflows.find(store, caller_of(request), workflow_id)
        if row.status == "awaiting_review":
            raise ApiError(
                f"Workflow {row.id!r} awaits review: look at its files, then POST to its approve.",
                param="workflow_id",
                code="review_pending",
            )
        built = State.model_validate(row.state).built
        path = store.folder(row.id) / f"bundle-{built}.zip"
        if row.status != "completed" or not path.is_file():
            raise ApiError(
                f"Workflow {row.id!r} is {row.status.replace('_', ' ')}; "
                "its bundle is there when its status is completed.",
                param="workflow_id",
                code="workflow_not_ready",
            )
        name = f"{row.kind}-{row.id}.zip"
        return FileResponse(path, media_type="application/zip", filename=name)


def _changing(router: APIRouter, service: Service, store: WorkflowStore, runner: Runner) -> None:
    async def change(request: Request, workflow_id: str, change: Change) -> JSONResponse:
        def work() -> Workflow:
            row = workflows.find(store, caller_of(request), workflow_id)
            try:
                return store.change(row.id, change)
            except PlanError as error:
                raise workflows.plan_error(error) from error

        row = await run_in_threadpool(work)
        runner.notify()
        return JSONResponse(workflows.shown(row))

    @router.post("/{workflow_id}/shots/{shot}/retake", openapi_extra=json_schema(RetakeFields))
    async def retake_shot(workflow_id: str, shot: str, request: Request) -> JSONResponse:
        """Make one more take of a shot; when it is finished it is the one that is shown."""
        fields = validate(RetakeFields, await json_body(request, optional=True))
        await run_in_threadpool(service.policy.check, {"prompt": fields.prompt or ""})

        def apply(row: Workflow, state: State) -> None:
            deliverable = workflows.kind_of(row.kind)
            plan = read_plan(deliverable.plan_model, row.plan)
            shots: list[Shot] = list(deliverable.shots(plan))
            retake(state, plan, shots, shot, seed=fields.seed, prompt=fields.prompt or "",
                   cascade=fields.cascade)  # fmt: skip
            row.status, row.error_code, row.error_message = "in_progress", None, None

        return await change(request, workflow_id, apply)

    @router.post("/{workflow_id}/shots/{shot}/choose", openapi_extra=json_schema(ChooseFields))
    async def choose_take(workflow_id: str, shot: str, request: Request) -> JSONResponse:
        """Show another finished take: the deliverable is cut anew, without the model."""
        fields = validate(ChooseFields, await json_body(request))

        def apply(row: Workflow, state: State) -> None:
            choose(state, shot, fields.take)
            if state.built != state.revision:
                row.status, row.error_code, row.error_message = "in_progress", None, None

        return await change(request, workflow_id, apply)

    @router.post("/{workflow_id}/approve", openapi_extra=json_schema(ApproveFields))
    async def approve_workflow(workflow_id: str, request: Request) -> JSONResponse:
        """Release what was held back for review; any later change has to be reviewed again.

        The files are made once more, of the same takes, as what they are then: approved.
        """
        fields = validate(ApproveFields, await json_body(request))
        await run_in_threadpool(service.policy.check, {"reviewer": fields.reviewer})

        def apply(row: Workflow, state: State) -> None:
            if row.status != "awaiting_review":
                raise PlanError("workflow_id", f"{row.id} is {row.status}, not awaiting review")
            state.approved_by, row.status = fields.reviewer, "in_progress"
            state.revision += 1

        return await change(request, workflow_id, apply)

    @router.post("/{workflow_id}/cancel")
    async def cancel_workflow(workflow_id: str, request: Request) -> JSONResponse:
        """Queue nothing more; takes that are under way end by themselves."""

        def apply(row: Workflow, _state: State) -> None:
            if row.status in ("queued", "in_progress"):
                row.status, row.error_code = "failed", "cancelled"
                row.error_message = "The workflow was cancelled; retake a shot to go on."

        return await change(request, workflow_id, apply)

    @router.delete("/{workflow_id}")
    def delete_workflow(workflow_id: str, request: Request) -> dict[str, Any]:
        row = workflows.find(store, caller_of(request), workflow_id)
        store.delete(row.id)
        return {"id": row.id, "object": "workflow.deleted", "deleted": True}
