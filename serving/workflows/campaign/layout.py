"""Where an advert's words, logo and legal line stand, and whether they can be read there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from serving.workflows.campaign.brand import SAFE_AREAS, lowest_contrast, rgb
from serving.workflows.campaign.plan import MIN_CONTRAST, CampaignPlan, Variant, frame_size
from serving.workflows.deliverable import Takes
from serving.workflows.lettering import font_path
from serving.workflows.overlay import DRAFT, DRAFT_INK, Frames, Patch, blend, panel
from serving.workflows.plan import PlanError
from serving.workflows.typesetting import Block, LetteringError, fit

SMALLEST, SMALLEST_PX = 0.03, 11  # of the frame's shorter side
DRAFT_WORDS = "DRAFT: not reviewed"
OPACITIES = (200, 225, 240, 255)  # of a panel, the first at which its words can be read


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A panel with words, and its box; `field` is where the plan has them."""

    field: str
    patch: Patch


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The still parts of one advert; `seconds` do not matter to it."""

    plan: CampaignPlan
    variant: Variant
    font: Path
    logo: Path | None

    @staticmethod
    def of(plan: CampaignPlan, variant: Variant, takes: Takes) -> "Layout":
        font = font_path() if plan.brand.font is None else takes.fonts[plan.brand.font]
        logo = None if plan.brand.logo is None else takes.assets[plan.brand.logo]
        return Layout(plan=plan, variant=variant, font=font, logo=logo)

    @property
    def size(self) -> tuple[int, int]:
        return frame_size(self.plan, self.variant.aspect)

    @property
    def safe(self) -> tuple[int, int, int, int]:
        return SAFE_AREAS[self.variant.aspect].box(self.size)

    def marks(self, opacity: int = 255) -> list[Mark]:
        """Headline at the top, logo under it, call and legal line at the bottom.

        Raises:
            PlanError: some words do not fit, or the font lacks a character.
        """
        left, top, right, bottom = self.safe
        width, height, pad = right - left, bottom - top, max(3, min(self.size) // 50)
        words, at = self.variant.locale, f"locales[{self.variant.index}]"
        block = self._block(words.headline, f"{at}.headline", width - 2 * pad, height // 3, 0.1)
        right_to_left = block.right_to_left
        marks = [self._mark(block, f"{at}.headline", left, top, width, pad, opacity)]
        legal, field = self._legal()
        if legal:
            block = self._block(legal, field, width - 2 * pad, height // 6, 0.035)
            bottom -= block.height + 2 * pad
            marks.append(self._mark(block, field, left, bottom, width, pad, opacity))
        if words.cta:
            field = f"{at}.cta"
            block = self._block(words.cta, field, width - 2 * pad, height // 6, 0.07)
            bottom -= block.height + 3 * pad
            across = block.width + 2 * pad
            start = right - across if block.right_to_left else left
            marks.append(self._mark(block, field, start, bottom, across, pad, opacity))
        if self.logo is not None:
            under = marks[0].patch.box[3] + pad
            room = (width // 4, min(height // 5, bottom - pad - under) - 2 * pad)
            # On a panel of its own, or it is lost over a picture of its colour.
            logo = self._on_panel(self._logo(room), pad, opacity)
            x = right - logo.shape[1] if right_to_left else left
            marks.append(Mark(field="brand.logo", patch=Patch(x=x, y=under, pixels=logo)))
        return marks

    def _on_panel(self, logo: Frames, pad: int, opacity: int) -> Frames:
        """(H, W, 4) of the brand's colour with the logo in the middle."""
        height, width = logo.shape[:2]
        fill = (*rgb(self.plan.brand.color), opacity)
        plate = Image.new("RGBA", (width + 2 * pad, height + 2 * pad), fill)
        plate.alpha_composite(Image.fromarray(logo), (pad, pad))
        return np.asarray(plate)

    def _mark(
        self, block: Block, field: str, x: int, y: int, width: int, pad: int, opacity: int
    ) -> Mark:
        fill = (*rgb(self.plan.brand.color), opacity)
        ink = rgb(self.plan.brand.ink)
        return Mark(field=field, patch=panel(block, x, y, width, pad=pad, fill=fill, color=ink))

    def draft_mark(self) -> Patch:
        """What lies in the middle of an advert that nobody has approved of."""
        width, height = self.size
        side = min(self.size)
        block = fit(
            DRAFT_WORDS, font_path(), width=round(0.8 * width), height=round(0.2 * height),
            largest=round(0.09 * side), smallest=SMALLEST_PX,
        )  # fmt: skip
        pad = max(3, side // 50)
        across = block.width + 2 * pad
        at = (width - across) // 2, (height - block.height) // 2 - pad
        return panel(block, *at, across, pad=pad, fill=DRAFT, color=DRAFT_INK)

    def end_card(self) -> Frames:
        """The brand's card (H, W, 3): logo, headline and call in the middle of its colour, the
        legal line at the foot."""
        left, top, right, bottom = self.safe
        width, height, pad = right - left, bottom - top, max(3, min(self.size) // 50)
        words, at = self.variant.locale, f"locales[{self.variant.index}]"
        color, ink = rgb(self.plan.brand.color), rgb(self.plan.brand.ink)
        picture = Image.new("RGB", self.size, color)
        legal, field = self._legal()
        if legal:
            block = self._block(legal, field, width, round(height * 0.16), 0.035)
            bottom -= block.height
            block.draw(ImageDraw.Draw(picture), left, bottom, ink, box_width=width, align="center")
            bottom -= pad
        rows: list[Frames] = []
        if self.logo is not None:
            rows.append(self._logo((width // 2, height // 4)))
        block = self._block(words.headline, f"{at}.headline", width, round(height * 0.34), 0.12)
        none = (*color, 0)
        rows.append(panel(block, 0, 0, width, pad=0, fill=none, color=ink, align="center").pixels)
        if words.cta:
            block = self._block(words.cta, f"{at}.cta", width - 4 * pad, round(height * 0.14), 0.08)
            across, fill = block.width + 4 * pad, (*ink, 255)  # a button, as it were
            button = panel(block, 0, 0, across, pad=pad, fill=fill, color=color, align="center")
            rows.append(button.pixels)
        gap = min(3 * pad, (bottom - top - sum(map(len, rows))) // len(rows))
        y = top + (bottom - top - sum(map(len, rows)) - gap * (len(rows) - 1)) // 2
        for row in rows:
            piece = Image.fromarray(row)
            picture.paste(piece, (left + (width - piece.width) // 2, y), piece)
            y += piece.height + gap
        return np.asarray(picture)

    def _legal(self) -> tuple[str, str]:
        """The legal line, "" for none, and where the plan has it."""
        said = self.variant.locale.legal
        return (said, f"locales[{self.variant.index}].legal") if said else (
            self.plan.brand.legal, "brand.legal"
        )  # fmt: skip

    def _block(self, text: str, field: str, width: int, height: int, size: float) -> Block:
        side = min(self.size)
        try:
            return fit(
                text, self.font, width=width, height=height,
                largest=round(side * size), smallest=max(SMALLEST_PX, round(side * SMALLEST)),
            )  # fmt: skip
        except LetteringError as error:
            where = f" (at {self.variant.aspect})"
            raise PlanError(field, f"{error}{where}") from error

    def _logo(self, room: tuple[int, int]) -> Frames:
        """The logo (H, W, 4) within (width, height)."""
        assert self.logo is not None
        if min(room) < SMALLEST_PX:
            raise PlanError("brand.logo", f"has no room at {self.variant.aspect}; say less")
        with Image.open(self.logo) as opened:
            picture = opened.convert("RGBA")
        picture.thumbnail(room, Image.Resampling.LANCZOS)
        return np.asarray(picture)


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was measured of an advert.

    contrast: the lowest ratio of its words with a pixel behind them. boxes: by field, in pixels.
    """

    opacity: int
    contrast: float
    safe: bool
    boxes: Mapping[str, tuple[int, int, int, int]]

    @property
    def passed(self) -> bool:
        return self.safe and self.contrast >= MIN_CONTRAST


def checked(layout: Layout, samples: list[Frames]) -> tuple[list[Patch], Check]:
    """The marks, on the lightest panels at which the words can be read over these frames."""
    ink, color = rgb(layout.plan.brand.ink), rgb(layout.plan.brand.color)
    for opacity in OPACITIES:
        marks = layout.marks(opacity)
        lowest = 21.0
        for mark in marks:
            if mark.field == "brand.logo":
                continue
            left, top, right, bottom = mark.patch.box
            bare = np.empty((bottom - top, right - left, 4), np.uint8)
            bare[:] = (*color, opacity)
            under = Patch(x=0, y=0, pixels=bare)
            for frame in samples:
                behind = blend(frame[top:bottom, left:right], [under])
                lowest = min(lowest, lowest_contrast(ink, behind))
        if lowest >= MIN_CONTRAST:
            break
    left, top, right, bottom = layout.safe
    boxes = {mark.field: mark.patch.box for mark in marks}
    safe = all(
        box[0] >= left and box[1] >= top and box[2] <= right and box[3] <= bottom
        for box in boxes.values()
    )
    found = Check(opacity=opacity, contrast=round(lowest, 2), safe=safe, boxes=boxes)
    return [mark.patch for mark in marks], found
