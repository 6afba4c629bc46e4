"""Request bodies: multipart, urlencoded or JSON, read into one nested dict plus file parts.

The openai client sends nested extras of a multipart request as bracket fields, all strings:
`extra_body={"video": {"id": "v"}}` arrives as the field `video[id]`.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile

from serving.wire import ApiError

MAX_FILES = 10
MAX_FIELDS = 100
MAX_TEXT_BYTES = 70 * 2**20  # a field may be a picture of 50 MiB in base64
_FIELD = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\]){0,4})")


@dataclass(frozen=True)
class Body:
    """`fields` as a JSON body would have carried them; `files` by field name."""

    fields: dict[str, Any]
    files: dict[str, UploadFile]


@asynccontextmanager
async def read_body(request: Request) -> AsyncIterator[Body]:
    """The request's body; file parts are closed (and their spool files gone) afterwards.

    Raises:
        ApiError: not an object, not parseable, or of a content type that is not supported.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        yield Body(_json_object(await request.body()), {})
    elif content_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
        async with request.form(
            max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_TEXT_BYTES
        ) as form:
            yield _from_form(form)
    else:
        raise ApiError(
            f"The content type {content_type or '(none)'!r} is not supported; "
            "send application/json or multipart/form-data.",
            code="unsupported_content_type",
        )


async def json_body(request: Request, *, optional: bool = False) -> dict[str, Any]:
    """The JSON object of a request that takes nothing else; {} for no body if it is `optional`.

    Raises:
        ApiError: another content type, or not a JSON object.
    """
    if optional and not await request.body():
        return {}
    async with read_body(request) as body:
        if request.headers.get("content-type", "").startswith("application/json"):
            return body.fields
    raise ApiError("Send application/json here.", code="unsupported_content_type")


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI for a JSON body that we parse ourselves."""
    return _request_body({"application/json": {"schema": _schema(model)}})


def form_schema(model: type[BaseModel], *files: str, file_only: bool = False) -> dict[str, Any]:
    """OpenAPI for a form with file parts or, unless `file_only`, JSON without them."""
    schema = _schema(model)
    upload = {file: {"type": "string", "format": "binary"} for file in files}
    form = {**schema, "properties": {**schema["properties"], **upload}}
    if file_only:
        form["required"] = [*schema.get("required", []), files[0]]
        return _request_body({"multipart/form-data": {"schema": form}})
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return _request_body(content)


def _request_body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema with its definitions put in place: OpenAPI has no $defs here."""
    schema = model.model_json_schema()
    defined = schema.pop("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return inline(defined[value["$ref"].rpartition("/")[2]])
            return {key: inline(entry) for key, entry in value.items()}
        return [inline(entry) for entry in value] if isinstance(value, list) else value

    inlined: dict[str, Any] = inline(schema)
    return inlined


def take_file(body: Body, name: str) -> UploadFile | None:
    """The file part `name`, the only one that the endpoint takes."""
    return take_files(body, name).get(name)


def take_files(body: Body, *names: str) -> dict[str, UploadFile]:
    """The file parts of `names`, the only ones that the endpoint takes."""
    unknown = sorted(set(body.files) - set(names))
    if unknown:
        known = ", ".join(names[:3]) + (" and so on" if len(names) > 3 else "")
        raise ApiError(
            f"Unknown file part {unknown[0][:80]!r}; this endpoint takes {known}.",
            param=unknown[0].partition("[")[0][:80],
            code="unknown_parameter",
        )
    for name in body.files:
        if name in body.fields:
            raise ApiError(f"{name} was sent both as a file and as a field; send one.", param=name)
    return body.files


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"The body is not valid JSON: {error}.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise ApiError("The body must be a JSON object.", code="invalid_json")
    return value


def _from_form(form: FormData) -> Body:
    fields: dict[str, Any] = {}
    files: dict[str, UploadFile] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name in files:
                raise ApiError(
                    f"{name} was sent twice; send one file.", param=name.partition("[")[0]
                )
            files[name] = value
        else:
            _put(fields, name, value)
    return Body(fields, files)


def _put(fields: dict[str, Any], name: str, value: str) -> None:
    """Store `a[b][]=value` as fields["a"]["b"] = [value, …], `a[][b]=value` as a list of dicts."""
    match = _FIELD.fullmatch(name)
    if match is None:
        raise ApiError(f"The field name {name[:80]!r} is not understood.", param=name[:80])
    path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
    _store(fields, path, value, name)


def _store(target: dict[str, Any], path: list[str], value: str, name: str) -> None:
    key, *rest = path
    root = name.partition("[")[0]
    if not rest:
        if key in target:
            raise ApiError(f"{name} was sent twice; send it once.", param=root)
        target[key] = value
    elif rest[0] != "":
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ApiError(f"{root} was sent both as a value and as an object.", param=root)
        _store(inner, rest, value, name)
    else:
        items = target.setdefault(key, [])
        if not isinstance(items, list):
            raise ApiError(f"{root} was sent both as a value and as a list.", param=root)
        if len(rest) == 1:
            items.append(value)
            return
        # The client sends a list of objects as `a[][x]=1&a[][x]=3&a[][y]=2&a[][y]=4`: a value
        # belongs to the first of them that has none yet.
        lacking = (item for item in items if isinstance(item, dict) and not _has(item, rest[1:]))
        item = next(lacking, None)
        if item is None:
            items.append(item := {})
        _store(item, rest[1:], value, name)


def _has(fields: dict[str, Any], path: list[str]) -> bool:
    value: Any = fields
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True
