"""A plan: what a user wants made. Each kind of workflow has a model of its own on `Plan`.

    plan = read_plan(StoryboardPlan, values)     # or PlanError, which names the field

A deliverable turns its plan into `Shot`s, each of which becomes one job a take.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from infra.errors import InputError
from serving.fields import Guidance, Seconds, Seed, Steps, Text, parse_size

MAX_SHOTS, MAX_TAKES, MAX_ASSETS = 200, 8, 32
MAX_ASSET_CHARS = 12 * 2**20
MAX_FONTS = 8
SEEDS = 2**31
MAX_FILM_PIXELS = 10**11  # of all frames that are put together: half an hour at 1920x1080

# Names become those of files, and bundles are unpacked on any system.
RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]", re.IGNORECASE)

P = TypeVar("P", bound="Plan")


class PlanError(InputError):
    """A plan cannot be used; `field` is the path of what is wrong, such as `shots[2].seconds`."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field} {why}" if field else why)
        self.field, self.why = field, why


def _one_line(value: str) -> str:
    # Line ends and control characters would let a title write lines of its own into EDL and VTT.
    # U+FFFE and U+FFFF are no characters of XML.
    if any(ord(char) < 32 or char in "\x7f\x85\u2028\u2029\ufffe\uffff" for char in value):
        raise ValueError("must be one line without control characters")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", value):
        raise ValueError(
            "must be 1 to 32 letters, digits, - and _, beginning with a letter or digit"
        )
    if RESERVED.fullmatch(value):
        raise ValueError("is a name that Windows keeps for devices; choose another")
    return value


def _video_size(value: str) -> str:
    parse_size(value, even=True)
    return value


def plain_number(value: Any) -> Any:
    """Refuses true and false, which pydantic would take for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


Line = Annotated[Text, Field(max_length=300), AfterValidator(_one_line)]
Name = Annotated[str, AfterValidator(_name)]
Size = Annotated[str, AfterValidator(_video_size)]
Number = BeforeValidator(plain_number)
Fps = Annotated[float, Number, Field(ge=1, le=60, allow_inf_nan=False)]


class Part(BaseModel):
    """A piece of a plan: unknown fields are refused, so that a misspelt one is not lost."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Plan(Part):
    """What every plan may say.

    seed: the shots' seeds follow from it and from their ids, so one plan gives one film.
    style: words that every prompt ends with.
    assets: pictures by name, as data: URLs; other fields refer to the names.
    fonts: TrueType or OpenType files by name, as data: URLs.
    budget_device_s: the most device time that the shots may take.
    review: the bundle is withheld until someone approves of the files.
    """

    title: Line = Field(min_length=1)
    size: Size | None = None
    fps: Fps = 24
    seed: Seed = 0
    steps: Steps | None = None
    guidance: Guidance | None = None
    style: Text = ""
    negative_prompt: Text = ""
    assets: dict[Name, Annotated[str, Field(max_length=MAX_ASSET_CHARS)]] = Field(
        default={}, max_length=MAX_ASSETS
    )
    fonts: dict[Name, Annotated[str, Field(max_length=MAX_ASSET_CHARS)]] = Field(
        default={}, max_length=MAX_FONTS
    )
    budget_device_s: Annotated[float, Number, Field(gt=0, allow_inf_nan=False)] | None = None
    review: bool = False


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One thing to generate, `takes` times with different seeds.

    field: where the plan has it, such as `shots[2]`. lasts: the field that decides its seconds.
    parent: the shot whose chosen take's last frame is this one's first.
    asset: the picture of the plan that is its first frame.
    picture: a single picture (PNG), not a video.
    loop: after the last frame comes the first.
    size, fps: None takes the plan's.
    max_bytes: how many its decoded frames may have, where all are in memory at once.
    """

    id: str
    prompt: str
    field: str = ""
    lasts: str = ""
    seconds: Seconds = 4
    seed: int | None = None
    takes: int = 1
    parent: str | None = None
    asset: str | None = None
    picture: bool = False
    loop: bool = False
    size: str | None = None
    fps: float | None = None
    negative_prompt: str = ""
    max_bytes: int | None = None

    @property
    def suffix(self) -> str:
        return ".png" if self.picture else ".mp4"


def take_seed(plan: Plan, shot: Shot, number: int) -> int:
    """The seed of a take: that of the shot for take 1, others by hash, the same on any machine."""
    if shot.seed is not None and number == 1:
        return shot.seed
    base = shot.id if shot.seed is None else shot.seed
    words = f"{plan.seed}/{base}/{number}"
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8]) % SEEDS


def whole_prompt(plan: Plan, shot: Shot) -> str:
    """The shot's words and the plan's style."""
    return f"{shot.prompt.rstrip('. ')}. {plan.style}" if plan.style else shot.prompt


def read_plan(cls: type[P], values: Any) -> P:
    """`values` as a plan.

    Raises:
        PlanError: the first field that is wrong, by its path, with the value seen.
    """
    if not isinstance(values, dict):
        raise PlanError("", f"a plan is an object with fields, not {type(values).__name__}")
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    field = field_path(_within(values, first["loc"]))
    if first["type"] == "missing":
        raise PlanError(field, "is required")
    if first["type"] == "extra_forbidden":
        raise PlanError(field, "is not a field of this plan; look for a misspelling")
    why = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    seen = repr(first["input"])
    raise PlanError(field, f"{why}; got {seen if len(seen) <= 80 else seen[:77] + '…'}")


def _within(values: Any, loc: Sequence[int | str]) -> list[int | str]:
    """A place of pydantic's as the plan has it: without the tag that chose among its models."""
    path: list[int | str] = []
    for number, part in enumerate(loc, 1):
        if isinstance(values, dict) and part not in values and number < len(loc):
            continue
        path.append(part)
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            values = None
    return path


