"""What the endpoints take: every field, its bounds, and the sentence for a value outside them."""

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from serving.wire import ApiError

MIN_SIDE, MAX_SIDE = 16, 2048
MIN_SECONDS, MAX_SECONDS = 1, 60
MAX_PROMPT = 8000
MAX_KEYFRAMES = 8
MAX_SEED = 2**53 - 1  # the largest integer that JSON clients in every language keep exact

F = TypeVar("F", bound=BaseModel)


def parse_size(size: str, *, even: bool) -> tuple[int, int]:
    """(width, height) of "WIDTHxHEIGHT". `even`: H.264 with 4:2:0 colour has only even sides.

    Raises:
        ValueError: not of that form, or a side out of bounds.
    """
    match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", size)
    if match is None:
        raise ValueError("size must be WIDTHxHEIGHT in pixels, for example 1280x720")
    width, height = int(match[1]), int(match[2])
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise ValueError(f"each side of size must be from {MIN_SIDE} to {MAX_SIDE} pixels")
    if even and (width % 2 or height % 2):
        raise ValueError("each side of a video's size must be an even number of pixels")
    return width, height


def number(value: Any) -> Any:
    """`value`, unless it is true or false, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def plain_text(value: str) -> str:
    """`value`, if every database and encoding can hold it."""
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("contains characters that are not text (NUL or half a surrogate pair)")
    return value


def _said_something(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty; put it in words")
    return value


def video_size(value: str) -> str:
    parse_size(value, even=True)
    return value


def image_size(value: str) -> str:
    if value != "auto":
        parse_size(value, even=False)
    return value


Text = Annotated[str, Field(max_length=MAX_PROMPT), AfterValidator(plain_text)]
Id = Annotated[str, Field(max_length=200), AfterValidator(plain_text)]
Prompt = Annotated[Text, AfterValidator(_said_something)]
Seconds = Annotated[
    float, BeforeValidator(number), Field(ge=MIN_SECONDS, le=MAX_SECONDS, allow_inf_nan=False)
]
Seed = Annotated[int, BeforeValidator(number), Field(ge=0, le=MAX_SEED)]
Steps = Annotated[int, BeforeValidator(number), Field(ge=1, le=500)]
Guidance = Annotated[float, BeforeValidator(number), Field(ge=0, le=50, allow_inf_nan=False)]


MODEL_NAMES: dict[str, Any] = {
    "anyOf": [
        {"enum": ["", "reel-generator", "champion", "sora-2", "sora-2-pro", "gpt-image-1"]},
        {"pattern": "^(reel-generator@)?[0-9]+$"},
    ]
}


class Sampling(BaseModel):
    """Fields that every generation takes; those after `model` are our additions."""

    model_config = ConfigDict(extra="forbid")

    prompt: Prompt = Field(examples=["a red circle moves left"])
    model: str = Field("", json_schema_extra=MODEL_NAMES)
    seed: Seed | None = None
    steps: Steps | None = None
    guidance: Guidance | None = None
    negative_prompt: Text = ""
    user: Any = None  # OpenAI's bookkeeping: taken and not used
    metadata: Any = None
    safety_identifier: Any = None


class ImageReference(BaseModel):
    """`image_url` is a data: URL; `file_id` names an uploaded file."""

    model_config = ConfigDict(extra="forbid")

    image_url: str | None = None
    file_id: str | None = None


class VideoReference(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: Id


class CharacterReference(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: Id


Fps = Annotated[float, BeforeValidator(number), Field(ge=1, le=60, allow_inf_nan=False)] | None


def _moment(value: Any) -> Any:
    if value == "end":
        return value
    try:
        seconds = float(number(value))
    except (TypeError, ValueError) as error:
        raise ValueError('must be a number of seconds, or "end"') from error
    if not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f'must be from 0 to {MAX_SECONDS} seconds, or "end"')
    return seconds


def numbered(value: Any) -> Any:
    """A list that a form sent as `a[0]=…&a[1]=…`."""
    if not isinstance(value, dict):
        return value
    if set(value) != {str(number) for number in range(len(value))}:
        raise ValueError("must be numbered from 0 on, without gaps")
    return [value[str(number)] for number in range(len(value))]


class Keyframe(BaseModel):
    """What is seen at the moment `at`: a picture (a data: URL, or the file part
    `keyframes[N][image]`) or a clip (`video` of an id, or the file part `keyframes[N][video]`).

    `at` is in seconds from the beginning. What is at "end" ends with the video.
    """

    model_config = ConfigDict(extra="forbid")

    at: Annotated[
        Any,
        BeforeValidator(_moment),
        WithJsonSchema(
            {"anyOf": [{"type": "number", "minimum": 0, "maximum": 60}, {"enum": ["end"]}]}
        ),
    ]
    image_url: str | None = None
    video: VideoReference | None = None


Keyframes = Annotated[list[Keyframe], BeforeValidator(numbered), Field(max_length=MAX_KEYFRAMES)]


class VideoFields(Sampling):
    """POST /v1/videos. A picture given as `input_reference` becomes the first frame.

    `character` stands for the picture of that character; the model knows no more of it. What
    `keyframes` show is led to and from; a clip at 0 and one at "end" are bridged. A `loop` goes on
    from its last frame to its first.
    """

    seconds: Seconds = 4
    size: Annotated[str, AfterValidator(video_size)] | None = Field(None, examples=["96x64"])
    fps: Fps = None
    input_reference: ImageReference | None = None
    character: CharacterReference | None = None
    loop: bool = False
    keyframes: Keyframes | None = None


class RemixFields(BaseModel):
    """POST /v1/videos/{id}/remix: all that is not said here stays as it was, the seed too."""

    model_config = ConfigDict(extra="forbid")

    prompt: Prompt
    seed: Seed | None = None
    steps: Steps | None = None
    guidance: Guidance | None = None
    negative_prompt: Text | None = None


class CharacterFields(BaseModel):
    """POST /v1/videos/characters."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[
        str, Field(max_length=80), AfterValidator(plain_text), AfterValidator(_said_something)
    ]


