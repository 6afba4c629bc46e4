"""/v1/videos/characters: a named clip, whose middle picture later videos can begin with.

The model has no idea of a person's identity: a character is a first frame with a name.
"""

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from infra.catalog import Catalog
from infra.catalog_models import Character
from serving.access import caller_of
from serving.fields import CharacterFields, validate
from serving.forms import form_schema, read_body, take_file
from serving.uploads import CLIP, PICTURE, save_video, staging
from serving.wire import ApiError, not_found

MAX_CHARACTERS = 200


class Characters:
    """The characters of all tenants: a row, and a folder MEDIA/{id}/ with the picture."""

    def __init__(self, catalog: Catalog, media_dir: Path) -> None:
        self._catalog = catalog
        self.media_dir = media_dir

    def add(self, owner: str, name: str, folder: Path) -> Character:
        """Keep `folder`, which holds a picture and its clip, as a new character."""
        row = Character(id=f"char_{uuid.uuid4().hex}", owner=owner, name=name, path="")
        row.path = f"{row.id}/{PICTURE}"
        (folder / CLIP).unlink()
        folder.replace(self.media_dir / row.id)
        try:
            with self._catalog.session() as session:
                self._catalog.lock(session, f"characters of {owner}")
                mine = select(Character.id).where(Character.owner == owner).limit(MAX_CHARACTERS)
                if len(session.scalars(mine).all()) == MAX_CHARACTERS:
                    raise ApiError(
                        f"There are {MAX_CHARACTERS} characters; delete one first.",
                        code="too_many_characters",
                    )
                session.add(row)
        except BaseException:
            shutil.rmtree(self.media_dir / row.id, ignore_errors=True)
            raise
        return row

    def get(self, owner: str, character_id: str, param: str = "character_id") -> Character:
        with self._catalog.session(read_only=True) as session:
            row = None if "\0" in character_id else session.get(Character, character_id)
        if row is None or row.owner != owner:
            raise not_found(f"There is no character {character_id[:80]!r}.", param)
        return row

    def delete(self, owner: str, character_id: str) -> None:
        """Forget it and free its file; videos made from it stay."""
        row = self.get(owner, character_id)
        with self._catalog.session() as session:
            found = session.get(Character, row.id)
            if found is not None:
                session.delete(found)
        shutil.rmtree(self.media_dir / row.id, ignore_errors=True)

    def link_picture(self, owner: str, character_id: str, folder: Path) -> str:
        """Put the picture into a job's folder; returns its name there."""
        row = self.get(owner, character_id, "character")
        try:
            os.link(self.media_dir / row.path, folder / PICTURE)
        except FileNotFoundError as error:
            raise not_found(f"The picture of character {row.id!r} is gone.", "character") from error
        return PICTURE


def character_routes(characters: Characters) -> APIRouter:
    """The router; include it before the one with /v1/videos/{video_id}."""
    router = APIRouter(prefix="/v1/videos/characters", tags=["videos"])

    @router.post("", openapi_extra=form_schema(CharacterFields, "video", file_only=True))
    async def create_character(request: Request) -> JSONResponse:
        async with read_body(request) as body:
            upload = take_file(body, "video")
            fields = validate(CharacterFields, body.fields)
            if upload is None:
                raise ApiError(
                    "video is required: a file part with a clip of the character.",
                    param="video",
                    code="missing_required_parameter",
                )
            with staging(characters.media_dir) as folder:
                await save_video(upload, folder, "video", picture=folder / PICTURE)
                tenant = caller_of(request).tenant
                row = await run_in_threadpool(characters.add, tenant, fields.name, folder)
        return JSONResponse(_shown(row))

    @router.get("/{character_id}")
    def retrieve_character(character_id: str, request: Request) -> dict[str, Any]:
        return _shown(characters.get(caller_of(request).tenant, character_id))

    @router.delete("/{character_id}")
    def delete_character(character_id: str, request: Request) -> dict[str, Any]:
        characters.delete(caller_of(request).tenant, character_id)
        return {"id": character_id, "object": "character.deleted", "deleted": True}

    return router


def _shown(row: Character) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "character",
        "name": row.name,
        "created_at": int(row.created_at.timestamp()),
    }