def field_path(loc: Sequence[int | str]) -> str:
    """("shots", 2, "seconds") as "shots[2].seconds"."""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path[:200]


def check_shots(plan: Plan, shots: Sequence[Shot]) -> None:
    """Ids are unique, parents come before their children, assets exist.

    Raises:
        PlanError: one of these does not hold; `field` is the shot's.
    """
    if not 1 <= len(shots) <= MAX_SHOTS:
        field = shots[0].field.partition("[")[0] if shots else "shots"
        raise PlanError(field, f"makes {len(shots)} shots; a plan has 1 to {MAX_SHOTS}")
    seen: set[str] = set()
    files: set[str] = set()
    for shot in shots:
        here = shot.field
        if shot.id.casefold() in files:
            # Files are named by it, and not every system tells a from A.
            raise PlanError(f"{here}.id", f"{shot.id!r} is used twice; give each shot its own")
        if shot.parent is not None and shot.parent not in seen:
            raise PlanError(
                f"{here}.parent", f"{shot.parent!r} is no earlier shot; name one that comes before"
            )
        if shot.parent is not None and shot.asset is not None:
            raise PlanError(here, "has a parent and a picture for its first frame; choose one")
        check_asset(plan, shot.asset, f"{here}.asset")
        seen.add(shot.id)
        files.add(shot.id.casefold())


def check_film(num_frames: float, width: int, height: int, field: str) -> None:
    """Raises PlanError when putting the films together would take too long."""
    pixels = num_frames * width * height
    if pixels > MAX_FILM_PIXELS:
        raise PlanError(
            field,
            f"ask for films of {pixels / 1e9:.0f} gigapixels in all; at most "
            f"{MAX_FILM_PIXELS / 1e9:.0f} are put together: ask for fewer, shorter or smaller ones",
        )


def check_asset(plan: Plan, asset: str | None, field: str) -> None:
    """Raises PlanError unless `asset` is None or one of the plan's."""
    if asset is not None and asset not in plan.assets:
        known = ", ".join(plan.assets) or "none"
        raise PlanError(field, f"{asset!r} is not among the plan's assets, which are: {known}")


def check_font(plan: Plan, font: str | None, field: str) -> None:
    """Raises PlanError unless `font` is None or one of the plan's."""
    if font is not None and font not in plan.fonts:
        known = ", ".join(plan.fonts) or "none"
        raise PlanError(field, f"{font!r} is not among the plan's fonts, which are: {known}")
