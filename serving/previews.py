"""Previews: a frame of what a job is coming to, on its way to those who wait for it.

A video's preview is small, takes the place of the one before it, and goes when the video comes: it
is a row of the job's log and no file. It is not signed and says so; the plain id in it names the
job and what made it. The partial pictures that an image request asks for are files like its
results: of their size and format, signed as they are, and deleted with the job.

`serving.previewer` decides when one is made.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from infra.catalog_models import GenerationJob
from serving.delivery import Frames, Seal, artifact, write_picture
from serving.leases import Claim, Leases
from serving.parts import Part
from serving.plain_id import picture_options

QUALITY = 70
SIDE = 256  # pixels, the longer side of a video's preview


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A frame (H, W, 3) of the model's own size, after `step` of the job's `steps`.

    index: which of the moments that previews are made at, from 0 on.
    is_asked: it was asked for, and is not left out when a newer one waits.
    """

    frame: Frames
    index: int
    step: int
    steps: int
    is_asked: bool


def publish(
    store: Leases, claim: Claim, folder: Path, seal: Seal, part: Part, preview: Preview
) -> None:
    """Put a preview into the job's log; nothing where the job is no longer ours.

    Raises:
        Exception: it cannot be encoded, signed or stored; nothing of it is left.
    """
    data: dict[str, Any] = {"step": preview.step, "steps": preview.steps}
    if preview.is_asked:
        path = _write_partial(claim, folder, seal, part, preview)
        data |= {"picture": part.name, "index": preview.index, "file": path.name}
        store.preview(claim, data, replace=False)
        return
    picture = small(preview.frame, part.width, part.height)
    data |= {"image": data_url(claim.job.id, picture), "signed": False}
    data |= {"width": picture.width, "height": picture.height}
    store.preview(claim, data, replace=True)


def _write_partial(claim: Claim, folder: Path, seal: Seal, part: Part, preview: Preview) -> Path:
    """The file of a partial picture, as the picture itself will be written."""
    job = claim.job
    name = f"partial-{part.name}-{preview.index}"
    path = folder / f"{name}-{claim.attempt}.{job.params['output_format']}"
    picture = next(part.frames(iter([preview.frame])))
    try:
        write_picture(Image.fromarray(picture), path, job.params["output_compression"])
        seal(job, [artifact(job.id, name, path)])
    except Exception:
        path.unlink(missing_ok=True)
        raise
    return path


def partials_asked(job: GenerationJob) -> int:
    """How many partial pictures of each picture the request asked for."""
    return int(job.params.get("partial_images", 0))


def data_url(job_id: str, picture: Image.Image) -> str:
    """The picture as a data: URL, with the plain id of the job that it is of."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, **picture_options(job_id, "WEBP"))
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def small(frame: Frames, width: int, height: int) -> Image.Image:
    """The frame in the shape of a delivered one, but no larger than SIDE or than it is itself."""
    scale = min(SIDE, max(frame.shape[:2]), max(width, height)) / max(width, height)
    sides = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(frame).resize(sides, Image.Resampling.LANCZOS)
