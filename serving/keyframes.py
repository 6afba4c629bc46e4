"""Keyframes of a request: saved, and placed before anything is queued."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from infra.catalog_models import GenerationJob
from infra.errors import InputError
from serving.clips import save_clip
from serving.fields import MAX_KEYFRAMES, ImageReference, Keyframe, VideoFields
from serving.pictures import Pictures
from serving.placement import loop_frames, mark, place
from serving.service import ModelInfo, Service
from serving.uploads import MAX_DECODED_BYTES
from serving.wire import ApiError

PARAM = "keyframes"
FILES = tuple(
    f"{PARAM}[{index}][{kind}]" for index in range(MAX_KEYFRAMES) for kind in ("image", "video")
)


async def save_keyframes(
    service: Service,
    pictures: Pictures,
    request: Request,
    fields: VideoFields,
    files: Mapping[str, UploadFile],
    folder: Path,
) -> list[dict[str, Any]]:
    """The keyframes, as a job's params keep them: {"file", "at"} and, of a clip, its facts.

    Raises:
        ApiError: one has no picture or clip, or more than one, or it cannot be used.
    """
    keyframes = fields.keyframes or []
    for name in FILES[2 * len(keyframes) :]:
        if name in files:
            raise ApiError(f"{name} has no {PARAM}[…][at] that says when it is seen.", param=PARAM)
    saved, decoded_bytes = [], 0
    for index, keyframe in enumerate(keyframes):
        image, video = (files.get(f"{PARAM}[{index}][{kind}]") for kind in ("image", "video"))
        _check_one(index, keyframe, image, video)
        entry: dict[str, Any] = {"at": keyframe.at}
        if image is not None or keyframe.image_url is not None:
            reference = ImageReference(image_url=keyframe.image_url)
            entry["file"] = f"input{index}.png"
            await pictures.save(image, reference, folder, PARAM, entry["file"])
        else:
            entry["file"] = f"input{index}.video"
            facts, _ = await save_clip(
                service, request, video, keyframe.video, folder, PARAM, entry["file"]
            )
            entry |= {"fps": facts.fps, "num_frames": facts.num_frames}
            decoded_bytes += facts.num_frames * facts.width * facts.height * 3
        if decoded_bytes > MAX_DECODED_BYTES:
            raise ApiError(
                f"{PARAM} have more than {MAX_DECODED_BYTES / 2**30:g} GiB of pixels in all; send "
                "shorter or smaller clips.",
                param=PARAM,
            )
        saved.append(entry)
    return saved


def _check_one(
    index: int, keyframe: Keyframe, image: UploadFile | None, video: UploadFile | None
) -> None:
    ways = [image, video, keyframe.image_url, keyframe.video]
    count = sum(way is not None for way in ways)
    if count != 1:
        raise ApiError(
            f"{PARAM}[{index}] has {count} pictures and clips; send one, as image_url, video[id] "
            f"or a file part {PARAM}[{index}][image] or {PARAM}[{index}][video].",
            param=PARAM,
        )


def check_placed(model: ModelInfo, job: GenerationJob) -> None:
    """Raises ApiError when the model cannot make the job's video of its given frames."""
    params = job.params
    num_frames = model.num_frames(job.seconds)
    keyframes = params.get(PARAM) or []
    given = [{"at": 0.0}, *keyframes] if params.get("input") else keyframes
    if params.get("loop"):
        num_frames = loop_frames(num_frames)
        shortest = 8 if given else model.loop_frames
        if num_frames < shortest:
            raise ApiError(
                f"seconds is {job.seconds:g}; a loop of this model lasts at least "
                f"{shortest / model.fps:g} s.",
                param="seconds",
            )
    try:
        place([mark(entry, num_frames, model.fps) for entry in given], num_frames,
              loop=bool(params.get("loop")))  # fmt: skip
    except InputError as error:
        message = str(error)
        raise ApiError(f"{message[0].upper()}{message[1:]}.", param=PARAM) from error
