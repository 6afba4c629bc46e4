"""/v1/webhook_endpoints and /v1/webhook_event_types, in OpenAI's shapes."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import literal, select, tuple_
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from infra.catalog import Catalog
from infra.catalog_models import WebhookEndpoint, utc_now
from serving.access import caller_of
from serving.fields import plain_text, validate
from serving.forms import json_body, json_schema
from serving.happenings import EVENT_TYPES, event
from serving.outbound import OutboundError, check_url
from serving.outbox import new_secret, send
from serving.wire import ApiError, not_found

OLD_SECRET_VALID = timedelta(hours=24)
MAX_ENDPOINTS = 50


def _known(types: list[str]) -> list[str]:
    unknown = sorted(set(types) - set(EVENT_TYPES))
    if unknown:
        raise ValueError(f"names {unknown[0][:80]!r}; this server sends {', '.join(EVENT_TYPES)}")
    return sorted(set(types))


EventTypes = Annotated[
    list[str],
    Field(min_length=1, max_length=40, examples=[list(EVENT_TYPES)]),
    AfterValidator(_known),
]
Name = Annotated[
    str, Field(min_length=1, max_length=200, examples=["mine"]), AfterValidator(plain_text)
]
Url = Annotated[
    str,
    Field(min_length=1, max_length=2048, examples=["https://hooks.example/reel"]),
    AfterValidator(plain_text),
]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EndpointFields(_Fields):
    """POST /v1/webhook_endpoints."""

    name: Name
    url: Url
    event_types: EventTypes


class EndpointChanges(_Fields):
    """POST /v1/webhook_endpoints/{id}."""

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None


class RotationFields(_Fields):
    """POST /v1/webhook_endpoints/{id}/rotate_secret."""

    keep_old_secret_active_for_24_hours: bool = False


class TestFields(_Fields):
    """POST /v1/webhook_endpoints/{id}/test."""

    event_type: str


class Endpoints:
    """The endpoints of all tenants, in SQL."""

    def __init__(self, catalog: Catalog, private_hosts: Sequence[str]) -> None:
        self._catalog = catalog
        self.private_hosts = private_hosts

    def create(self, owner: str, fields: EndpointFields) -> WebhookEndpoint:
        """Raises ApiError for an address that may not be called, or too many endpoints."""
        self._check(fields.url)
        endpoint = WebhookEndpoint(
            id=f"we_{uuid.uuid4().hex}", owner=owner, secret=new_secret(), **fields.model_dump()
        )
        with self._catalog.session() as session:
            mine = select(WebhookEndpoint.id).where(WebhookEndpoint.owner == owner)
            if len(session.scalars(mine.limit(MAX_ENDPOINTS)).all()) == MAX_ENDPOINTS:
                raise ApiError(
                    f"There are {MAX_ENDPOINTS} webhook endpoints; delete one first.",
                    code="too_many_endpoints",
                )
            session.add(endpoint)
        return endpoint

    def get(self, owner: str, endpoint_id: str) -> WebhookEndpoint:
        with self._catalog.session(read_only=True) as session:
            return self._find(session, owner, endpoint_id)

    def _find(
        self, session: Session, owner: str, endpoint_id: str, *, lock: bool = False
    ) -> WebhookEndpoint:
        plain = "\0" not in endpoint_id  # PostgreSQL has no text with it
        found = session.get(WebhookEndpoint, endpoint_id, with_for_update=lock) if plain else None
        if found is None or found.owner != owner:
            raise not_found(
                f"There is no webhook endpoint {endpoint_id[:80]!r}.", "webhook_endpoint_id"
            )
        return found

    def page(self, owner: str, after: str | None, limit: int) -> tuple[list[WebhookEndpoint], bool]:
        """Newest first: (up to `limit` endpoints after `after`, whether there are more)."""
        query = select(WebhookEndpoint).where(WebhookEndpoint.owner == owner)
        columns = (WebhookEndpoint.created_at, WebhookEndpoint.id)
        if after is not None:
            last = self.get(owner, after)
            mark = tuple_(literal(last.created_at), literal(last.id))
            query = query.where(tuple_(*columns) < mark)
        query = query.order_by(*(column.desc() for column in columns)).limit(limit + 1)
        with self._catalog.session(read_only=True) as session:
            found = list(session.scalars(query))
        return found[:limit], len(found) > limit

    def update(self, owner: str, endpoint_id: str, changes: EndpointChanges) -> WebhookEndpoint:
        values = changes.model_dump(exclude_none=True)
        if changes.url is not None:
            self._check(changes.url)
        with self._catalog.session() as session:
            endpoint = self._find(session, owner, endpoint_id, lock=True)
            if any(getattr(endpoint, name) != value for name, value in values.items()):
                for name, value in values.items():
                    setattr(endpoint, name, value)
                endpoint.updated_at = utc_now()
        return endpoint

    def rotate(self, owner: str, endpoint_id: str, *, keep_old: bool) -> WebhookEndpoint:
        with self._catalog.session() as session:
            endpoint = self._find(session, owner, endpoint_id, lock=True)
            endpoint.old_secret = endpoint.secret if keep_old else None
            endpoint.old_secret_until = utc_now() + OLD_SECRET_VALID if keep_old else None
            endpoint.secret = new_secret()
            endpoint.updated_at = utc_now()
        return endpoint

    def delete(self, owner: str, endpoint_id: str) -> None:
        with self._catalog.session() as session:
            session.delete(self._find(session, owner, endpoint_id, lock=True))

    def test(self, owner: str, endpoint_id: str, event_type: str) -> int:
        """Send a sample event now; returns the endpoint's status."""
        endpoint = self.get(owner, endpoint_id)
        if event_type not in EVENT_TYPES:
            raise ApiError(
                f"event_type must be one of {', '.join(EVENT_TYPES)}; got {event_type[:80]!r}.",
                param="event_type",
            )
        event_id, body = event(event_type, "video_test")
        try:
            return send(endpoint, event_id, body, self.private_hosts)
        except OutboundError as error:
            raise ApiError(f"The endpoint was not reached: {error}.", code="unreachable") from error

    def _check(self, url: str) -> None:
        try:
            check_url(url, self.private_hosts)
        except OutboundError as error:
            raise ApiError(f"Url: {error}.", param="url", code="url_not_allowed") from error


