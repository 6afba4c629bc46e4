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
from starlette.datastructures import FormData, UploadFile

from serving.wire import MAX_BODY_BYTES, ApiError

MAX_FILES = 4
MAX_FIELDS = 100
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
            max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_BODY_BYTES
        ) as form:
            yield _from_form(form)
    else:
        raise ApiError(
            f"The content type {content_type or '(none)'!r} is not supported; "
            "send application/json or multipart/form-data.",
            code="unsupported_content_type",
        )


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
                raise ApiError(f"{name} was sent twice; send one file.", param=name)
            files[name] = value
        else:
            _put(fields, name, value)
    return Body(fields, files)


def _put(fields: dict[str, Any], name: str, value: str) -> None:
    """Store `a[b][]=value` as fields["a"]["b"] = [value, …]."""
    match = _FIELD.fullmatch(name)
    if match is None:
        raise ApiError(f"The field name {name[:80]!r} is not understood.", param=name[:80])
    path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
    as_list = path[-1] == ""
    keys = path[:-1] if as_list else path
    target = fields
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            raise ApiError(f"{match[1]} was sent both as a value and as an object.", param=match[1])
    if as_list:
        items = target.setdefault(keys[-1], [])
        if not isinstance(items, list):
            raise ApiError(f"{match[1]} was sent both as a value and as a list.", param=match[1])
        items.append(value)
    elif keys[-1] in target:
        raise ApiError(f"{name} was sent twice; send it once.", param=match[1])
    else:
        target[keys[-1]] = value
