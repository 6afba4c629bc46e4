"""The still pictures of a lesson: title, chapter and source cards, and labels over the pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from serving.fields import parse_size
from serving.workflows.lesson.plan import LessonPlan, Segment, Source
from serving.workflows.lettering import font_path
from serving.workflows.overlay import DRAFT, DRAFT_INK, Frames, Patch, panel
from serving.workflows.plan import PlanError
from serving.workflows.typesetting import (
    Align,
    Block,
    Color,
    LetteringError,
    fit,
    runs_right_to_left,
    set_lines,
)

PAPER, INK, FAINT = (16, 24, 40), (255, 255, 255), (190, 199, 212)
PANEL = (16, 24, 40, 215)
LABEL, LABEL_INK = (255, 196, 0, 255), (0, 0, 0)
MARGIN = 0.06  # of the frame's width and height, on each side
SMALLEST, SMALLEST_PX = 0.034, 11  # of the frame's shorter side
SOURCES_A_CARD = 4


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Draws the cards of one plan. Errors name the plan's field."""

    plan: LessonPlan
    font: Path
    size: tuple[int, int]

    @staticmethod
    def of(plan: LessonPlan, fonts: Mapping[str, Path]) -> "Cards":
        font = font_path() if plan.font is None else fonts[plan.font]
        return Cards(plan=plan, font=font, size=parse_size(plan.size, even=True))

    @property
    def source_pages(self) -> int:
        return -(-len(self.plan.sources) // SOURCES_A_CARD)

    def check(self) -> None:
        """Raises PlanError when some text of the lesson cannot be shown."""
        self._title()
        for index, segment in enumerate(self.plan.segments):
            self._card(index)
            self.labels(segment, index, draft=True)
        for page in range(self.source_pages):
            self._sources(page)

    def title(self) -> Frames:
        """The first card (H, W, 3)."""
        return self._title().frame()

    def card(self, index: int) -> Frames:
        """The card (H, W, 3) before a segment."""
        return self._card(index).frame()

    def sources(self, page: int) -> Frames:
        """A card (H, W, 3) of the sources at the end."""
        return self._sources(page).frame()

    def _title(self) -> "_Card":
        plan = self.plan
        card = _Card(self)
        card.add(plan.title, "title", share=0.34, size=0.13, color=INK)
        card.add(plan.objective, "objective", share=0.26, size=0.07, color=FAINT)
        card.add(plan.audience, "audience", share=0.1, size=0.055, color=FAINT)
        card.add(plan.labels.generated, "labels.generated", share=0.14, size=0.045, color=FAINT)
        return card

    def _card(self, index: int) -> "_Card":
        segment, count = self.plan.segments[index], len(self.plan.segments)
        card = _Card(self)
        card.add(f"{index + 1} / {count}", f"segments[{index}].id", 0.12, 0.06, FAINT)
        card.add(segment.title, f"segments[{index}].title", 0.6, 0.12, INK)
        return card

    def _sources(self, page: int) -> "_Card":
        card = _Card(self, align="start")
        card.add(self.plan.labels.sources, "labels.sources", share=0.14, size=0.08, color=INK)
        a_page = -(-len(self.plan.sources) // self.source_pages)  # as many on each as can be
        numbered = list(enumerate(self.plan.sources))[page * a_page :][:a_page]
        card.add_alike(
            [(source_line(source, number), f"sources[{number}]") for number, source in numbered],
            share=0.72 / len(numbered),
            size=0.05,
            color=FAINT,
        )
        return card

    def labels(self, segment: Segment, index: int, *, draft: bool) -> list[Patch]:
        """What lies over a segment's picture: all at its head, since players show captions at its
        foot."""
        width, height = self.size
        left, top, pad = round(width * MARGIN), round(height * MARGIN), max(3, height // 60)
        patches, half = [], (width - 2 * left) // 2 - pad
        if segment.history:
            block = self.block(
                self.plan.labels.reconstruction, "labels.reconstruction",
                half - 2 * pad, round(height * 0.16), 0.055,
            )  # fmt: skip
            patches.append(
                panel(block, left, top, block.width + 2 * pad, pad=pad, fill=LABEL, color=LABEL_INK)
            )
        if draft:
            block = self.block(
                self.plan.labels.draft, "labels.draft", half - 2 * pad, round(height * 0.16), 0.055
            )
            across = block.width + 2 * pad
            at = width - left - across
            patches.append(panel(block, at, top, across, pad=pad, fill=DRAFT, color=DRAFT_INK))
        if segment.on_screen:
            field, room = f"segments[{index}].on_screen", width - 2 * left - 2 * pad
            block = self.block(segment.on_screen, field, room, round(height * 0.3), 0.075)
            under = max((patch.box[3] + pad for patch in patches), default=top)
            across = block.width + 2 * pad
            at = width - left - across if block.right_to_left else left
            patches.append(panel(block, at, under, across, pad=pad, fill=PANEL, color=INK))
        return patches

    def block(self, text: str, field: str, width: int, height: int, size: float) -> Block:
        """`text` in a box; `size` is a share of the frame's shorter side.

        Raises:
            PlanError: it cannot be set; `field` is named.
        """
        side = min(self.size)
        smallest = max(SMALLEST_PX, round(side * SMALLEST))
        try:
            return fit(
                text, self.font, width=width, height=height,
                largest=round(side * size), smallest=smallest,
            )  # fmt: skip
        except LetteringError as error:
            raise PlanError(field, str(error)) from error


class _Card:
    """A picture that is filled from the top; its text stands in the middle."""

    def __init__(self, cards: Cards, align: Align = "center") -> None:
        self._cards, self._align = cards, align
        self._blocks: list[tuple[Block, Color]] = []

    def add(self, text: str, field: str, share: float, size: float, color: Color) -> None:
        """`share`: of the card's height, at most."""
        if not text:
            return
        width, height = self._cards.size
        across, down = round(width * (1 - 2 * MARGIN)), round(height * share)
        self._blocks.append((self._cards.block(text, field, across, down, size), color))

    def add_alike(
        self, texts: Sequence[tuple[str, str]], share: float, size: float, color: Color
    ) -> None:
        """Texts with their fields, all in the size in which the longest of them fits."""
        width, height = self._cards.size
        across, down = round(width * (1 - 2 * MARGIN)), round(height * share)
        fitted = [self._cards.block(text, field, across, down, size) for text, field in texts]
        smallest = min(block.size for block in fitted)
        for text, _ in texts:
            self._blocks.append((set_lines(text, self._cards.font, smallest, across), color))

    def frame(self) -> Frames:
        width, height = self._cards.size
        picture = Image.new("RGB", (width, height), PAPER)
        canvas = ImageDraw.Draw(picture)
        gap = height // 40
        whole = sum(block.height for block, _ in self._blocks) + gap * (len(self._blocks) - 1)
        left, y = round(width * MARGIN), max(0, (height - whole) // 2)
        for block, color in self._blocks:
            block.draw(canvas, left, y, color, box_width=width - 2 * left, align=self._align)
            y += block.height + gap
        return np.asarray(picture)


def source_line(source: Source, number: int) -> str:
    """A source as a line of words and one of its address; `number` counts from 0."""
    line = f"[{number + 1}] " + " · ".join(part for part in (source.title, source.licence) if part)
    line += f"\n{source.url}" if source.url else ""
    # A mark keeps the number in front where the title runs from right to left.
    return f"\u200f{line}" if runs_right_to_left(source.title) else line