def webhook_routes(endpoints: Endpoints) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["webhooks"])
    path = "/webhook_endpoints/{webhook_endpoint_id}"

    @router.get("/webhook_event_types")
    def list_event_types() -> dict[str, Any]:
        return {"object": "list", "data": list(EVENT_TYPES)}

    @router.post("/webhook_endpoints", openapi_extra=json_schema(EndpointFields))
    async def create_endpoint(request: Request) -> JSONResponse:
        fields = validate(EndpointFields, await json_body(request))
        tenant = caller_of(request).tenant
        endpoint = await run_in_threadpool(endpoints.create, tenant, fields)
        return JSONResponse(_shown(endpoint) | {"signing_secret": endpoint.secret})

    @router.get("/webhook_endpoints")
    def list_endpoints(
        request: Request, after: str | None = None, limit: int = Query(20, ge=1, le=100)
    ) -> dict[str, Any]:
        found, has_more = endpoints.page(caller_of(request).tenant, after, limit)
        return {
            "object": "list",
            "data": [_shown(endpoint) for endpoint in found],
            "first_id": found[0].id if found else None,
            "last_id": found[-1].id if found else None,
            "has_more": has_more,
        }

    @router.get(path)
    def retrieve_endpoint(request: Request, webhook_endpoint_id: str) -> dict[str, Any]:
        return _shown(endpoints.get(caller_of(request).tenant, webhook_endpoint_id))

    @router.post(path, openapi_extra=json_schema(EndpointChanges))
    async def update_endpoint(request: Request, webhook_endpoint_id: str) -> JSONResponse:
        changes = validate(EndpointChanges, await json_body(request))
        tenant = caller_of(request).tenant
        endpoint = await run_in_threadpool(endpoints.update, tenant, webhook_endpoint_id, changes)
        return JSONResponse(_shown(endpoint))

    @router.post(f"{path}/rotate_secret", openapi_extra=json_schema(RotationFields))
    async def rotate_secret(request: Request, webhook_endpoint_id: str) -> JSONResponse:
        fields = validate(RotationFields, await json_body(request, optional=True))
        tenant, keep = caller_of(request).tenant, fields.keep_old_secret_active_for_24_hours
        endpoint = await run_in_threadpool(
            lambda: endpoints.rotate(tenant, webhook_endpoint_id, keep_old=keep)
        )
        return JSONResponse(_shown(endpoint) | {"signing_secret": endpoint.secret})

    @router.post(f"{path}/test", openapi_extra=json_schema(TestFields))
    async def test_endpoint(request: Request, webhook_endpoint_id: str) -> JSONResponse:
        fields = validate(TestFields, await json_body(request))
        tenant = caller_of(request).tenant
        status = await run_in_threadpool(
            endpoints.test, tenant, webhook_endpoint_id, fields.event_type
        )
        answer = {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": webhook_endpoint_id,
            "event_type": fields.event_type,
            "status_code": status,
            "success": True,
        }
        return JSONResponse(answer)

    @router.delete(path)
    def delete_endpoint(request: Request, webhook_endpoint_id: str) -> dict[str, Any]:
        endpoints.delete(caller_of(request).tenant, webhook_endpoint_id)
        return {"id": webhook_endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True}

    return router


def _shown(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "created_at": int(endpoint.created_at.timestamp()),
        "updated_at": int(endpoint.updated_at.timestamp()),
        "signing_secret_hint": f"whsec_…{endpoint.secret[-4:]}",
    }
