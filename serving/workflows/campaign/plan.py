"""The plan of a campaign: one prompt, a brand, and the axes of the matrix.

title: Spring
prompt: a runner at dawn
audiences: [{id: trail, scene: a forest path}]
locales: [{id: en, headline: Run free, cta: Shop now}]
aspects: ["16:9", "9:16"]
durations: [6]
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from serving.fields import Prompt, Seconds, Text
from serving.workflows.campaign.brand import contrast, rgb
from serving.workflows.plan import (
    Line,
    Name,
    Part,
    Plan,
    PlanError,
    Shot,
    check_asset,
    check_film,
    check_font,
)

Aspect = Literal["16:9", "1:1", "4:5", "9:16"]
MAX_VARIANTS = 400
MIN_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, for text of any size


def _color(value: str) -> str:
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", value):
        raise ValueError("must be a colour such as #E4002B")
    return value.upper()


Color = Annotated[str, AfterValidator(_color)]


class Brand(Part):
    """logo: one of the plan's assets. font: one of its fonts; without it DejaVu Sans.

    color, ink: of the panels and of the words on them. forbidden: words that no advert may say.
    """

    color: Color = "#101828"
    ink: Color = "#FFFFFF"
    logo: Name | None = None
    font: Name | None = None
    legal: Line = ""
    forbidden: tuple[Annotated[Line, Field(min_length=1)], ...] = Field(default=(), max_length=100)


class Audience(Part):
    """`scene` follows the campaign's prompt."""

    id: Name
    scene: Text = ""


class Locale(Part):
    """What an advert says. `legal` stands instead of the brand's."""

    id: Name
    headline: Line = Field(min_length=1)
    cta: Line = Field("", max_length=80)
    legal: Line = ""


class CampaignPlan(Plan):
    """short_side: of the adverts, in pixels.

    master: "aspect" generates a video for each audience and aspect; an aspect here generates one
    for each audience, and the others are cropped from it.
    end_card_s: how long the brand's card lasts at the end.
    """

    prompt: Prompt
    audiences: tuple[Audience, ...] = Field(min_length=1, max_length=20)
    locales: tuple[Locale, ...] = Field(min_length=1, max_length=40)
    aspects: tuple[Aspect, ...] = Field(min_length=1, max_length=4)
    durations: tuple[Seconds, ...] = Field((6.0,), min_length=1, max_length=6)
    short_side: Annotated[int, Field(ge=120, le=1080)] = 720
    master: Literal["aspect"] | Aspect = "aspect"
    brand: Brand = Brand()
    end_card_s: Annotated[float, Field(ge=0, le=10)] = 1.5


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One advert of the matrix. `index` is the locale's in the plan."""

    audience: Audience
    locale: Locale
    index: int
    aspect: Aspect
    seconds: float

    @property
    def name(self) -> str:
        aspect = self.aspect.replace(":", "x")
        return f"{self.audience.id}_{self.locale.id}_{aspect}_{self.seconds:g}s"


def frame_size(plan: CampaignPlan, aspect: Aspect) -> tuple[int, int]:
    """(width, height) in pixels, both even."""
    across, down = map(int, aspect.split(":"))
    scale = plan.short_side / min(across, down)
    return 2 * round(across * scale / 2), 2 * round(down * scale / 2)


def shot_id(plan: CampaignPlan, audience: Audience, aspect: Aspect) -> str:
    """The shot that an advert is made of."""
    made = aspect if plan.master == "aspect" else plan.master
    return f"{audience.id}-{made.replace(':', 'x')}"


def variants(plan: CampaignPlan) -> Iterator[Variant]:
    """The matrix, in the plan's order."""
    for audience in plan.audiences:
        for aspect in plan.aspects:
            for index, locale in enumerate(plan.locales):
                for seconds in plan.durations:
                    yield Variant(
                        audience=audience,
                        locale=locale,
                        index=index,
                        aspect=aspect,
                        seconds=seconds,
                    )


def campaign_shots(plan: CampaignPlan) -> Sequence[Shot]:
    """One shot for each audience and generated aspect, as long as the longest advert.

    Raises:
        PlanError: the brand or the matrix cannot be used.
    """
    _check(plan)
    aspects = plan.aspects if plan.master == "aspect" else (plan.master,)
    seconds = max(1.0, max(plan.durations) - plan.end_card_s)
    shots = []
    for index, audience in enumerate(plan.audiences):
        for aspect in aspects:
            width, height = frame_size(plan, aspect)
            scene = f", {audience.scene}" if audience.scene else ""
            shots.append(
                Shot(
                    id=shot_id(plan, audience, aspect),
                    field=f"audiences[{index}]",
                    lasts="durations",
                    prompt=f"{plan.prompt.rstrip('. ')}{scene}",
                    seconds=seconds,
                    size=f"{width}x{height}",
                )
            )
    return shots


def _check(plan: CampaignPlan) -> None:
    if plan.size is not None:
        raise PlanError("size", "follows from aspects and short_side; leave it out")
    axes = (
        ("audiences", [audience.id for audience in plan.audiences]),
        ("locales", [locale.id for locale in plan.locales]),
        ("aspects", list(plan.aspects)),
        ("durations", list(plan.durations)),
    )
    count = 1
    for field, values in axes:
        if len(set(values)) < len(values):
            raise PlanError(field, f"names something twice: {', '.join(map(str, values))}")
        count *= len(values)
    if count > MAX_VARIANTS:
        raise PlanError("locales", f"make {count} adverts in all; at most {MAX_VARIANTS} are made")
    pixels = sum(
        variant.seconds * plan.fps * math.prod(frame_size(plan, variant.aspect))
        for variant in variants(plan)
    )
    check_film(pixels, 1, 1, "durations")
    names: set[str] = set()
    for variant in variants(plan):  # a_b and c are a and b_c; not every system tells a from A
        if variant.name.casefold() in names:
            raise PlanError(
                "locales", f"give two adverts the name {variant.name!r}; choose other ids"
            )
        names.add(variant.name.casefold())
    if min(plan.durations) < plan.end_card_s + 1:
        raise PlanError(
            "durations", f"must be at least 1 s more than end_card_s, {plan.end_card_s:g} s"
        )
    check_asset(plan, plan.brand.logo, "brand.logo")
    check_font(plan, plan.brand.font, "brand.font")
    ratio = contrast(rgb(plan.brand.ink), rgb(plan.brand.color))
    if ratio < MIN_CONTRAST:
        raise PlanError(
            "brand.ink",
            f"{plan.brand.ink} on {plan.brand.color} has a contrast of {ratio:.2f}:1, and text "
            f"needs {MIN_CONTRAST}:1; choose a lighter or darker one",
        )
    for index, locale in enumerate(plan.locales):
        for field in ("headline", "cta", "legal"):
            for word in plan.brand.forbidden:
                if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", getattr(locale, field), re.I):
                    raise PlanError(f"locales[{index}].{field}", f"says {word!r}, a forbidden word")
