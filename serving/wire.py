"""The wire: one shape for every error, a request id on every reply, a cap on every body."""

import logging
import re
import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.errors import InputError, NotFoundError
from serving.redaction import frames

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 2**20
MAX_JSON_BYTES = 2**20
MAX_PLAN_BYTES = 48 * 2**20  # a workflow's plan carries its pictures
# Requests that carry pictures and clips; every other body is small.
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
UPLOADS = (
    "/v1/videos",
    "/v1/videos/extensions",
    "/v1/videos/edits",
    "/v1/videos/characters",
    "/v1/images/edits",
)
PLANS = re.compile(r"/v1/workflows/[a-z]+(/estimate)?/?")


class ApiError(Exception):
    """A reply that is not a success, in OpenAI's shape.

    `param` names the field at fault. A client retries 408, 409, 429 and 5xx by itself, so a
    mistake of the caller is always another 4xx.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str = "invalid_value",
        status: int = 400,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        message, param = _encodable(message), None if param is None else _encodable(param)
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def reply(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def _encodable(text: str) -> str:
    """Half surrogate pairs, which JSON may carry and UTF-8 may not, become question marks."""
    return text.encode("utf-8", "replace").decode()


def not_found(message: str, param: str | None = None) -> ApiError:
    return ApiError(message, param=param, code="not_found", status=404)


def server_error() -> ApiError:
    return ApiError(
        "The server failed on this request; the request id names it in the server's log.",
        code="server_error",
        status=500,
        kind="server_error",
    )


def install(app: FastAPI) -> None:
    """Give `app` the error shape, the body cap and the request ids (the outermost layer)."""

    async def api_error(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return error.reply()

    async def input_error(_request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, NotFoundError):
            return not_found(str(error)).reply()
        return ApiError(str(error)).reply()

    async def unparsed(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first: dict[str, Any] = error.errors()[0]
        param = str(first["loc"][-1])
        value = repr(first.get("input"))[:80]
        return ApiError(f"{param}: {first['msg']}, got {value}.", param=param).reply()

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return _http_error(request, error).reply()

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(InputError, input_error)
    app.add_exception_handler(RequestValidationError, unparsed)
    app.add_exception_handler(HTTPException, http_error)
    app.add_middleware(BodyCap)
    app.add_middleware(SameOrigin)
    app.add_middleware(RequestId)


def _http_error(request: Request, error: HTTPException) -> ApiError:
    where = f"{request.method} {request.url.path}"
    headers = error.headers
    if error.status_code == 404:
        return not_found(f"There is nothing at {where}; the API lives under /v1.")
    if error.status_code == 405:
        message = f"{where} is not supported; this address takes {(headers or {}).get('allow')}."
        return ApiError(message, code="method_not_allowed", status=405, headers=headers)
    return ApiError(str(error.detail), status=error.status_code, headers=headers)


class RequestId:
    """Sets `x-request-id` on every reply and turns an uncaught error into a 500 in the shape."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        # A caller's own id goes into our log and reply: only if it is a plain word.
        request_id = given if REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                header = (b"x-request-id", request_id.encode("latin-1"))
                message["headers"] = [*message["headers"], header]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            log.info("%s: the client left before its request was read", request_id)
        except Exception as error:
            log.error(
                "%s: %s %s failed\n%s", request_id, scope["method"], _path(scope), frames(error)
            )
            if not started:
                await server_error().reply()(scope, receive, send_with_id)


def _path(scope: Scope) -> str:
    """The request's path as one line."""
    return repr(scope["path"])[1:-1][:200]


class BodyCap:
    """Refuses a body above `limit` bytes before anything parses or spools it.

    `small` is the limit of requests that carry no files.
    """

    def __init__(
        self, app: ASGIApp, limit: int = MAX_BODY_BYTES, small: int = MAX_JSON_BYTES
    ) -> None:
        self.app = app
        self._limit, self._small = limit, small

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = self._limit if scope["path"].rstrip("/") in UPLOADS else self._small
        if PLANS.fullmatch(scope["path"]):
            limit = max(self._small, MAX_PLAN_BYTES)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            return await _too_large(limit).reply()(scope, receive, send)
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                # Raised inside the handler that reads, so the app's own error handler answers.
                raise _too_large(limit)
            return message

        await self.app(scope, counted, send)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        f"The request is larger than {limit // 2**20} MiB; send a smaller file.",
        code="request_too_large",
        status=413,
    )


class SameOrigin:
    """Refuses requests that a page of another site makes a browser send to this server."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            origin, host = headers.get(b"origin"), headers.get(b"host", b"")
            if origin is not None and origin.partition(b"://")[2] != host:
                error = ApiError(
                    f"Requests from pages of {origin.decode('latin-1')} are refused; "
                    "call the API from a program or from this server's own page.",
                    code="cross_origin",
                    status=403,
                )
                return await error.reply()(scope, receive, send)
        await self.app(scope, receive, send)
