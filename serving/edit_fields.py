"""What the endpoints take that change a video or a picture."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from serving.fields import (
    MAX_SECONDS,
    ImageFields,
    ImageReference,
    Sampling,
    VideoReference,
    number,
    numbered,
    video_size,
)

DEFAULT_STRENGTH = 0.7
Share = Annotated[float, BeforeValidator(number), Field(ge=0, le=1, allow_inf_nan=False)]
Strength = Annotated[float, BeforeValidator(number), Field(gt=0, le=1, allow_inf_nan=False)]
Moment = Annotated[float, BeforeValidator(number), Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]


class BoxFields(BaseModel):
    """A part of the frame, in shares of its sides: 0 is the top or left edge, 1 the other one."""

    model_config = ConfigDict(extra="forbid")

    top: Share
    left: Share
    height: Share
    width: Share

    @model_validator(mode="after")
    def _part(self) -> Self:
        if min(self.height, self.width) <= 0:
            raise ValueError("must have a height and a width above 0")
        if max(self.top + self.height, self.left + self.width) > 1 + 1e-6:
            raise ValueError("must end within the frame: top + height and left + width at most 1")
        if min(self.height, self.width) >= 1:
            raise ValueError("must leave some of the frame")
        return self


class EditFields(Sampling):
    """POST /v1/videos/edits: a finished or uploaded video, made anew in whole or in part.

    Without `box`, `start` and `end` all of it departs from the given video: the nearer `strength`
    is to 1, the freer (0.7 unless told). What is inside the `box` is made anew (inpainting); with
    `outside` the video is scaled into the box, and what is around it is made (outpainting).
    From `start` to `end`, in seconds, everything is made anew, or what the box says. What is not
    made anew comes back as it was. A `strength` beside them lets what is made depart from what was
    there. `size` is the video's own unless told.
    """

    video: VideoReference | None = None
    strength: Strength | None = None
    box: BoxFields | None = None
    outside: bool = False
    start: Moment | None = None
    end: Moment | None = None
    size: Annotated[str, AfterValidator(video_size)] | None = Field(None, examples=["96x64"])


class ImageEditFields(ImageFields):
    """POST /v1/images/edits: a picture, made anew where `mask` is transparent.

    The picture is the file part `image` (or `image[]` with one file), the mask a PNG of its size
    with an alpha channel. Without a mask all of it departs from the picture: the nearer `strength`
    is to 1, the freer (0.7 unless told). `size` is the picture's own unless told. As JSON,
    `images` holds one {"image_url": data: URL} and `mask` is another.
    """

    images: Annotated[list[ImageReference], BeforeValidator(numbered)] | None = None
    mask: ImageReference | None = None
    strength: Strength | None = None
    input_fidelity: Any = None  # taken and not used
