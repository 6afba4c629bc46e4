"""The picture and the mask of an image edit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.datastructures import UploadFile

from serving.edit_fields import DEFAULT_STRENGTH, ImageEditFields
from serving.fields import MAX_SIDE, MIN_SIDE
from serving.pictures import Pictures
from serving.uploads import MASK, PICTURE
from serving.wire import ApiError


@dataclass(frozen=True)
class GivenPicture:
    """`size` is the picture's own, within the limits; `params` are the job's."""

    size: str
    params: dict[str, Any]


async def save_given(
    pictures: Pictures, fields: ImageEditFields, files: Mapping[str, UploadFile], folder: Path
) -> GivenPicture:
    """Check the picture and the mask, if there is one, and store them in `folder`.

    Raises:
        ApiError: there is not one picture, or they cannot be decoded or do not fit each other.
    """
    uploads = [files[name] for name in ("image", "image[]") if name in files]
    references = fields.images or []
    count = len(uploads) + len(references)
    if count != 1:
        raise ApiError(
            f"There are {count} pictures to edit; send one, as the file part image or, in JSON, "
            "in images.",
            param="image",
            code="invalid_value" if count else "missing_required_parameter",
        )
    await pictures.save(
        uploads[0] if uploads else None, references[0] if references else None, folder, "image"
    )
    with Image.open(folder / PICTURE) as picture:
        width, height = picture.size
    params: dict[str, Any] = {"input": PICTURE, "strength": fields.strength}
    if "mask" in files or fields.mask is not None:
        await pictures.save(files.get("mask"), fields.mask, folder, "mask", MASK)
        _check_mask(folder / MASK, (width, height))
        params["mask"] = MASK
    elif fields.strength is None:
        params["strength"] = DEFAULT_STRENGTH
    return GivenPicture(_within_limits(width, height), params)


def _check_mask(path: Path, size: tuple[int, int]) -> None:
    with Image.open(path) as alpha:
        if alpha.size != size:
            seen, wanted = (f"{width}x{height}" for width, height in (alpha.size, size))
            raise ApiError(f"mask is {seen} and the picture {wanted}; make them equal.",
                           param="mask")  # fmt: skip
        if alpha.getextrema()[0] == 255:
            raise ApiError(
                "mask is opaque all over; make transparent what is to be made anew.", param="mask"
            )


def _within_limits(width: int, height: int) -> str:
    scale = min(1.0, MAX_SIDE / max(width, height))
    return "x".join(str(max(MIN_SIDE, round(side * scale))) for side in (width, height))