class ExtensionFields(Sampling):
    """POST /v1/videos/extensions. `seconds` is the new part; `direction` is where it goes."""

    seconds: Seconds = 4
    video: VideoReference | None = None
    direction: Literal["forward", "backward"] = "forward"


class ImageFields(Sampling):
    """POST /v1/images/generations."""

    n: Annotated[int, BeforeValidator(number), Field(ge=1, le=10)] | None = None
    size: Annotated[str, AfterValidator(image_size)] | None = Field(None, examples=["64x64"])
    output_format: Literal["png", "webp", "jpeg"] | None = None
    output_compression: Annotated[int, BeforeValidator(number), Field(ge=0, le=100)] | None = None
    response_format: Literal["b64_json"] | None = None
    background: Literal["auto", "opaque"] | None = None
    stream: bool | None = None
    # Of each picture, before it; of one in few steps there may be fewer. Without `stream`, none.
    partial_images: Annotated[int, BeforeValidator(number), Field(ge=0, le=3)] | None = None
    quality: Any = None  # taken and not used: the model has one quality
    moderation: Any = None
    style: Any = None


def validate(cls: type[F], values: dict[str, Any]) -> F:
    """`values` as `cls`.

    Raises:
        ApiError: the first field that is wrong, named in `param`.
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    param = str(first["loc"][0]) if first["loc"] else None
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        raise ApiError(f"{name} is required.", param=param, code="missing_required_parameter")
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(cls.model_fields))
        raise ApiError(
            f"Unknown field {name[:80]!r}; this endpoint takes {known}.",
            param=name[:80],
            code="unknown_parameter",
        )
    reason = first["msg"].removeprefix("Value error, ")
    reason = reason.replace("Input should be ", "must be ").replace("String should", "should")
    seen = repr(first["input"])
    seen = seen if len(seen) <= 80 else f"{seen[:77]}…"
    subject = "" if reason.startswith(("size", "each side")) else f"{name} "
    raise ApiError(f"{subject}{reason}; got {seen}.".capitalize(), param=param)
